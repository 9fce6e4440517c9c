"""How much sums of products can stretch a perturbation: matrix products, convolutions, pooling, Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from leadline.domains.engine import NoRule
from leadline.domains.operations.pooling import places_read
from leadline.domains.values.fourier import fourier_of
from leadline.domains.values.interval_arithmetic import EPS, Interval
from leadline.domains.values.interval_rules import call
from leadline.graph.ir import Node
from leadline.graph.table import Tally
from leadline.jacobian.bounds.gain import NOTHING, Gain, Known, Look, total
from leadline.jacobian.bounds.norms import convolution_norm, range_within


def contraction(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Take one factor as matrices and the other as their rows: ``‖dA B‖ + ‖A dB‖ ≤ ‖dA‖ ‖B‖₂ + ‖A‖₂ ‖dB‖``."""
    named, factors = node.bound(), node.operation.product
    if factors is None:
        raise NoRule
    a, b = named[factors.left], named[factors.right]
    left, right, out = factors.axes(len(known.shape(a)), len(known.shape(b)))
    first = _after(look(a), left, known.values[b], right, _long(left, known.shape(a)), out)
    second = _after(look(b), right, known.values[a], left, _long(right, known.shape(b)), out)
    alpha, beta = (abs(float(named.get(name, 1))) for name in ("alpha", "beta"))
    found = first.plus(second).times(alpha, alpha)
    added = known.repeated(named[factors.added], look, node.shape) if factors.added else NOTHING
    return (found.plus(added.times(beta, beta)),)


def _long(letters: str, shape: tuple[int, ...]) -> str:
    """Return the axes that are longer than one: others broadcast."""
    return "".join(letter for letter, size in zip(letters, shape, strict=True) if size > 1)


def _after(gain: Gain, moving: str, factor: Interval, letters: str, long: str, out: str) -> Gain:
    """Return the gain after a product with a factor, whose axes are the batch's, those summed over, and its own."""
    if not gain.moves:
        return NOTHING
    batch = [i for i, letter in enumerate(letters) if letter in long and letter in out]
    summed = [i for i, letter in enumerate(letters) if letter in moving and letter not in out]
    own = [i for i in range(len(letters)) if i not in (*batch, *summed)]
    matrices = _matrices(factor, batch, summed, own)
    least, most = range_within(matrices)
    rows, columns = matrices.shape[-2:]
    return gain.times(least if rows <= columns else 0.0, most)


def _matrices(x: Interval, *axes: list[int]) -> Interval:
    """Return the axes in this order, those of a group as one."""
    sizes = [math.prod(x.shape[i] for i in group) for group in axes]
    order = [i for group in axes for i in group]
    pair = (2,) if x.pairs else ()
    return x.each(lambda end: end.permute(*order, *([len(order)] if x.pairs else [])).reshape(*sizes, *pair))


def convolution(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Bound a convolution; a transposed one has the norm of the one that it is the transpose of."""
    named = node.bound()
    weight, x = known.values[named["weight"]], named["input"]
    if look(named["weight"]).moves or weight.pairs or known.values[x].pairs or not weight.finite:
        raise NoRule
    dims = len(weight.shape) - 2
    transposed = named.get("transposed", node.operation.transposed)
    size = (node.shape if transposed else known.shape(x))[-dims:]
    dilation = _each(named["dilation"], dims)
    norms = (convolution_norm(part, size, dilation, named["groups"]) for part in _parts(weight))
    found = look(x).times(0.0, total(*norms))
    return (found.plus(known.repeated(named.get("bias"), look, node.shape)),)


def _each(setting: Iterable[int], dims: int) -> tuple[int, ...]:
    values = tuple(setting)
    return values * dims if len(values) == 1 else values


def _parts(weight: Interval) -> list[torch.Tensor]:
    """Return an interval's middle and, unless it is a point, its radius: norms grow with absolute values."""
    return [weight.middle] if weight.constant else [weight.middle, weight.radius]


def window(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Bound pooling by its largest sums over rows and columns; one row of a largest element has a single one."""
    ref = node.refs[0]
    if node.operation.tally is Tally.MEAN:
        most = _schur(node, known.shape(ref))
    else:
        axes = range(-node.operation.spatial, 0)
        most = math.sqrt(math.prod(_busiest(node, axis, known.shape(ref)) for axis in axes)) * (1 + 4 * EPS)
    return (look(ref).times(0.0, most), *(NOTHING for _ in node.outputs[1:]))


def _schur(node: Node, shape: tuple[int, ...]) -> float:
    """Return ``(‖A‖₁ ‖A‖∞)^½`` of a map whose entries have one sign, read from what it does, whatever its literals."""
    with torch.enable_grad():
        ones = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        rows = call(node, lambda _: ones)[0]
        (columns,) = torch.autograd.grad(rows.sum(), ones)
    return math.sqrt(float(rows.abs().max())) * math.sqrt(float(columns.abs().max())) * (1 + 8 * EPS * ones.numel())


def _busiest(node: Node, axis: int, shape: tuple[int, ...]) -> int:
    """Return in how many windows at most a place along an axis is."""
    table = places_read(node, axis + node.operation.spatial, shape[axis], node.shape[axis])
    return int(torch.bincount(table.flatten(), minlength=shape[axis] + 1)[:-1].max())


def fourier(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Bound a transform: orthogonal but for its scale and for halves of spectra."""
    found = fourier_of(node, known.shape(node.refs[0]))
    return (look(node.refs[0]).times(found.least, found.most),)


def reduction(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Bound sums and means by the root of the number of terms; a largest element is one of them."""
    tally, ref = node.operation.tally, node.refs[0]
    places = [NOTHING] * (len(node.outputs) - 1)
    if tally in (Tally.LARGEST, Tally.LEAST):
        return (look(ref).times(0.0, 1.0), *places)
    if tally not in (Tally.SUM, Tally.MEAN):
        raise NoRule
    merged = known.graph.meta(ref).numel / max(1, math.prod(node.shape))
    root = math.sqrt(merged) if tally is Tally.SUM else 1 / math.sqrt(merged)
    return (look(ref).times(0.0, root * (1 + 4 * EPS)),)
