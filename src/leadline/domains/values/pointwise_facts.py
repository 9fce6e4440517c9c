"""Constant propagation through pointwise operations: arithmetic on what elements may be, and what zeros absorb."""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from leadline.domains.engine import Lookup
from leadline.domains.values.facts import UNKNOWN, Bounds, Facts, Options, evaluated, filled, one_of
from leadline.domains.values.magnitudes import LARGE, anywhere, largest
from leadline.domains.values.named import evaluated_at
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Form, Pointwise

_NOWHERE = torch.zeros((), dtype=torch.bool)
_MOST = 16  # combinations of operands' values that are tried
_JOINING = frozenset({Form.BOTH, Form.EITHER})
_ARITHMETIC = frozenset({Form.SUM, Form.DIFFERENCE, Form.REVERSED, Form.PRODUCT, Form.QUOTIENT})
_BOUNDED = _ARITHMETIC | {Form.MAXIMUM, Form.MINIMUM, Form.CLAMP}


def pointwise(node: Node, facts: Lookup[Facts], dtypes: Lookup[torch.dtype], floor: float) -> tuple[Facts, ...]:
    """Return what is known of a pointwise operation's outputs; `dtypes` gives the types of its operands."""
    record, named = node.operation.pointwise, node.bound()
    first = evaluated_at(node, facts, dtypes)
    if record is not None and first.empty:
        writes = record.form is Form.CHOICE or record.identity(named) is not None  # may put literals down
        writes = writes or any(_is_zero(named[name]) for name in record.zeros(named))
        if writes or any(not facts(ref).empty or dtypes(ref) is torch.bool for ref in node.sources):
            first = _Pointwise(node, record, facts, dtypes, floor).found()
    return (first, *(UNKNOWN,) * (len(node.outputs) - 1))


def _is_zero(argument: object) -> bool:
    return isinstance(argument, bool | int | float) and argument == 0


