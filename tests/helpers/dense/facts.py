"""The pattern domain: which elements are known exactly, and which known constants stand within a sum.

Buffers and constants are known, parameters and inputs are not; arithmetic on known values is carried out. So a zero in
a mask survives ``weight * mask``, and -inf survives ``masked_fill`` and its softmax as a zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leadline.graph.ir import Meta, Node, Ref, substitute


@dataclass(frozen=True)
class Facts:
    """What is known of a tensor, element by element.

    Attributes
    ----------
    value
        Exact values; None if no element is known.
    known
        Where `value` holds; None: everywhere.
    bias
        Constants within sums: an element that is not known is anything plus its bias. None: no such constants.
    """

    value: Tensor | None = None
    known: Tensor | None = None
    bias: Tensor | None = None

    @property
    def constant(self) -> bool:
        """Whether every element is known."""
        return self.value is not None and self.known is None

    @property
    def empty(self) -> bool:
        """Whether nothing is known."""
        return self.value is None and self.bias is None

    def fixed(self) -> Tensor | None:
        """Where an element depends on nothing: it is known, or minus infinity. None: nowhere."""
        if self.value is not None and self.known is None:
            return torch.ones_like(self.value, dtype=torch.bool)
        if self.bias is None:
            return self.known
        sunk = self.bias == -torch.inf
        return sunk if self.known is None else self.known | sunk

    def zeros(self) -> Tensor | None:
        """Where an element is zero. None: nowhere known."""
        if self.value is None:
            return None
        zero = self.value == 0
        return zero if self.known is None else zero & self.known

    def nonzero(self) -> Tensor | None:
        """Where an element may differ from zero. None: everywhere."""
        zeros = self.zeros()
        return None if zeros is None or not bool(zeros.any()) else ~zeros

    def offset(self) -> Tensor | None:
        """Return the known constants within sums, exact values included; None: no such constants."""
        if self.value is None:
            return self.bias
        value = self.value.float() if not self.value.is_floating_point() else self.value
        if self.known is None:
            return value
        rest = torch.zeros_like(value) if self.bias is None else self.bias.to(value)
        return torch.where(self.known, value, rest)

    def where_known(self, shape: tuple[int, ...]) -> Tensor:
        """Return the mask of known elements, always a tensor."""
        if self.value is None:
            return torch.zeros((), dtype=torch.bool).expand(shape)
        return torch.ones((), dtype=torch.bool).expand(shape) if self.known is None else self.known


UNKNOWN = Facts()


def partial(value: Tensor, known: Tensor, bias: Tensor | None = None) -> Facts:
    """Return facts in their simplest form: fully known, partly known, or not known."""
    if bool(known.all()):
        return Facts(value)
    if bias is not None and not bool(bias.any()):
        bias = None
    if not bool(known.any()):
        return Facts(bias=bias)
    return Facts(torch.where(known, value, torch.zeros_like(value)), known.expand(value.shape), bias)


def stand_in(meta: Meta) -> Tensor:
    """Return a tensor of the right shape and dtype for operations that read nothing else."""
    return torch.zeros((), dtype=meta.dtype).expand(meta.shape)


_VIEWS = frozenset({"aten.view.default", "aten._unsafe_view.default", "aten._reshape_alias.default"})


def evaluate(node: Node, values: Callable[[Ref], Tensor], **replaced: Any) -> tuple[Tensor | None, ...]:
    """Compute a node on the CPU from its arguments' values; `replaced` are arguments to exchange, by name."""
    assert node.target is not None
    kwargs = {key: _on_cpu(substitute(argument, values)) for key, argument in node.kwargs.items()}
    # torch declares targets as callables; those that are traced are operators with a schema
    names = [a.name for a in node.target._schema.arguments]  # type: ignore[attr-defined]
    args = [
        replaced.pop(name) if name in replaced else _on_cpu(substitute(argument, values))
        for name, argument in zip(names, node.args, strict=False)
    ]
    target = torch.ops.aten.reshape.default if node.op in _VIEWS else node.target  # strides may differ from the model's
    result = target(*args, **{**kwargs, **replaced})
    parts = result if isinstance(result, list | tuple) else (result,)
    return tuple(part if isinstance(part, Tensor) else None for part in parts)


def _on_cpu(argument: Any) -> Any:
    return torch.device("cpu") if isinstance(argument, torch.device) else argument
