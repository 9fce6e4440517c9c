"""Dependence through convolutions and pooling: sliding windows that read nothing outside the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from leadline.domains.dependence.flow import Flow, Links, present, shaped
from leadline.domains.engine import Lookup
from leadline.domains.operations.convolutions import Convolution, convolution_of
from leadline.graph.ir import Node


def convolution(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the elements of the window whose weight may differ from zero."""
    conv = convolution_of(node, flow.graph)
    x, weight = links(conv.input), links(conv.weight)
    bias = None if conv.bias is None else links(conv.bias)
    parts: list[Tensor] = []
    if x is not None:
        parts.append(_convolved(flow, conv, x, node))
    if weight is not None:
        parts.append(present(flow.total([weight])))
    mixed = flow.multiplied(node, flow.joined([part.expand(node.shape) for part in parts]))
    return shaped(node, flow.all_of(mixed, None if bias is None else bias.reshape(-1, *(1,) * conv.axes)))


def _convolved(flow: Flow, conv: Convolution, x: Tensor, node: Node) -> Tensor:
    reduce, axes, out_sizes = flow.algebra.reduce, conv.axes, node.shape[-conv.axes :]
    batched = x if x.ndim == axes + 2 else x.unsqueeze(0)
    windows = torch.unflatten(batched, 1, (conv.groups, -1))
    tables = [_taps(conv, a, n, m) for a, (n, m) in enumerate(zip(batched.shape[2:], out_sizes, strict=True))]
    nonzero = flow.facts[conv.weight].nonzero()
    if nonzero is None:
        windows = reduce(windows, [2])
        for axis, table in enumerate(tables):
            windows = reduce(_read(windows, axis + 3, table), [axis + 4]).squeeze(axis + 4)
        out_channels = node.shape[-axes - 1]
        out = windows.expand(-1, -1, out_channels // conv.groups, *out_sizes).flatten(1, 2)
        return out.reshape(node.shape)
    for axis, table in enumerate(tables):
        windows = _read(windows, 3 + 2 * axis, table)  # [b, group, channel, out, tap, out, tap, …]
    outs, taps = range(3, 3 + 2 * axes, 2), range(4, 4 + 2 * axes, 2)
    rows = windows.permute(1, 0, *outs, 2, *taps).flatten(-axes - 1).flatten(1, -2)  # [group, place, channel · tap]
    out = flow.algebra.contract(rows, _mask(conv, nonzero))
    out = out.reshape(conv.groups, batched.shape[0], *out_sizes, -1)
    return out.movedim(-1, 1).movedim(2, 0).flatten(1, 2).reshape(node.shape)


def _mask(conv: Convolution, nonzero: Tensor) -> Tensor:
    """Lay the weight out as ``[group, channel · tap, out]``."""
    if conv.transposed:  # [in, out / groups, *taps]
        return torch.unflatten(nonzero, 0, (conv.groups, -1)).movedim(2, -1).flatten(1, -2)
    return torch.unflatten(nonzero, 0, (conv.groups, -1)).flatten(2).transpose(1, 2)


def _taps(conv: Convolution, axis: int, n_in: int, n_out: int) -> Tensor:
    """Return the place that each output reads at each tap, ``[out, tap]``; ``n_in`` where there is none."""
    out = torch.arange(n_out).unsqueeze(1)
    tap = torch.arange(conv.taps[axis]) * conv.dilation[axis] - conv.padding[axis]
    if conv.transposed:
        place = torch.div(out - tap, conv.stride[axis], rounding_mode="floor")
        inside = ((out - tap) % conv.stride[axis] == 0) & (place >= 0) & (place < n_in)
    else:
        place = out * conv.stride[axis] + tap
        inside = (place >= 0) & (place < n_in)
    return place.masked_fill(~inside, n_in)


def _read(x: Tensor, axis: int, table: Tensor) -> Tensor:
    """Read places along an axis, ``[…, n, …]`` to ``[…, out, tap, …]``; the place behind the last holds nothing."""
    nothing = torch.zeros_like(x.narrow(axis, 0, 1))
    read = torch.cat([x, nothing], axis).index_select(axis, table.flatten())
    return torch.unflatten(read, axis, tuple(table.shape))


def window(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element of the pooling window."""
    x, named = present(links(node.refs[0])), node.bound()
    axes = int(node.op.split(".")[1].split("pool")[1][0])
    for axis in range(axes):
        at = x.ndim - axes + axis
        table = _pool(named, node, axis, x.shape[at], node.shape[len(node.shape) - axes + axis])
        x = flow.algebra.reduce(_read(x, at, table), [at + 1]).squeeze(at + 1)
    return shaped(node, x)


def _pool(named: Mapping[str, Any], node: Node, axis: int, n_in: int, n_out: int) -> Tensor:
    out = torch.arange(n_out).unsqueeze(1)
    if "adaptive" in node.op:
        start, end = out * n_in // n_out, -((-(out + 1) * n_in) // n_out)
        place = start + torch.arange(int((end - start).max()))
        return place.masked_fill(place >= end, n_in)
    size, padding, dilation = (_at(named.get(key), axis, d) for key, d in
                               (("kernel_size", 1), ("padding", 0), ("dilation", 1)))  # fmt: skip
    stride = _at(named.get("stride"), axis, size)
    place = out * stride + torch.arange(size) * dilation - padding
    return place.masked_fill((place < 0) | (place >= n_in), n_in)


def _at(setting: tuple[int, ...] | None, axis: int, default: int) -> int:
    if not setting:
        return default
    return setting[axis % len(setting)] if len(setting) > 1 else setting[0]
