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


def convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],  # noqa: ARG001 - torch's signature
    groups: int,
    output_mask: list[bool],
) -> Any:
    """Carry a gradient back to what is convolved; those of weights are not taken apart."""
    if output_mask[1]:
        return NotImplemented
    bias = grad.sum([0, *range(2, grad.ndim)]) if output_mask[2] and bias_sizes else None
    if not output_mask[0]:
        return None, None, bias
    if transposed:
        return _aten.convolution.default(grad, weight, None, stride, padding, dilation, False, [0], groups), None, bias
    widths = zip(x.shape[2:], grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    rest = [n - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for n, m, k, s, p, d in widths]
    found = _aten.convolution.default(grad, weight, None, stride, padding, dilation, True, rest, groups)
    return found, None, bias


def searchsorted(
    sorted_sequence: Tensor,
    values: Tensor | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Count the boundaries, in rows of their own or in one for all, below each value."""
    bounds = sorted_sequence if sorter is None else sorted_sequence.gather(-1, sorter)
    value = torch.as_tensor(values, dtype=bounds.dtype, device=bounds.device).unsqueeze(-1)
    below = bounds.unsqueeze(-2) <= value if right or side == "right" else bounds.unsqueeze(-2) < value
    found = below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)
    return found.reshape(()) if not isinstance(values, Tensor) else found.reshape(values.shape)


def cdist(left: Tensor, right: Tensor, p: float, compute_mode: int | None) -> Tensor:  # noqa: ARG001
    """Take the norm of the difference of each row of one and each of the other, in whatever way it is computed."""
    found: Tensor = torch.linalg.vector_norm(left.unsqueeze(-2) - right.unsqueeze(-3), p, -1)
    return found


def cholesky_solve(given: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    """Solve for one triangle after the other."""
    lower = factor.mH if upper else factor
    between = torch.linalg.solve_triangular(lower, given, upper=False)
    found: Tensor = torch.linalg.solve_triangular(lower.mH, between, upper=True)
    return found


def as_strided(x: Tensor, size: list[int], stride: list[int], storage_offset: int | None = None) -> Any:
    """Take elements by their places in memory, where the memory is that of the tensor alone and in its order."""
    if not (x.is_contiguous() and x.storage_offset() == 0 and x.untyped_storage().nbytes() == x.nbytes):
        return NotImplemented
    place = torch.full((), storage_offset or 0, device=x.device, dtype=torch.int64)
    for axis, (length, step) in enumerate(zip(size, stride, strict=True)):
        along = torch.arange(length, device=x.device) * step
        place = place + along.reshape([-1 if other == axis else 1 for other in range(len(size))])
    return x.reshape(-1)[place]


_aten = torch.ops.aten
DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = {
    _aten.as_strided.default: as_strided,
    _aten.bilinear.default: bilinear,
    _aten._cdist_forward.default: cdist,
    _aten.cholesky_solve.default: cholesky_solve,
    _aten.convolution_backward.default: convolution_backward,
    _aten.searchsorted.Tensor: searchsorted,
    _aten.searchsorted.Scalar: searchsorted,
    _aten.embedding_bag.default: embedding_bag,
    _aten.embedding_bag.padding_idx: embedding_bag,
    _aten._embedding_bag.default: embedding_bag,
    _aten._embedding_bag_forward_only.default: embedding_bag,
}
