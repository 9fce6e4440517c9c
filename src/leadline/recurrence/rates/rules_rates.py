"""Rules for what changes the grid of positions: strides, transposed convolutions, enlargements, patches, mirrors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import torch

from leadline.domains.operations.convolutions import Convolution, convolution_of
from leadline.graph import Kind, Node
from leadline.graph.run_node import run_node
from leadline.graph.table import Move, Tally
from leadline.recurrence.ir import Contraction, Pointwise, Tap
from leadline.recurrence.rates.ir import RatedTap
from leadline.recurrence.rates.lowering import (
    RatedLowering,
    beyond,
    every,
    in_step,
    repeated,
    windows,
)
from leadline.recurrence.rates.rows import attention_in_rows, in_a_row, padded, taken
from leadline.recurrence.reading import rules_contraction, rules_features, rules_views, rules_within
from leadline.recurrence.reading.field import (
    FEATURE,
    Dims,
    Factor,
    Field,
    Misfit,
    axis_of,
    canonical,
    of_features,
    permuted,
    regroup,
)
from leadline.recurrence.reading.lowering import Fixed, Row, Unread, Value, copied, no_tensor
from leadline.recurrence.reading.rules_within import matrices

Rule = Callable[[RatedLowering, Node, dict[str, Any]], Value]


def own_rule(node: Node) -> Rule | None:
    """Return how a node is read where rates may change; None: as on a uniform grid."""
    operation = node.operation
    if operation.kind is Kind.CONVOLUTION:
        return convolution
    if operation.kind is Kind.WINDOW and not operation.adaptive:
        return pooling
    if operation.kind is Kind.ATTENTION:
        return attending
    if operation.kind is Kind.MATRICES:  # of which no law of one rate says what they cost
        return matrices
    return _BY_MOVE.get(operation.move) if operation.kind is Kind.VIEW and operation.move is not None else None


def attending(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Read attention along positions, or along those of a grid in one row."""
    within = rules_within.attending if low.rank == 1 else attention_in_rows
    return within(low, node, args)


