"""What becomes of numbers that values carry, operation by operation: shifts of sums, and factors of products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leadline.domains.compact import lifted
from leadline.domains.values.facts import Facts
from leadline.domains.values.logits import unmasked
from leadline.domains.values.moves import fills
from leadline.domains.values.views import axes_of
from leadline.domains.values.views import carried as moved
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import Form, Kind, Move, Noise, Tally

SUMS = {Form.SUM: (1.0, 1.0), Form.DIFFERENCE: (1.0, -1.0), Form.REVERSED: (-1.0, 1.0)}
"""By what sums scale their operands."""


@dataclass(frozen=True)
class Carried:
    """How a value carries numbers that entered elsewhere: of each element which one, counted from 1; 0: of none.

    An element is what it would be without it, plus `scale` times the number; or, for a `factor`, times its exponential
    to that power. Elements that carry none are zero in a value that carries factors.
    """

    which: Tensor
    scale: float
    factor: bool


class Seen(Exception):
    """The number may be seen in what it reaches."""


class Carrying:
    """The rules, for one graph and what is known of it."""

    def __init__(self, graph: Graph, facts: Mapping[Ref, Facts], floor: float) -> None:
        self.graph, self.facts, self.floor = graph, facts, floor

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Shape of a value."""
        return self.graph.meta(ref).shape

    def through(self, node: Node, held: Mapping[Ref, Carried]) -> dict[Ref, Carried]:
        """Return what the outputs of a node carry; `Seen` where none of the forms will do."""
        mine = {ref: held[ref] for ref in node.sources if ref in held}
        ref, (first, *others) = Ref(node.index), mine.values()
        if any((other.factor, other.scale) != (first.factor, first.scale) for other in others) and not _may_meet(node):
            raise Seen
        if node.kind is Kind.EFFECT:
            return {}
        if node.kind is Kind.CREATION or (node.kind is Kind.RANDOM and node.operation.noise is Noise.SHAPE):
            return _nothing_but_shapes(node, mine)
        if node.kind is Kind.SOFTMAX:
            self._softmax(node, first)
            return {}
        rule = {
            Kind.POINTWISE: self._pointwise,
            Kind.RANDOM: self._dropout,
            Kind.VIEW: self._view,
            Kind.REDUCTION: self._reduction,
            Kind.CONTRACTION: self._contraction,
        }.get(node.kind)
        if rule is None or not node.meta.dtype.is_floating_point:
            raise Seen
        found = rule(node, mine)
        if isinstance(found, Carried):
            found = {ref: found}
        return {place: left for place, passed in found.items() if (left := self._left(place, passed)) is not None}

    def _left(self, ref: Ref, carried: Carried) -> Carried | None:
        """Return what is carried by elements that are not known; of factors, all others are zero: else `Seen`."""
        known = self.facts[ref].where_known()
        which = torch.where(known, 0.0, carried.which)
        if not bool((which > 0).any()):
            return None
        if carried.factor and not bool((self.facts[ref].zeros() | (which > 0)).all()):
            raise Seen
        return replace(carried, which=which)

    def _pointwise(self, node: Node, mine: Mapping[Ref, Carried]) -> Carried | dict[Ref, Carried]:
        record, named = node.operation.pointwise, node.bound()
        (ref, carried), *_ = mine.items()
        if record is None:
            raise Seen
        same = record.identity(named)
        if same is not None and named[same] == ref:
            return carried
        if record.exponential and not carried.factor:
            return replace(carried, factor=True)
        curve = record.curve(named)
        if curve is not None and curve.factor and named[record.operands[0]] == ref:
            return carried if carried.factor else replace(carried, scale=carried.scale * curve.factor)
        if record.form is Form.CHOICE:
            return self._chosen(node, mine)
        if record.form in SUMS:
            return self._sum(node, mine)
        if record.form in (Form.PRODUCT, Form.QUOTIENT):
            return self._product(node, mine)
        raise Seen

    def _sum(self, node: Node, mine: Mapping[Ref, Carried]) -> Carried | dict[Ref, Carried]:
        """Add; a number that is taken away again is gone."""
        named = node.bound()
        terms = [(mine[named[name]], scale) for name, scale in scales(node).items() if named[name] in mine]
        (first, scale), *rest = terms
        if not rest:
            if first.factor:
                raise Seen
            return replace(first, scale=first.scale * scale)
        ((second, other),) = rest
        if first.factor or second.factor:
            if first.factor != second.factor or first.scale != second.scale:
                raise Seen
            return replace(first, which=_common(first.which, second.which, len(node.shape)))
        return _added(
            replace(first, scale=first.scale * scale), replace(second, scale=second.scale * other), len(node.shape)
        )

    def _product(self, node: Node, mine: Mapping[Ref, Carried]) -> Carried | dict[Ref, Carried]:
        """Multiply, or divide: factors of numerator and denominator cancel."""
        named, record = node.bound(), node.operation.pointwise
        assert record is not None
        left, right = (named[name] for name in record.operands)
        sign = -1.0 if record.form is Form.QUOTIENT else 1.0
        if not all(carried.factor for carried in mine.values()):
            number = right if left in mine else left
            scalable = isinstance(number, bool | int | float) and (sign > 0 or left in mine) and number
            if len(mine) > 1 or not scalable:
                raise Seen
            (carried,) = mine.values()
            return replace(carried, scale=carried.scale * number**sign)
        if left not in mine:
            return replace(mine[right], scale=sign * mine[right].scale)
        if right not in mine:
            return mine[left]
        which = _common(mine[left].which, mine[right].which, len(node.shape))
        total = mine[left].scale + sign * mine[right].scale
        return replace(mine[left], which=which, scale=total) if total else {}

    def _chosen(self, node: Node, mine: Mapping[Ref, Carried]) -> Carried:
        """Choose between elements that carry the same and others; these are zeros, or what masks logits for good."""
        named, record = node.bound(), node.operation.pointwise
        assert record is not None
        condition, *branches = (named[name] for name in record.operands)
        if condition in mine:
            raise Seen
        held = self.facts[condition]
        sure, yes = held.where_known(), torch.zeros((), dtype=torch.bool) if held.value is None else held.value.bool()
        carried, parts = next(iter(mine.values())), []
        for branch, chosen in zip(branches, (yes, ~yes), strict=True):
            if branch in mine:
                which = lifted(mine[branch].which, len(node.shape))
            elif self._masks(branch, ~sure, factor=carried.factor):
                which = torch.zeros((1,) * len(node.shape), dtype=torch.float64)
            else:
                raise Seen
            parts.append(torch.where(sure & ~chosen, 0.0, which))
        return replace(carried, which=_common(parts[0], parts[1], len(node.shape)))

    def _masks(self, branch: object, doubt: Tensor, *, factor: bool) -> bool:
        """Whether elements that may be chosen, as far as is known, are nothing beside those that carry something.

        Of logits, those that are put down for certain are looked at where they end.
        """
        if isinstance(branch, bool | int | float):
            branch = Facts(torch.tensor(float(branch), dtype=torch.float64))
        facts = self.facts[branch] if isinstance(branch, Ref) else branch
        if not isinstance(facts, Facts):
            return False
        masked = facts.zeros() if factor else facts.bounds().high == -torch.inf
        return bool((masked | ~doubt).all())

    def _dropout(self, node: Node, mine: Mapping[Ref, Carried]) -> Carried:
        (ref, carried), *_ = mine.items()
        off = node.bound().get("train") is False
        if node.operation.noise is not Noise.DROPOUT or ref != node.refs[0] or not (carried.factor or off):
            raise Seen
        return carried

    def _view(self, node: Node, mine: Mapping[Ref, Carried]) -> dict[Ref, Carried]:
        """Move what elements carry with them."""
        first = next(iter(mine.values()))
        if node.operation.move in (Move.RETYPE, Move.PAIRS_TO_COMPLEX, Move.COMPLEX_TO_PAIRS):
            raise Seen

        def value(ref: Ref) -> Tensor:
            return mine[ref].which if ref in mine else torch.zeros((1,) * len(self.shape(ref)), dtype=torch.float64)

        parts = moved(node, value, self.shape, fills(node))
        return {Ref(node.index, i): replace(first, which=part) for i, part in enumerate(parts) if part is not None}

    def _reduction(self, node: Node, mine: Mapping[Ref, Carried]) -> dict[Ref, Carried]:
        """Add up what carries the same factor, or find the largest of what carries the same number."""
        ((ref, carried),) = mine.items()
        tally, ndim = node.operation.tally, len(self.shape(ref))
        which = lifted(carried.which, ndim)
        dims = axes_of(node.bound().get("dim"), ndim)
        if not carried.factor:
            if tally not in (Tally.LARGEST, Tally.LOG_SUM_EXP) or (len(dims) > 1 and bool((which == 0).any())):
                raise Seen
            which = self._shown(ref, dims[0], which) if len(dims) == 1 else which
        elif tally not in (Tally.SUM, Tally.MEAN):
            raise Seen
        row = _alike(which, dims)
        kept = row if len(node.shape) == ndim else row.squeeze(dims)
        return {Ref(node.index): replace(carried, which=kept)}

    def _shown(self, ref: Ref, dim: int, which: Tensor) -> Tensor:
        """Blank the logits that nothing masks but which carry nothing: `Seen`; and those that are masked."""
        shown = unmasked(self.facts[ref].bounds(), dim, self.floor)
        shown = torch.ones((1,) * which.ndim, dtype=torch.bool) if shown is None else lifted(shown, which.ndim)
        if bool((shown & (which == 0)).any()):
            raise Seen
        return torch.where(shown, which, 0.0)

    def _softmax(self, node: Node, carried: Carried) -> None:
        """Be rid of what all logits of a row carry; the logarithm of what finite numbers mask is not."""
        ref, ndim = node.refs[0], len(node.shape)
        if carried.factor:
            raise Seen
        which = lifted(carried.which, ndim)
        dim = node.args[1] % ndim
        _alike(self._shown(ref, dim, which), (dim,))
        high = self.facts[ref].bounds().high
        if node.operation.logarithm and not bool(((which > 0) | (high == -torch.inf)).all()):
            raise Seen

    def _contraction(self, node: Node, mine: Mapping[Ref, Carried]) -> Carried:
        """Sum products of what carries the same factor with what carries none."""
        named, product = node.bound(), node.operation.product
        (ref, carried), *others = mine.items()
        if others or product is None or not carried.factor or (product.added and named[product.added] is not None):
            raise Seen
        sides = named[product.left], named[product.right]
        if sides.count(ref) != 1:
            raise Seen
        axes = product.axes(*(len(self.shape(side)) for side in sides))
        mine_axes, out = axes[sides.index(ref)], axes[2]
        summed = tuple(i for i, letter in enumerate(mine_axes) if letter not in out)
        row = _alike(lifted(carried.which, len(mine_axes)), summed).squeeze(summed)
        letters = [letter for letter in mine_axes if letter in out]
        row = row.permute([letters.index(letter) for letter in out if letter in letters])
        sizes = iter(row.shape)
        return replace(carried, which=row.reshape([next(sizes) if letter in letters else 1 for letter in out]))


