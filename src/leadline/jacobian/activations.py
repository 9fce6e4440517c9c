"""The first floating activations of an integer input: embeddings, one-hot vectors, casts; made leaves of a gradient."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from leadline.errors import NotDifferentiable
from leadline.graph.containers import tensors_within


class FirstActivations(TorchFunctionMode):
    """Makes whatever floats first, of all that is computed from an integer tensor, a leaf that has a gradient.

    `found` lists these leaves, in the order in which they were made. What comparisons of integers return is a mask, not
    an activation.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> table, tokens = nn.Embedding(5, 2), torch.tensor([[1, 4, 0]])
    >>> with FirstActivations(tokens) as first:
    ...     y = table(tokens).exp()
    >>> [tuple(leaf.shape) for leaf in first.found], y.requires_grad
    ([(1, 3, 2)], True)
    """

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self._derived = WeakValueDictionary({id(tensor): tensor})
        self.found: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = [tensor for tensor in tensors_within((args, kwargs)) if id(tensor) in self._derived]
        if not known:
            return result
        if isinstance(result, Tensor) and _floats(result) and not any(map(_floats, known)):
            leaf = result.detach().clone().requires_grad_()
            self.found.append(leaf)
            result = leaf.clone()  # which the model may write into
        for tensor in tensors_within(result):
            if tensor.dtype is not torch.bool:
                self._derived[id(tensor)] = tensor
        return result


def at_positions(leaf: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """Return a tensor of a leaf's shape with the axes of the integer input first, and one axis for all others.

    Raises `NotDifferentiable` if it does not show which of its axes are those of the input.
    """
    for before in (0, 1):  # positions in one row, or in one for each sample
        merged = (*shape[:before], math.prod(shape[before:]))
        if len(shape) > len(merged) and tuple(leaf.shape[: len(merged)]) == merged:
            leaf = leaf.reshape(*shape, *leaf.shape[len(merged) :])
            break
    if tuple(leaf.shape[: len(shape)]) == shape:
        return leaf.flatten(len(shape)) if leaf.ndim > len(shape) else leaf.unsqueeze(-1)
    fitting = [places for places in combinations(range(leaf.ndim), len(shape))
               if tuple(leaf.shape[place] for place in places) == shape]  # fmt: skip
    if len(fitting) != 1:
        raise NotDifferentiable(
            f"what first floats of the input {name!r}, of shape {tuple(leaf.shape)}, does not show which of its axes "
            f"are those of {shape}: measure the part of the model behind it, with a floating input"
        )
    rest = [place for place in range(leaf.ndim) if place not in fitting[0]]
    return at_positions(leaf.permute(*fitting[0], *rest), shape, name)


def _floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
