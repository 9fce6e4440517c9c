"""What training keeps for the backward pass, as the eager model itself shows it.

The trace would not do: it has lost what a custom backward function, a fused kernel or activation checkpointing decides
to save. What autograd saves, and what is alive after the forward pass, tells, on real tensors and on fake ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from leadline.domains.saved import SavedStorages, storages
from leadline.domains.stand_ins import OptimizerLike, optimizer_state, standing_in
from leadline.errors import UsageError
from leadline.graph.call import hollow
from leadline.graph.hints import branches_at_once
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import restored
from leadline.graph.user_code import running
from leadline.results import Result, Status, owner

Device: TypeAlias = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Memory(Result):
    """Bytes that one training step needs, for these inputs, in this mode and dtype.

    Attributes
    ----------
    saved, by_module
        Kept from the forward for the backward pass: each storage once, parameters and buffers left out. The same by
        module path; a storage belongs to the module that saves it first, a module's own line leaves its children out
        (``""`` is the model itself).
    parameters, buffers, gradients
        The model's own tensors, and one gradient for each parameter that asks for one.
    outputs, optimizer
        What the outputs hold that is not saved too; what the optimiser keeps between steps, 0 where none is named.
    peak
        Estimate of the most that is held at once: all of the above, the gradient of the outputs, and the two largest
        saved tensors once more for the activation gradients in flight.
    status, training
        How `saved` is known: `proved` when real kernels ran; `bound`, at least so much, where sparse tensors are saved
        too; `estimate` on the meta device, where other kernels may be chosen than on the device in the end. Whether
        the model was in training mode.
    """

    saved: int
    by_module: Mapping[str, int]
    parameters: int
    buffers: int
    gradients: int
    outputs: int
    optimizer: int
    peak: int
    status: Status
    training: bool


def memory(
    model: nn.Module, *inputs: Any, device: Device | None = None, optimizer: OptimizerLike = None, **kwargs: Any
) -> Memory:
    """Measure the bytes that `model` saves for its backward pass on `inputs`.

    The model runs once, with gradients, on the device that it is on, and is left as it was. On ``meta``, or where
    another `device` is named, nothing is allocated: the kernels of that device are chosen (default: the CPU's). The
    state of an `optimizer` is counted where one is given, by its name in `torch.optim` or as a function from
    parameters to an optimiser.

    Examples
    --------
    >>> layer = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
    >>> used = memory(layer, torch.zeros(2, 4), optimizer="adamw")
    >>> used.by_module, used.parameters  # the input, the tanh's output; (4 · 8 + 8) floats
    ({'0': 32, '1': 64}, 160)
    >>> used.optimizer  # two moments of each parameter, and a count of steps for each of the two tensors
    328
    """
    return memory_of(Reading(model, inputs, kwargs), device=device, optimizer=optimizer)


def memory_of(reading: Reading, *, device: Device | None = None, optimizer: OptimizerLike = None) -> Memory:
    """Return the memory of a reading, measured once; see `memory`."""
    if device not in (None, "cpu", "cuda"):
        raise UsageError(f"the device is 'cpu' or 'cuda', not {device!r}")
    if not (optimizer is None or isinstance(optimizer, str) or callable(optimizer)):
        raise UsageError(f"an optimizer is a name in torch.optim or a function of parameters, not {optimizer!r}")
    return reading.once(("memory", device, optimizer), lambda: _measured(reading, device, optimizer))


def _measured(reading: Reading, device: Device | None, optimizer: OptimizerLike) -> Memory:
    model = reading.model.module if isinstance(reading.model, nn.DataParallel) else reading.model
    parameters, buffers = list(model.parameters()), list(model.buffers())
    with ExitStack() as stack:
        before = stack.enter_context(restored(model, reading.inputs, reading.kwargs, lazily=True))
        own, (args, kwargs), fake = stack.enter_context(_tensors(model, (reading.inputs, reading.kwargs), device))
        record = SavedStorages()
        stack.enter_context(branches_at_once())
        watched = before.contents.watched()
        with watched, running(type(model).__name__, (args, kwargs)), torch.enable_grad(), record.watch(model):
            result = functional_call(model, own, args, dict(kwargs)) if own else model(*args, **kwargs)
        resident = [*model.parameters(), *model.buffers(), *own.values()]
        kept, complete = record.kept(resident, (model, own, args, kwargs, result))
        outputs = storages(tree_leaves(result))
        gradient = sum(t.nbytes for t in tree_leaves(result) if isinstance(t, Tensor) and t.requires_grad)
    by_module: Counter[str] = Counter()
    for size, module in kept.values():
        by_module[owner(module)] += size
    sizes = {
        "saved": sum(by_module.values()),
        "parameters": sum(storages(parameters).values()),
        "buffers": sum(storages(buffers).values()),
        "gradients": sum(storages(p for p in parameters if p.requires_grad).values()),
        "outputs": sum(size for storage, size in outputs.items() if storage not in {*kept, *storages(resident)}),
        "optimizer": optimizer_state(optimizer, parameters),
    }
    transient = sum(sorted(size for size, _ in kept.values())[-2:])
    return Memory(
        **sizes,
        by_module=dict(by_module),
        peak=sum(sizes.values()) + gradient + transient,
        status=Status.ESTIMATE if fake else Status.PROVED if complete else Status.BOUND,
        training=model.training,
    )


@contextmanager
def _tensors(model: nn.Module, given: Any, device: Device | None) -> Iterator[tuple[dict[str, Tensor], Any, bool]]:
    """Yield what stands for the model's own tensors, by name, and for the inputs; and whether these are fake."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    there = [t for t in (*own.values(), *tree_leaves(given)) if isinstance(t, Tensor)]
    if not any(map(hollow, there)) and (device is None or all(t.device.type == device for t in there)):
        yield {}, given, False
        return
    with standing_in(own, given, device) as (stand_ins, inputs):
        yield stand_ins, inputs, True
