"""Convolutions in one form: taps of the kernel, and the places that each tap reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.operations.elements import Lookup, edges, total
from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Convolution:
    """A convolution or its transpose, along `axes` trailing axes; all settings have one entry per axis.

    Output place p reads, at tap t, input place ``stride · p + dilation · t - padding``; a transposed convolution writes
    there instead. The weight is ``[out, in / groups, *taps]``, transposed ``[in, out / groups, *taps]``.
    """

    input: Ref
    weight: Ref
    bias: Ref | None
    taps: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    groups: int

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.taps)

    def reads(self, axis: int, n_in: int, n_out: int) -> Bool[Tensor, "tap out in"]:
        """Tell, along one axis, whether an output place reads an input place at a tap; outside there is nothing."""
        tap = torch.arange(self.taps[axis]).reshape(-1, 1, 1) * self.dilation[axis] - self.padding[axis]
        out, inside = torch.arange(n_out).reshape(1, -1, 1), torch.arange(n_in).reshape(1, 1, -1)
        if self.transposed:
            return inside * self.stride[axis] + tap == out
        return out * self.stride[axis] + tap == inside


def convolution_of(node: Node, graph: Graph) -> Convolution:
    """Read a node of kind `convolution`."""
    named = node.bound()
    taps = graph.meta(named["weight"]).shape[2:]
    axes = len(taps)

    def each(name: str) -> tuple[int, ...]:
        values = named[name]
        return tuple(values) * axes if len(values) == 1 else tuple(values)

    dilation, padding = each("dilation"), named["padding"]
    if isinstance(padding, str):  # torch puts the odd one of "same" on the right
        spread = [d * (k - 1) // 2 if padding == "same" else 0 for d, k in zip(dilation, taps, strict=True)]
    else:
        spread = list(each("padding"))
    return Convolution(
        input=named["input"],
        weight=named["weight"],
        bias=named["bias"],
        taps=taps,
        stride=each("stride"),
        padding=tuple(spread),
        dilation=dilation,
        transposed=named.get("transposed", "conv_transpose" in node.op),
        groups=named["groups"],
    )


def convolution_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates: every tap at every place, padding too; a transposed convolution's at every input."""
    conv = convolution_of(node, graph)
    places = graph.meta(conv.input) if conv.transposed else node.meta
    return places.numel * prod(graph.meta(conv.weight).shape[1:])


def convolution_edges(node: Node, graph: Graph, elements: Lookup) -> int:
    """Edges of a convolution between units that exist: taps that fall outside reach nothing."""
    conv = convolution_of(node, graph)
    sizes = zip(graph.meta(conv.input).shape[-conv.axes :], node.shape[-conv.axes :], strict=True)
    reads = [conv.reads(axis, n_in, n_out).double() for axis, (n_in, n_out) in enumerate(sizes)]
    used = elements(Ref(node.index)).used

    def pairs(x: Bool[Tensor, "..."], weight: Bool[Tensor, "..."]) -> int:
        x = x if x.ndim == conv.axes + 2 else x.unsqueeze(0)
        # torch leaves unflatten without types
        by_out = weight.unflatten(0, (conv.groups, -1))
        by_out = by_out.transpose(1, 2) if conv.transposed else by_out  # [group, out, in, *taps]
        if used is None:
            return _pairs(reads, x, by_out)
        return _used_pairs(reads, x, by_out, used.reshape(len(x), conv.groups, -1, *node.shape[-conv.axes :]))

    return edges(elements(conv.input), elements(conv.weight), pairs)


def _pairs(reads: list[Tensor], x: Bool[Tensor, "b c *n"], weight: Bool[Tensor, "g o i *taps"]) -> int:
    """Sum, over input channels and taps, how often marked inputs are read times how many marked weights read them."""
    read = total(x, [0]).double()
    for axis, places in enumerate(reads):  # [c, in, …] x [tap, in] -> [c, tap, …]
        read = torch.tensordot(read, places.sum(1), dims=([axis + 1], [1])).movedim(-1, axis + 1)
    return int((read * total(weight, [1]).flatten(0, 1)).sum())


def _used_pairs(
    reads: list[Tensor],
    x: Bool[Tensor, "b c *n"],
    weight: Bool[Tensor, "g o i *taps"],
    used: Bool[Tensor, "b g o *m"],
) -> int:
    """Count only what is added into used elements; channels that are used at the same places go together."""
    patterns, which = torch.unique(used.movedim(2, 0).flatten(1), dim=0, return_inverse=True)
    found = 0
    for i, pattern in enumerate(patterns):
        readers = pattern.reshape(used[:, :, 0].shape).double()  # [b, g, *out]
        for places in reads:  # [b, g, out, …] x [tap, out, in] -> [b, g, …, tap, in]
            readers = torch.tensordot(readers, places, dims=([2], [1]))
        axes = len(reads)
        readers = readers.permute(0, 1, *range(2, 2 + 2 * axes, 2), *range(3, 3 + 2 * axes, 2))
        fan_out = weight[:, which == i].sum(1).double().flatten(2)  # [g, c/g, taps]
        inputs = x.double().reshape(x.shape[0], weight.shape[0], weight.shape[2], -1)
        found += int(
            (torch.einsum("bgcq,gct->bgtq", inputs, fan_out) * readers.flatten(2 + axes).flatten(2, 1 + axes)).sum()
        )
    return found
