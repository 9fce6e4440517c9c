"""Where gradients start and end: the differentiable output of a model and its differentiable inputs."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from leadline.errors import Diverged, NotDifferentiable, UsageError, near_misses
from leadline.graph.containers import leaves
from leadline.jacobian.calls import differentiable


def starting_point(output: Any, name: str | None = None) -> Tensor:
    """Return the output that gradients start from: the one called `name`, or the first that is differentiable.

    Raises `UsageError` if no output bears that name; `NotDifferentiable` if the output is of integers, detached or
    empty; `Diverged` if it is not finite.

    Examples
    --------
    >>> starting_point(torch.ones(2).argmax())
    Traceback (most recent call last):
        ...
    leadline.errors.NotDifferentiable: the output is torch.int64, which has no derivative: return the logits before it
    """
    tensor = leaf_at(output, name, starting_position(output, name))
    if tensor.numel() == 0:
        raise NotDifferentiable(f"the output has no elements, its shape is {tuple(tensor.shape)}: give longer inputs")
    if not bool(torch.isfinite(tensor.detach()).all()):
        raise Diverged("the output is not finite: check inputs and initialisation before asking for its gradient")
    return tensor


def scalar(loss: Any) -> Tensor:
    """Return a loss, if a gradient can start from it.

    Raises `UsageError` if it is not a tensor of one number, and the errors of `starting_point`.
    """
    if not isinstance(loss, Tensor) or loss.ndim:
        kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UsageError(f"a loss is a tensor of one number and no axes, not {kind}: add .mean() or .sum()")
    return starting_point(loss)


def starting_position(output: Any, name: str | None = None) -> int:
    """Return the position, among the leaves of the output at a path, of the first that is differentiable."""
    chosen = output if name is None else _named(output, name)
    found = differentiable([tensor for _, tensor in leaves(chosen)])
    if not found:
        raise NotDifferentiable(_why_not(chosen))
    return min(found)


def leaf_at(output: Any, name: str | None, position: int) -> Tensor:
    """Return the leaf of an output (the one called `name`, if given) at a position."""
    return [tensor for _, tensor in leaves(output if name is None else _named(output, name))][position]


def _named(output: Any, name: str) -> Any:
    """Return the part of an output at a path such as ``"logits"``, ``"[0]"`` or ``"hidden[0]"``."""
    part = output
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", name):
        if isinstance(part, Tensor) and key == "output":
            continue
        try:
            part = part[int(index)] if index else part[key] if isinstance(part, Mapping) else getattr(part, key)
        except (KeyError, IndexError, TypeError, AttributeError):
            paths = [path for path, _ in leaves(output)]
            raise UsageError(f"no output is called {name!r}; {near_misses(name, paths)}") from None
    return part


def _why_not(output: Any) -> str:
    """Say why no gradient starts from an output."""
    tensors = [tensor for _, tensor in leaves(output)]
    if not tensors:
        return f"the output, {type(output).__name__}, holds no tensor that can be found: name one with output="
    if not any(t.is_floating_point() for t in tensors):
        kinds = ", ".join(sorted({str(t.dtype) for t in tensors}))
        return f"the output is {kinds}, which has no derivative: return the logits before it"
    return "the output is a constant, or detached from inputs and parameters: look for detach() or no_grad in forward"


def with_gradient(tensor: Tensor) -> Tensor:
    """Return a floating tensor as a differentiable leaf of its own, and any other as it is."""
    return tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor
