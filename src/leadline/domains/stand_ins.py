"""Fake tensors in the place of those without values, or of those on another device than the one that is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from leadline.domains.saved import storages
from leadline.errors import UnknownOp, UsageError, near_misses
from leadline.graph.call import Call
from leadline.graph.containers import hollow

OptimizerLike: TypeAlias = "str | Callable[[Iterable[Tensor]], torch.optim.Optimizer] | None"


@contextmanager
def tensors_of(
    model: nn.Module, call: Call, device: str | None
) -> Iterator[tuple[dict[str, Tensor], Mapping[str, Tensor], bool]]:
    """Yield what stands for a model's own tensors and for its inputs, by name, and whether these are fake.

    Where all have values, on the device that is meant, nothing stands for the model's own.
    """
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    there = (*own.values(), *call.tensors.values())
    if not any(map(hollow, there)) and (device is None or all(t.device.type == device for t in there)):
        yield {}, call.tensors, False
        return
    with standing_in(own, call.tensors, device) as (stand_ins, inputs):
        yield stand_ins, inputs, True


@contextmanager
def standing_in(
    tensors: Mapping[str, Tensor], given: Mapping[str, Tensor], device: str | None
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield fake tensors for a model's own and for its inputs, by name, on a device whose kernels are to be chosen.

    Without CUDA its kernels cannot be asked; those of the CPU stand for them, which keep the same but for dropout.
    """
    there = [*given.values(), *tensors.values()]
    mode = detect_fake_mode(there) or FakeTensorMode(allow_non_fake_inputs=True)
    bases: dict[int, Tensor] = {}
    cuda = device == "cuda" and torch.cuda.is_available()
    target = torch.device("cuda" if cuda else "cpu")

    def fake(value: Tensor) -> Tensor:
        if value.layout is not torch.strided or value.is_nested or value.is_quantized:
            return _converted(mode, value)
        storage = value.untyped_storage()
        if storage._cdata not in bases:
            bases[storage._cdata] = torch.empty(storage.nbytes(), dtype=torch.uint8, device=target)
        base = bases[storage._cdata].view(value.dtype)
        view = base.as_strided(value.shape, value.stride(), value.storage_offset())
        return view.detach().requires_grad_(value.requires_grad)

    with mode, _Dropout(device == "cuda" and not cuda):
        own, inputs = ({name: fake(tensor) for name, tensor in those.items()} for those in (tensors, given))
        yield own, inputs


def _converted(mode: FakeTensorMode, value: Tensor) -> Tensor:
    """Return what torch itself puts in the place of a tensor that has no plain memory."""
    try:
        return mode.from_tensor(value)
    except (RuntimeError, AssertionError) as error:  # of a layout that has none
        kind = "nested" if value.is_nested else "quantised" if value.is_quantized else str(value.layout)
        raise UnknownOp(
            f"nothing stands for a {kind} tensor on another device, or without values: measure its memory where it is, "
            "without device="
        ) from error


class _Dropout(TorchFunctionMode):
    """Drops as CUDA does: in fused attention it draws again in the backward pass, elsewhere it keeps one byte each."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self._on = on

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self._on and func is nn.functional.scaled_dot_product_attention:
            kwargs.pop("dropout_p", None)
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
        if self._on and func is nn.functional.dropout:
            return _dropped(*args, **kwargs)
        return func(*args, **kwargs)


def _dropped(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
    """Stand for `torch.nn.functional.dropout`, whose names of arguments these are."""
    if inplace or not (training and 0 < p < 1):
        return nn.functional.dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, training)[0]


def optimizer_state(optimizer: OptimizerLike, parameters: Iterable[Tensor]) -> int:
    """Return the bytes that an optimiser keeps for parameters, found by one step on fake ones.

    The optimiser is the name of one in `torch.optim`, with its defaults, or a function from parameters to one.

    Examples
    --------
    >>> weight = nn.Parameter(torch.zeros(10, 10))
    >>> optimizer_state("SGD", [weight]), optimizer_state("adamw", [weight])  # two moments, and a count of steps
    (0, 804)
    """
    if optimizer is None:
        return 0
    make = _optimizers()[_known(optimizer)] if isinstance(optimizer, str) else optimizer
    with FakeTensorMode(), _Answered(), torch.enable_grad():  # type: ignore[no-untyped-call]  # torch's
        stand_ins = [nn.Parameter(torch.empty(p.shape, dtype=p.dtype)) for p in parameters if p.requires_grad]
        if not stand_ins:
            return 0
        for parameter in stand_ins:
            parameter.grad = torch.empty_like(parameter)
        try:
            made = make(stand_ins)
            made.step()
        except Exception as error:  # the optimiser's own: it takes other parameters, needs values, or is none
            what = f"{type(error).__name__}: {error}"
            raise UsageError(f"what {optimizer} keeps cannot be told by a step without values ({what})") from error
        return sum(storages(tree_leaves(list(made.state.values()))).values())


class _Answered(TorchDispatchMode):
    """Answers whatever number is asked of tensors without values: what an optimiser keeps depends on shapes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            return 1.0 if args[0].dtype.is_floating_point else 1


def _optimizers() -> dict[str, Any]:
    found = {name.lower(): kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    return {name: kind for name, kind in found.items() if issubclass(kind, torch.optim.Optimizer)}


def _known(name: str) -> str:
    names = sorted(_optimizers().keys() - {"optimizer"})
    if name.lower() not in names:
        raise UsageError(f"no optimiser {name!r} in torch.optim; {near_misses(name.lower(), names)}")
    return name.lower()