class _Pointwise:
    """One operation, and what is known of its operands."""

    def __init__(
        self, node: Node, record: Pointwise, facts: Lookup[Facts], dtypes: Lookup[torch.dtype], floor: float
    ) -> None:
        self.node, self.record, self.facts, self.dtypes, self.floor = node, record, facts, dtypes, floor
        self.named: Mapping[str, Any] = node.bound()
        self.dtype = node.meta.dtype

    def known(self, name: str) -> Facts:
        """Return what is known of an argument, a literal too."""
        argument = self.named[name]
        if isinstance(argument, Ref):
            return self.facts(argument)
        if not isinstance(argument, bool | int | float):
            return UNKNOWN
        # float32 would make minus infinity of the least float64
        return Facts(torch.tensor(argument, dtype=torch.float64 if isinstance(argument, float) else None))

    def options(self, name: str) -> Options:
        """Return the values that an argument may have; truth values are one of two."""
        argument = self.named[name]
        truths = isinstance(argument, Ref) and self.dtypes(argument) is torch.bool
        return self.known(name).options(truths=truths)

    def found(self) -> Facts:
        """Return what is known of the result."""
        same = self.record.identity(self.named)
        if same is not None:
            return self._copied(same)
        if self.record.form is Form.CHOICE:
            return self._chosen(*self.record.operands)
        tried, bounds = self._tried(), self._bounds()
        if self.record.form in _ARITHMETIC:
            void = reduce(torch.logical_or, (self.known(name).void() for name in self.record.operands), _NOWHERE)
            tried = filled(tried, void, torch.nan)
        operands = [self.known(name) for name in self.record.zeros(self.named)]
        zero = reduce(torch.logical_or, (operand.zeros() for operand in operands), _NOWHERE)
        if self.record.vanishes:
            zero = zero | (self.known(self.record.operands[0]).bounds().high <= self.floor)
        tried = filled(tried, zero, 0.0)
        idle = reduce(torch.logical_or, (operand.idle() for operand in operands), _NOWHERE)
        tried = filled(tried, idle, 0.0, torch.nan)
        return one_of(tried, bounds)

    def _tried(self) -> Options:
        """Carry the operation out for all that its operands may be."""
        loose = self.record.form in _JOINING and self.dtype is torch.bool  # of numbers only their truth counts
        parts = {}
        for ref in self.node.sources:
            values, there = self.facts(ref).options(truths=loose or self.dtypes(ref) is torch.bool)
            # a one stands for what is not known, so that nothing divides by zero
            parts[ref] = Options([torch.where(there, v.to(self.dtypes(ref)), 1).to(self.dtypes(ref)) for v in values],
                                 there)  # fmt: skip
        there = reduce(torch.logical_and, (part.there for part in parts.values()), ~_NOWHERE)
        if not bool(there.any()) or prod(len(part.values) for part in parts.values()) > _MOST:
            return Options([torch.zeros((), dtype=self.dtype)], _NOWHERE)
        results = []
        for values in product(*(part.values for part in parts.values())):
            chosen = dict(zip(parts, values, strict=True))
            results.append(evaluated(self.node, chosen.__getitem__).to(self.dtype))
        return Options(results, there)

    def _copied(self, name: str) -> Facts:
        values, there = self.options(name)
        numbers = not (self.dtype.is_floating_point or self.dtype.is_complex or self.dtype is torch.bool)
        if numbers:  # minus infinity is any integer
            there = reduce(torch.logical_and, (value.isfinite() for value in values), there)
        bounds = self.known(name).bounds() if self.dtype.is_floating_point else None
        found = one_of(Options([value.to(self.dtype) for value in values], there), bounds)
        places = self.known(name).named
        return replace(found, named=places) if numbers and places is not None else found

    def _chosen(self, condition: str, a: str, b: str) -> Facts:
        """``where(condition, a, b)``: where the condition is known, one branch; else either."""
        held = self.known(condition)
        sure = held.where_known()
        yes = _NOWHERE if held.value is None else held.value.bool()
        left, right = self.options(a), self.options(b)

        def pick(one: Tensor, other: Tensor) -> Tensor:
            return torch.where(yes, one, other)

        longest = max(len(left.values), len(right.values))
        ones, others = ([v[min(i, len(v) - 1)].to(self.dtype) for i in range(longest)] for v in (left[0], right[0]))
        values = [torch.where(sure, pick(x, y), x) for x, y in zip(ones, others, strict=True)]
        if not bool(sure.all()):
            values += [torch.where(sure, pick(x, y), y) for x, y in zip(ones, others, strict=True)]
        there = torch.where(sure, pick(left.there, right.there), left.there & right.there)
        if not self.dtype.is_floating_point:
            return one_of(Options(values, there))
        x, y = self.known(a).bounds(), self.known(b).bounds()
        low = torch.where(sure, pick(x.low, y.low), torch.minimum(x.low, y.low))
        high = torch.where(sure, pick(x.high, y.high), torch.maximum(x.high, y.high))
        return one_of(Options(values, there), Bounds(low, high))

    def _bounds(self) -> Bounds | None:
        """Return the constants within sums that the result carries; None: no such constants."""
        form, operands = self.record.form, [name for name in self.record.operands if self.named.get(name) is not None]
        if not self.dtype.is_floating_point or form not in _BOUNDED:
            return None
        known = [self.known(name).bounds() for name in operands]
        if not any(bool(part.any()) for bounds in known for part in bounds):
            return None
        alpha = self.named.get("alpha", 1)
        if form is Form.SUM:
            return _sum(known[0], _times(known[1], torch.tensor(alpha)))
        if form is Form.DIFFERENCE:
            return _sum(known[0], _times(known[1], torch.tensor(-alpha)))
        if form is Form.REVERSED:
            return _sum(known[1], _times(known[0], torch.tensor(-alpha)))
        if form in (Form.PRODUCT, Form.QUOTIENT):
            return self._scaled(known, quotient=form is Form.QUOTIENT)
        if form is Form.CLAMP:
            found = known[0]
            for name, limit in zip(operands[1:], known[1:], strict=True):
                found = Bounds(*map(torch.maximum if name.startswith("min") else torch.minimum, found, limit))
            return found
        extreme = torch.maximum if form is Form.MAXIMUM else torch.minimum
        return Bounds(*map(extreme, *known))

    def _scaled(self, known: list[Bounds], *, quotient: bool) -> Bounds | None:
        """Scale the constants within sums by a factor or divisor that is known; by another they may be anything."""
        sides = [self.known(name) for name in self.record.operands]
        found, sure = Bounds(*(torch.zeros((), dtype=torch.float64),) * 2), _NOWHERE
        for mine, factor in ((0, 1),) if quotient else ((0, 1), (1, 0)):
            held = sides[factor].value
            if held is None or held.is_complex():
                continue
            scale = 1 / held.double() if quotient else held.double()
            there = sides[factor].where_known() & (scale != 0) & scale.isfinite()
            scaled = _times(known[mine], torch.where(there, scale, 1.0))
            found = Bounds(*(torch.where(there, new, old) for new, old in zip(scaled, found, strict=True)))
            sure = sure | there
        size = max(map(largest, sides))
        if self.floor == -torch.inf or size < LARGE:
            return found
        wide = anywhere(size * LARGE)
        return Bounds(*(torch.where(sure, old, new) for new, old in zip(wide, found, strict=True)))


def _times(x: Bounds, scale: Tensor) -> Bounds:
    """Scale constants; under a negative factor they change places."""
    low, high = (_within(part * scale.double(), part.isinf()) for part in x)
    return Bounds(torch.where(scale < 0, high, low), torch.where(scale < 0, low, high))


def _within(found: Tensor, infinite: Tensor) -> Tensor:
    """Keep finite what two finite constants make: they never add up to a mask that nothing defeats."""
    most = torch.finfo(found.dtype).max
    return torch.where(infinite, found, found.clamp(min=-most, max=most))


def _sum(a: Bounds, b: Bounds) -> Bounds:
    """Add constants. Minus infinity absorbs what is not infinite; the low end is nan where the sum may be."""
    low, high = (_within(x + y, x.isinf() | y.isinf()) for x, y in zip(a, b, strict=True))
    sunk = (a.high == -torch.inf) | (b.high == -torch.inf)
    doubtful = sunk & ((a.high == torch.inf) | (b.high == torch.inf))
    low = torch.where(
        sunk,
        torch.where(doubtful, torch.nan, -torch.inf),
        low.nan_to_num(nan=-torch.inf, posinf=0.0, neginf=-torch.inf),
    )
    high = torch.where(sunk, -torch.inf, high.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf))
    return Bounds(low, high)
