"""Fake tensors in the place of those without values, or of those on another device than the one that is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from leadline.domains.saved import storages
from leadline.errors import UsageError, near_misses

OptimizerLike: TypeAlias = "str | Callable[[Iterable[Tensor]], torch.optim.Optimizer] | None"


@contextmanager
def standing_in(
    tensors: Mapping[str, Tensor], given: Any, device: str | None
) -> Iterator[tuple[dict[str, Tensor], Any]]:
    """Yield fake tensors for a model's own, by name, and for its inputs, on a device whose kernels are to be chosen.

    Without CUDA its kernels cannot be asked; those of the CPU stand for them, which keep the same of a fused attention.
    """
    mode = detect_fake_mode((given, list(tensors.values()))) or FakeTensorMode(allow_non_fake_inputs=True)
    bases: dict[int, Tensor] = {}
    cuda = device == "cuda" and torch.cuda.is_available()
    target = torch.device("cuda" if cuda else "cpu")

    def fake(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.layout is not torch.strided or value.is_nested:
            return mode.from_tensor(value)
        storage = value.untyped_storage()
        if storage._cdata not in bases:
            bases[storage._cdata] = torch.empty(storage.nbytes(), dtype=torch.uint8, device=target)
        base = bases[storage._cdata].view(value.dtype)
        view = base.as_strided(value.shape, value.stride(), value.storage_offset())
        return view.detach().requires_grad_(value.requires_grad)

    with mode, _FusedAttention(device == "cuda" and not cuda):
        yield {name: fake(tensor) for name, tensor in tensors.items()}, tree_map(fake, given)


class _FusedAttention(TorchFunctionMode):
    """Leaves dropout out of fused attention, which CUDA draws again in the backward pass and keeps nothing of."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self._on = on

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self._on and func is nn.functional.scaled_dot_product_attention:
            kwargs.pop("dropout_p", None)
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
        return func(*args, **kwargs)


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
    with FakeTensorMode(), torch.enable_grad():
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


def _optimizers() -> dict[str, Any]:
    found = {name.lower(): kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    return {name: kind for name, kind in found.items() if issubclass(kind, torch.optim.Optimizer)}


def _known(name: str) -> str:
    names = sorted(_optimizers().keys() - {"optimizer"})
    if name.lower() not in names:
        raise UsageError(f"no optimiser {name!r} in torch.optim; {near_misses(name.lower(), names)}")
    return name.lower()
