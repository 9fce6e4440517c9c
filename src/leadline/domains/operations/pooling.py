"""Pooling in one form: the places that each element of the result reads along an axis."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from leadline.graph.ir import Node


def places_read(node: Node, axis: int, n_in: int, n_out: int) -> Int[Tensor, "out tap"]:
    """Return, along one of the pooled axes, the places that each output reads; ``n_in`` where there is none."""
    named = node.bound()
    out = torch.arange(n_out).unsqueeze(1)
    if node.operation.adaptive:
        start, end = out * n_in // n_out, -((-(out + 1) * n_in) // n_out)
        place = start + torch.arange(int((end - start).max()))
        return place.masked_fill(place >= end, n_in)
    size, padding, dilation = (
        _at(named.get(key), axis, default) for key, default in (("kernel_size", 1), ("padding", 0), ("dilation", 1))
    )
    stride = _at(named.get("stride"), axis, size)
    place = out * stride + torch.arange(size) * dilation - padding
    return place.masked_fill((place < 0) | (place >= n_in), n_in)


def _at(setting: Any, axis: int, default: int) -> int:
    """Return the setting of an axis; one alone is every axis's."""
    if not setting:
        return default
    return int(setting[axis] if len(setting) > 1 else setting[0])
