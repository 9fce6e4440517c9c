"""Dependence through convolutions and pooling: sliding windows that read nothing outside the tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.domains.compact import described, reserve
from leadline.domains.dependence.flow import Flow, Links, everywhere, present
from leadline.domains.engine import Lookup
from leadline.domains.operations.convolutions import Convolution, convolution_of, read_along
from leadline.domains.operations.pooling import places_read
from leadline.graph.ir import Node


def convolution(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the elements of the window whose weight may differ from zero."""
    conv = convolution_of(node, flow.graph)
    x, weight = links(conv.input), links(conv.weight)
    bias = None if conv.bias is None else links(conv.bias)
    mixed = flow.multiplied(
        node, flow.all_of(None if x is None else _convolved(flow, conv, x, node), flow.total([weight]))
    )
    return (flow.all_of(mixed, None if bias is None else bias.reshape(-1, *(1,) * conv.axes)),)


def _convolved(flow: Flow, conv: Convolution, x: Tensor, node: Node) -> Tensor:
    """Join the windows, one input channel and tap after another as far as the weight tells them apart."""
    shape, out = flow.shape(conv.input), node.shape
    windows = conv.by_group(x)
    nonzero = flow.facts[conv.weight].nonzero()
    marks = torch.ones((1,) * (conv.axes + 3)) if nonzero is None else conv.by_output(nonzero).to(x.dtype)
    if marks.shape[2] == 1:  # the channels of a group are alike
        windows = flow.algebra.reduce(windows, [2])
    for axis in range(conv.axes):
        at, size = axis + 3, shape[axis - conv.axes]
        table = conv.places(axis, size, out[axis - conv.axes])
        reserve((*windows.shape, conv.taps[axis]), 4, described(node))
        windows = read_along(windows, at, table, size).movedim(at + 1, -1)
        if marks.shape[at] == 1:
            windows = flow.algebra.reduce(windows, [-1])
    found = _by_output(flow, windows, marks)  # [b, group, out, *places]
    whole = found.shape[1] * found.shape[2] == 1
    channels = 1 if whole else out[-conv.axes - 1] // conv.groups
    spread = found if whole else found.expand(-1, conv.groups, channels, *(-1,) * conv.axes)
    return spread.flatten(1, 2) if len(out) == conv.axes + 2 else spread.flatten(1, 2).squeeze(0)


def _by_output(flow: Flow, windows: Tensor, marks: Tensor) -> Tensor:
    """Join ``[b, group, in, *places, *taps]`` under marks ``[group, out, in, *taps]``, equal ones once."""
    axes = marks.ndim - 3
    inner = (2, *range(3 + axes, 3 + 2 * axes))

    def joined(mark: Tensor) -> Tensor:  # [group, in, *taps]
        laid = mark.reshape(1, *mark.shape[:2], *(1,) * axes, *mark.shape[2:])
        return flow.algebra.reduce(windows * laid, inner).squeeze(inner)

    if marks.shape[1] == 1:
        return joined(marks[:, 0]).unsqueeze(2)
    kinds, which = torch.unique(marks, dim=1, return_inverse=True)
    return torch.stack([joined(kinds[:, i]) for i in range(kinds.shape[1])], 2).index_select(2, which)


def window(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element of the pooling window."""
    x = present(links(node.refs[0]))
    shape, axes = flow.shape(node.refs[0]), node.operation.spatial
    for axis in range(-axes, 0):
        table = places_read(node, axis + axes, shape[axis], node.shape[axis])
        at = x.ndim + axis
        x = flow.algebra.reduce(read_along(x, at, table, shape[axis]), [at + 1]).squeeze(at + 1)
    return everywhere(node, x)
