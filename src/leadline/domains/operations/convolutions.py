"""Convolutions in one form: taps of the kernel, and the places that each tap reads and writes."""

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from leadline.domains.operations.elements import ElementsOf, edges, paired
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

    @property
    def pointwise(self) -> bool:
        """Whether every output place reads the input place of the same number, and no other."""
        ones = (1,) * self.axes
        return (self.taps, self.stride, self.padding) == (ones, ones, (0,) * self.axes)

    def places(self, axis: int, n_in: int, n_out: int) -> Int[Tensor, "out tap"]:
        """Return, along one axis, the place that each output reads at each tap; ``n_in`` where there is none."""
        out = torch.arange(n_out).unsqueeze(1)
        tap = torch.arange(self.taps[axis]) * self.dilation[axis] - self.padding[axis]
        if self.transposed:
            place = torch.div(out - tap, self.stride[axis], rounding_mode="floor")
            inside = ((out - tap) % self.stride[axis] == 0) & (place >= 0) & (place < n_in)
        else:
            place = out * self.stride[axis] + tap
            inside = (place >= 0) & (place < n_in)
        return place.masked_fill(~inside, n_in)

    def by_group(self, x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "b group c *n"]:
        """Split the channels of a compact tensor over inputs or outputs into groups, and give it a batch."""
        x = x if x.ndim == self.axes + 2 else x.unsqueeze(0)
        return x.unsqueeze(1) if x.shape[1] == 1 else torch.unflatten(x, 1, (self.groups, x.shape[1] // self.groups))

    def by_output(self, weight: Shaped[Tensor, "..."]) -> Shaped[Tensor, "group out in *taps"]:
        """Lay a compact tensor over the weight out by group, output and input channel."""
        first = weight.shape[0]
        split = weight.unsqueeze(0) if first == 1 else torch.unflatten(weight, 0, (self.groups, first // self.groups))
        return split.transpose(1, 2) if self.transposed else split


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
        transposed=named.get("transposed", node.operation.transposed),
        groups=named["groups"],
    )


def convolution_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates: every tap at every place, padding too; a transposed convolution's at every input."""
    conv = convolution_of(node, graph)
    places = graph.meta(conv.input) if conv.transposed else node.meta
    return places.numel * prod(graph.meta(conv.weight).shape[1:])


def convolution_edges(node: Node, graph: Graph, elements: ElementsOf) -> int:
    """Edges of a convolution between units that exist: taps that fall outside reach nothing."""
    conv = convolution_of(node, graph)
    lengths, out = graph.meta(conv.input).shape[-conv.axes :], node.shape[-conv.axes :]
    tables = [conv.places(axis, n, m) for axis, (n, m) in enumerate(zip(lengths, out, strict=True))]
    taps, outs = "tuv"[: conv.axes], "xyz"[: conv.axes]
    sizes = _sizes(conv, graph.meta(conv.input).shape, node.shape, taps, outs)
    inside = [(f"{m}{t}", table < n) for m, t, table, n in zip(outs, taps, tables, lengths, strict=True)]
    used = elements(Ref(node.index)).used
    read = [] if used is None else [("bgo" + outs, conv.by_group(used))]

    def pairs(x: Bool[Tensor, "..."], weight: Bool[Tensor, "..."]) -> int:
        windows, letters = conv.by_group(x), "bgi"
        for axis, table in enumerate(tables):  # an axis along which nothing varies is read alike by all
            at, size = len(letters), lengths[axis]
            windows = windows.unsqueeze(at + 1) if windows.shape[at] == 1 else read_along(windows, at, table, size)
            letters += outs[axis] + taps[axis]
        terms = (letters, windows), ("goi" + taps, conv.by_output(weight))
        return paired(sizes, *inside, *terms, *read)

    return edges(elements(conv.input), elements(conv.weight), pairs)


def _sizes(conv: Convolution, before: tuple[int, ...], after: tuple[int, ...], taps: str, outs: str) -> dict[str, int]:
    """Give the size of every axis: batch, group, input and output channels of a group, taps, output places."""
    channels = {"i": before[-conv.axes - 1] // conv.groups, "o": after[-conv.axes - 1] // conv.groups}
    batch = {"b": before[0] if len(before) == conv.axes + 2 else 1, "g": conv.groups}
    places = zip(taps + outs, (*conv.taps, *after[-conv.axes :]), strict=True)
    return {**batch, **channels, **dict(places)}


def read_along(x: Shaped[Tensor, "..."], axis: int, table: Int[Tensor, "out tap"], size: int) -> Shaped[Tensor, "..."]:
    """Read places along an axis, ``[…, n, …]`` to ``[…, out, tap, …]``; the place behind the last holds nothing.

    Of an axis along which a compact tensor does not vary, it is asked only whether the place is there.
    """
    if x.shape[axis] == 1:
        inside = table < size
        return x.unsqueeze(axis + 1) * inside.reshape(*inside.shape, *(1,) * (x.ndim - axis - 1))
    nothing = torch.zeros_like(x.narrow(axis, 0, 1))
    read = torch.cat([x, nothing], axis).index_select(axis, table.flatten())
    return torch.unflatten(read, axis, tuple(table.shape))
