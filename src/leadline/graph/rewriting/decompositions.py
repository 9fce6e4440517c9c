"""What operations come apart into that torch keeps whole, and for which no kind has a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_MEAN, _MAXIMUM = 1, 2


def bilinear(left: Tensor, right: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply by the left input first, as torch's kernel does, then by the right one."""
    out, inner, other = weight.shape
    rows = left.reshape(-1, inner) @ weight.permute(1, 0, 2).reshape(inner, out * other)
    found = torch.bmm(rows.reshape(-1, out, other), right.reshape(-1, other, 1)).reshape(*left.shape[:-1], out)
    return found if bias is None else found + bias


def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,  # noqa: ARG001 - torch's signature
    mode: int = 0,
    sparse: bool = False,  # noqa: ARG001
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Look rows up, and add up those of each bag, of which offsets say where it begins."""
    starts = offsets[:-1] if include_last_offset else offsets
    place = torch.arange(indices.shape[0], device=indices.device)
    bag = (place.unsqueeze(1) >= starts).sum(1) - 1
    rows = torch.nn.functional.embedding(indices, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    counted = torch.ones_like(indices, dtype=torch.bool)
    if padding_idx is not None and padding_idx >= 0:
        counted = indices != padding_idx
    counts = torch.zeros_like(starts).index_add(0, bag, counted.to(starts.dtype)).unsqueeze(1)
    shape = (starts.shape[0], weight.shape[1])
    if mode == _MAXIMUM:
        lowest = rows.new_full(shape, -torch.inf)
        kept = rows.masked_fill(~counted.unsqueeze(1), -torch.inf)
        largest = lowest.scatter_reduce(0, bag.unsqueeze(1).expand_as(kept), kept, "amax")
        found = torch.where(counts > 0, largest, 0.0)
    else:
        found = rows.new_zeros(shape).index_add(0, bag, rows * counted.unsqueeze(1))
        found = found / counts.clamp(min=1) if mode == _MEAN else found
    return found, bag, counts.squeeze(1), torch.zeros_like(starts)


_aten = torch.ops.aten
DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = {
    _aten.bilinear.default: bilinear,
    _aten.embedding_bag.default: embedding_bag,
    _aten.embedding_bag.padding_idx: embedding_bag,
    _aten._embedding_bag.default: embedding_bag,
    _aten._embedding_bag_forward_only.default: embedding_bag,
}
