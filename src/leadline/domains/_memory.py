"""What training keeps for the backward pass, as the eager model itself shows it.

The trace would not do: it has lost what a custom backward function, a fused kernel or activation checkpointing decides
to save. What autograd saves, and what is alive after the forward pass, tells, on real tensors and on fake ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leadline.domains.arguments import public
from leadline.domains.saved import SavedStorages, storages
from leadline.domains.stand_ins import OptimizerLike, optimizer_state, tensors_of
from leadline.errors import UsageError
from leadline.graph.containers import tensors_within
from leadline.graph.hints import branches_at_once
from leadline.graph.reading import Reading
from leadline.graph.restoring.flags import uncollected
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
        too, or where the model keeps its graph, and other tensors, in variables of its own; `estimate` on the meta
        device, where other kernels may be chosen than on the device in the end. Whether the model was in training mode.
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


@public("memory")
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
        own, inputs, fake = stack.enter_context(tensors_of(model, reading.call, device))
        args, kwargs = reading.call.replaced(inputs) if fake else reading.call.given
        record = SavedStorages()
        stack.enter_context(branches_at_once())
        stack.enter_context(uncollected())
        watched = before.contents.watched()
        with watched, running(type(model).__name__, (args, kwargs)), torch.enable_grad(), record.watch(model):
            result = functional_call(model, own, args, dict(kwargs)) if own else model(*args, **kwargs)
        resident = [*model.parameters(), *model.buffers(), *own.values()]
        kept, complete = record.kept(resident, (*before.known, own, args, kwargs, result))
        made = tensors_within(result)
        outputs = storages(made)
        gradient = sum(map(_bytes, (t for t in made if t.requires_grad)))
        del result, made
    elsewhere, unclear = record.held_elsewhere()  # now that the model has let go of the graph too
    kept = {storage: of for storage, of in kept.items() if storage not in elsewhere}
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
        status=Status.ESTIMATE if fake else Status.PROVED if complete and not unclear else Status.BOUND,
        training=model.training,
    )


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements; of one that is not dense, those of what it is made of."""
    plain = tensor.layout is torch.strided and not tensor.is_nested
    return tensor.nbytes if plain else sum(storages([tensor]).values())
