"""What training keeps for the backward pass, as autograd itself reports it from the eager model.

The trace would not do: it has lost what a custom backward function, a fused kernel or activation checkpointing decides
to save. `torch.autograd.graph.saved_tensors_hooks` sees exactly that, on real tensors and on the meta device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from leadline.graph.call import Held
from leadline.graph.reading import Reading
from leadline.graph.undisturbed import restored
from leadline.graph.user_code import running
from leadline.results import Status


@dataclass(frozen=True)
class Memory:
    """Bytes that one training step needs, for these inputs, in this mode and dtype.

    Attributes
    ----------
    saved, by_module
        Kept from the forward for the backward pass: each storage once, parameters and buffers left out. The same by
        module path; a storage belongs to the module that saves it first, a module's own line leaves its children out
        (``""`` is the model itself).
    parameters, buffers, gradients
        The model's own tensors, and one gradient for each parameter that asks for one.
    peak
        Estimate of the most that is held at once: all of the above, and the two largest saved tensors once more for
        the activation gradients in flight. Optimiser state is not part of it.
    status, training
        How `saved` is known: `proved` when real kernels ran, `estimate` on the meta device, where other kernels may be
        chosen than on the device in the end. Whether the model was in training mode.
    """

    saved: int
    by_module: Mapping[str, int]
    parameters: int
    buffers: int
    gradients: int
    peak: int
    status: Status
    training: bool


def memory(model: nn.Module, *inputs: Any, **kwargs: Any) -> Memory:
    """Measure the bytes that `model` saves for its backward pass on `inputs`; on ``meta`` nothing is allocated.

    The model runs once, with gradients, on the device that it is on; its buffers, the random state and the training
    mode are afterwards as they were.

    Examples
    --------
    >>> layer = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
    >>> used = memory(layer, torch.zeros(2, 4))
    >>> used.by_module, used.parameters  # the input, the tanh's output; (4 · 8 + 8) floats
    ({'0': 32, '1': 64}, 160)
    """
    return memory_of(Reading(model, inputs, kwargs))


def memory_of(reading: Reading) -> Memory:
    """Return the memory of a reading, measured once; see `memory`."""
    return reading.once("memory", lambda: _measured(reading))


def _measured(reading: Reading) -> Memory:
    model, given = reading.model, (reading.inputs, reading.kwargs)
    devices = {t.device for t in (*model.parameters(), *model.buffers(), *tree_leaves(given)) if isinstance(t, Tensor)}
    with restored(model, given), _hollow(given, model) as (given, own):
        record = _Record(skip=frozenset(_storages([*model.parameters(), *model.buffers(), *own.values()])))
        with running(type(model).__name__, given), torch.enable_grad(), record.watch(model):
            functional_call(Held(model), {f"model.{name}": tensor for name, tensor in own.items()}, *given)
    parameters = sum(_storages(model.parameters()).values())
    gradients = sum(_storages(p for p in model.parameters() if p.requires_grad).values())
    buffers = sum(_storages(model.buffers()).values())
    saved = sum(record.by_module.values())
    transient = sum(sorted(record.kept.values())[-2:])
    return Memory(
        saved=saved,
        by_module=dict(record.by_module),
        parameters=parameters,
        buffers=buffers,
        gradients=gradients,
        peak=parameters + buffers + gradients + saved + transient,
        status=Status.ESTIMATE if any(d.type == "meta" for d in devices) else Status.PROVED,
        training=model.training,
    )


@contextmanager
def _hollow(given: Any, model: nn.Module) -> Iterator[tuple[Any, dict[str, Tensor]]]:
    """Let tensors without values stand as fake ones, which models take for what they are, whatever they ask of them.

    Yields the inputs, and the model's own tensors by name as far as others stand for them.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if not any(t.is_meta for t in (*tensors.values(), *tree_leaves(given)) if isinstance(t, Tensor)):
        yield given, {}
        return
    mode = detect_fake_mode((given, list(tensors.values()))) or FakeTensorMode(allow_non_fake_inputs=True)

    def fake(value: Any) -> Any:
        return mode.from_tensor(value) if isinstance(value, Tensor) else value

    with mode:
        yield tree_map(fake, given), {name: fake(tensor) for name, tensor in tensors.items()}


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes by storage: views and tied tensors share one."""
    storages = (part.untyped_storage() for tensor in tensors for part in _dense(tensor))
    return {storage._cdata: storage.nbytes() for storage in storages}


def _dense(tensor: Tensor) -> Sequence[Tensor]:
    """Return the dense tensors that hold a sparse one; a dense one holds itself."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)


@dataclass
class _Record:
    """Storages that autograd saves while a model runs, and the module that was running."""

    skip: frozenset[int]
    kept: dict[int, int] = field(default_factory=dict)
    by_module: Counter[str] = field(default_factory=Counter)
    running: list[str] = field(default_factory=lambda: [""])
    alive: list[Tensor] = field(default_factory=list)  # a freed storage's address may come again

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Listen to autograd, and to every module's coming and going."""
        handles = []
        for name, module in model.named_modules():
            if module is not model:
                handles.append(module.register_forward_pre_hook(self._enter(name)))
                handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            with saved_tensors_hooks(self._pack, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Any:
        return lambda _module, _inputs: self.running.append(name)

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self.running.pop()

    def _pack(self, tensor: Tensor) -> Tensor:
        for part in _dense(tensor):
            storage = part.untyped_storage()
            if storage._cdata not in self.skip and storage._cdata not in self.kept:
                self.kept[storage._cdata] = storage.nbytes()
                self.by_module[self.running[-1]] += storage.nbytes()
                self.alive.append(tensor.detach())
        return tensor.detach()