def scales(node: Node) -> dict[str, float]:
    """Return by what a sum scales its operands, by name."""
    record, named = node.operation.pointwise, node.bound()
    assert record is not None
    first, second = SUMS[record.form]
    alpha = float(named.get("alpha", 1))
    left, right = record.operands
    if record.form is Form.REVERSED:
        return {left: first * alpha, right: second}
    return {left: first, right: second * alpha}


def _may_meet(node: Node) -> bool:
    """Whether an operation takes what carries different powers."""
    record = node.operation.pointwise
    return record is not None and (record.form in SUMS or record.form in (Form.PRODUCT, Form.QUOTIENT))


def _nothing_but_shapes(node: Node, mine: Mapping[Ref, Carried]) -> dict[Ref, Carried]:
    if mine.keys() != {node.bound().get("self")}:
        raise Seen
    return {}


def _common(a: Tensor, b: Tensor, ndim: int) -> Tensor:
    """Return what two values carry where at most one number is at a place; `Seen` where there are two."""
    a, b = torch.broadcast_tensors(lifted(a, ndim), lifted(b, ndim))
    if bool(((a > 0) & (b > 0) & (a != b)).any()):
        raise Seen
    return torch.maximum(a, b)


def _added(a: Carried, b: Carried, ndim: int) -> Carried | dict[Ref, Carried]:
    """Add what two values carry: of the same number nothing is left where it is taken away again."""
    both = _common(a.which, b.which, ndim)
    alone = [torch.where((other.which > 0).logical_not(), mine.which, 0.0) for mine, other in ((a, b), (b, a))]
    left = [replace(side, which=which) for side, which in zip((a, b), alone, strict=True) if bool((which > 0).any())]
    total = a.scale + b.scale
    if not total and len(left) < 2:
        return left[0] if left else {}
    if left:
        raise Seen
    return replace(a, which=both, scale=total)


def _alike(which: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the one number that all places along axes carry, of those that carry any; `Seen` if they are several."""
    most = which.amax(dims, keepdim=True)
    if bool(((which > 0) & (which != most)).any()):
        raise Seen
    return most