def convolution(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Read a convolution of any stride, or a transposed one."""
    conv = convolution_of(node, low.graph)
    return transposed(low, node, args, conv) if conv.transposed else rules_contraction.convolution(low, node, args)


def transposed(low: RatedLowering, node: Node, args: dict[str, Any], conv: Convolution) -> Value:
    """Read a transposed convolution: at each input position a product for every phase, then sample by sample.

    The output's sample ``stride · q + phase``, counted before what the padding cuts off, rests on the input at q - j
    through the tap k with ``dilation · k = stride · j + phase``.
    """
    read, weight = args["input"], args["weight"]
    if not isinstance(weight, Fixed) or not isinstance(read, Field):
        raise Misfit("its kernel is computed")
    bias = args.get("bias")
    if bias is not None and not isinstance(bias, Fixed):
        raise Misfit("its bias is computed")
    roles = [axis_of(dim) for dim in read.dims[2:]]
    if len(read.dims) != conv.axes + 2 or len(read.dims[0]) > 1 or not of_features(read.dims[1]) or None in roles:
        raise Misfit("a transposed convolution along something else than position axes")
    axes = [role for role in roles if role is not None]
    stride, cut, points, over = list(low.ones), [0] * low.rank, list(read.sizes), [(0, 0)] * low.rank
    for i, axis in enumerate(axes):
        stride[axis], cut[axis] = conv.stride[i], conv.padding[i]
        points[axis] = -(-(node.shape[2 + i] + conv.padding[i]) // conv.stride[i])
        reach = conv.dilation[i] * (conv.taps[i] - 1) // conv.stride[i]
        over[axis] = (reach, max(0, points[axis] - read.sizes[axis]))
    dims = (
        read.dims[0],
        (Factor(FEATURE, node.shape[1] * math.prod(stride)),),
        *((Factor(a, points[a]),) for a in axes),
    )
    made = low.emit(_phases(low, low.filled(read, 0.0, over), conv, args, axes), dims, tuple(points), "conv")
    by_group = made.channels.reshape(conv.groups, math.prod(stride), -1).swapaxes(0, 1)
    tap = RatedTap(made.variable, tuple(-c for c in cut), by_group.reshape(-1), stride=low.ones, phases=tuple(stride))
    sizes = list(read.sizes)
    for i, axis in enumerate(axes):
        sizes[axis] = node.shape[2 + i]
    dims = (read.dims[0], (Factor(FEATURE, node.shape[1]),), *((Factor(a, sizes[a]),) for a in axes))
    return canonical(low.emit(copied(tap), dims, tuple(sizes), "interleaved"))


def _phases(
    low: RatedLowering, read: Field, conv: Convolution, args: Mapping[str, Any], axes: list[int]
) -> Contraction:
    """Return the product that makes all samples of a point: channels by group, phase and output channel."""
    groups, weight, bias = conv.groups, args["weight"], args.get("bias")
    # (in, out / groups, *taps) as (group, out, in, *taps)
    both = [tensor.unflatten(0, (groups, -1)).transpose(1, 2) for tensor in (weight.tensor, weight.generic)]
    count, (out, inner) = math.prod(conv.stride), both[0].shape[1:3]
    sums: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for place in product(*map(range, conv.taps)):
        at = [divmod(k * d, s) for k, d, s in zip(place, conv.dilation, conv.stride, strict=True)]
        phase = _number([(a, phase, s) for a, (_, phase), s in zip(axes, at, conv.stride, strict=True)])
        back = tuple(j for j, _ in at)
        if back not in sums:
            sums[back] = [torch.zeros(groups, count, out, inner, dtype=t.dtype, device=t.device) for t in both]
        for total, tensor in zip(sums[back], both, strict=True):
            total[:, phase] += tensor[(..., *place)]
    taps, weights = [], []
    for back, (matrix, generic) in sums.items():
        if bool((generic != 0).any()):
            offset = [0] * low.rank
            for axis, j in zip(axes, back, strict=True):
                offset[axis] = j
            taps.append(low.tap(read, offset=offset))
            weights.append(matrix.reshape(-1, inner))
    every_phase = None if bias is None else bias.tensor.reshape(groups, 1, out).expand(-1, count, -1).reshape(-1)
    return Contraction(tuple(taps), tuple(weights), every_phase, groups)


def _number(phases: Sequence[tuple[int, int, int]]) -> int:
    """Return the number of a sample among those of its point; by axis, the slowest first."""
    number = 0
    for _, phase, size in sorted(phases):
        number = number * size + phase
    return number


def reshape(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Group the same elements anew; positions that are cut into pieces become fewer positions of more features."""
    return in_step(low, regroup(_cut(low, args["self"], node.shape), node.shape))


def _cut(low: RatedLowering, read: Field, shape: Sequence[int]) -> Field:
    """Return a reading whose positions are as many as a new shape leaves together."""
    ends = {math.prod(shape[i:]) for i in range(len(shape))}
    flat = [f for dim in read.dims for f in dim]
    for place, factor in enumerate(flat):
        behind = math.prod(f.size for f in flat[place + 1 :])
        within = [end for end in ends if behind < end < behind * factor.size]
        if factor.role < 0 or not within:
            continue
        size = max(within) // behind
        if max(within) % behind or factor.size % size:
            raise Misfit("a reshape cuts positions and features at once")
        return _cut(low, windows(low, read, factor.role, size, size, factor.size // size), shape)
    return read


def take(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Keep some positions: every second one, say."""
    read, dim = args["self"], args.get("dim", 0)
    step = args.get("step", 1)
    if isinstance(read, Row) or in_a_row(low, read, dim):
        return taken(low, node, args)
    if not isinstance(read, Field) or step == 1 or axis_of(read.dims[dim % len(read.dims)]) is None:
        return rules_views.take(low, node, args)
    dim = dim % len(read.dims)
    chosen = run_node(node, no_tensor, {"self": torch.arange(read.shape[dim]), "dim": 0})[0].tolist()
    return every(low, read, dim, chosen[0], step, len(chosen))


def pad(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Pad by a constant, or by what lies within."""
    mode, read = args.get("mode", "constant"), args["self"]
    pairs = enumerate(zip(args.get("pad", ())[::2], args.get("pad", ())[1::2], strict=True), 1)
    if isinstance(read, Row) or (mode == "constant" and any(any(p) and in_a_row(low, read, -d) for d, p in pairs)):
        return padded(low, args)
    if mode == "constant" and node.operation.move is Move.PAD:
        return rules_views.pad(low, node, args)
    edge = next((e for e in ("reflect", "replicate") if (mode + node.packet).find(e[:6]) >= 0), None)
    if edge is None:
        raise Misfit(f"padding by {mode} reads positions that no constant offset reaches")
    read, amounts = args["self"], args["pad"] if "pad" in args else args["padding"]
    for place, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True), 1):
        if before or after:
            read = beyond(low, read, len(read.dims) - place, before, after, edge)
    return read


def enlarge(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Repeat every position as often as the result is longer."""
    read: Field = args["input"] if "input" in args else args["self"]
    times = {}
    for dim, (before, after) in enumerate(zip(read.shape, node.shape, strict=True)):
        if after % before or (after != before and axis_of(read.dims[dim]) is None):
            raise Misfit("an enlargement that is no whole multiple of the positions")
        if after != before:
            times[dim] = after // before
    return repeated(low, read, times)


def repeat(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Repeat every position, by `repeat_interleave`; or features, as on a uniform grid."""
    read, dim = args["self"], args.get("dim")
    if not isinstance(dim, int) or axis_of(read.dims[dim % len(read.dims)]) is None:
        return rules_features.repeat(low, node, args)
    return repeated(low, read, {dim % len(read.dims): args["repeats"]})


def unfold(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Read windows along positions, whose places become a last dimension."""
    read: Field = args["self"]
    dim = args["dimension"] % len(read.dims)
    if (axis := axis_of(read.dims[dim])) is None:
        raise Misfit("windows along something else than a position axis")
    size, step, count = args["size"], args["step"], node.shape[dim]
    made = windows(low, read, axis, size, step, count)
    split = [*node.shape[: dim + 1], size, *node.shape[dim + 1 : -1]]
    return permuted(regroup(made, split), [*(d for d in range(len(split)) if d != dim + 1), dim + 1])


def shuffle(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Read pixel shuffles as the reshapes that they are."""
    read: Field = args["self"]
    if len(read.dims) != 4 or not any(name in args for name in ("upscale_factor", "downscale_factor")):
        raise Misfit("a shuffle of channels, or of other than pictures")
    if "upscale_factor" in args:
        r, (b, c, h, w) = args["upscale_factor"], read.shape
        apart = permuted(regroup(read, (b, c // r**2, r, r, h, w)), (0, 1, 4, 2, 5, 3))
        return in_step(low, regroup(apart, node.shape))
    r, (b, c, h, w) = args["downscale_factor"], read.shape
    shape = (b, c, h // r, r, w // r, r)
    return regroup(permuted(regroup(_cut(low, read, shape), shape), (0, 1, 3, 5, 2, 4)), node.shape)


def pooling(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Read the mean or the largest of windows along positions."""
    read: Field = args["self"]
    mean = node.operation.tally is Tally.MEAN
    axes = node.operation.spatial or 1
    kernel, padding, dilation = (_each(args.get(n, default), axes) for n, default in _OF_A_POOL)
    stride = _each(args.get("stride") or kernel, axes)
    dims = range(len(read.dims) - axes, len(read.dims))
    roles = [axis_of(read.dims[d]) for d in dims]
    uneven = mean and any(padding) and not args.get("count_include_pad", True)
    if None in roles or uneven or args.get("ceil_mode") or args.get("divisor_override"):
        raise Misfit("a pooling along something else than position axes, or one whose windows differ in size")
    places = [axis for axis in roles if axis is not None]
    over, sizes, steps = [(0, 0)] * low.rank, list(read.sizes), list(low.ones)
    for i, axis in enumerate(places):
        sizes[axis], steps[axis] = node.shape[dims[i]], stride[i]
        last = (sizes[axis] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) - padding[i]
        over[axis] = (padding[i], max(0, last + 1 - read.sizes[axis]))
    read = low.filled(read, 0.0 if mean else -math.inf, over)
    taps: list[Tap] = []
    for place in product(*map(range, kernel)):
        offset = [0] * low.rank
        for i, axis in enumerate(places):
            offset[axis] = padding[i] - place[i] * dilation[i]
        taps.append(low.spaced(low.tap(read, offset=offset), steps))
    dims_out = tuple((Factor(a, sizes[a]),) if (a := axis_of(dim)) is not None else dim for dim in read.dims)
    made = _joined(low, taps, mean, dims_out, tuple(sizes), node.meta.dtype)
    return (made, *(Unread("where the largest stand") for _ in node.outputs[1:]))


def _joined(
    low: RatedLowering, taps: Sequence[Tap], mean: bool, dims: Dims, sizes: tuple[int, ...], dtype: torch.dtype
) -> Field:
    """Return the mean, or the largest, of what some taps read."""
    function, call = ("add", torch.add) if mean else ("maximum", torch.maximum)
    made = low.emit(copied(taps[0]), dims, sizes, "pool")
    for tap in taps[1:]:
        made = low.emit(Pointwise(function, (low.tap(made), tap), call), dims, sizes, "pool")
    if not mean:
        return made
    share = low.constant(torch.full((), 1 / len(taps), dtype=dtype), dims, sizes)
    return low.emit(Pointwise("mul", (low.tap(made), share), torch.mul), dims, sizes, "pool")


_OF_A_POOL = (("kernel_size", ()), ("padding", 0), ("dilation", 1))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * axes if len(values) == 1 else values


_BY_MOVE: dict[Move, Rule] = {
    Move.RESHAPE: reshape,
    Move.TAKE: take,
    Move.PAD: pad,
    Move.MIRROR: pad,
    Move.ENLARGE: enlarge,
    Move.REPEAT: repeat,
    Move.WINDOWS: unfold,
    Move.SHUFFLE: shuffle,
}
