"""The steps of attention as words of a program, for the instruction in `weighing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph.table import Form, Kind, Tally
from leadline.recurrence.ir import Tap, Variable
from leadline.recurrence.scores import Applied, AtKeys, AtQuery, Attention, Between, Made, Place, Products
from leadline.sampling.compiled.instructions import Op, Part

if TYPE_CHECKING:
    from leadline.errors import UsageError

_TALLIES: Mapping[Tally, Op] = {Tally.SUM: Op.SUM, Tally.LARGEST: Op.MAXIMUM, Tally.LEAST: Op.MINIMUM}


@dataclass
class Layout:
    """Lays out the steps of one attention.

    `number` stores numbers and returns where, `listed` stores words and returns which is the first. Of the `words` that
    are made, those in `addresses` are places in words. Rows of blocks are `length` numbers long.
    """

    variable: Variable
    equation: Attention
    length: int
    number: Callable[[Any], int]
    listed: Callable[[list[int]], int]
    missing: Callable[[Variable, str], UsageError]
    taps: list[Tap] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    addresses: list[int] = field(default_factory=list)

    @property
    def scratch(self) -> int:
        """How many numbers blocks and rows take."""
        return self.length * (4 + sum(step.channels for step in self.equation.steps))

    def made(self) -> None:
        """Write the words of all steps, whose blocks follow four rows on which they are worked."""
        starts = np.cumsum([4, *(step.channels for step in self.equation.steps)]) * self.length
        self.starts = [int(start) for start in starts]
        weights, value = self.equation.weights, self.equation.value
        self.words += [len(self.equation.steps), self.length, self.starts[weights.step], len(weights.channels), 0, 0]
        self._refer(4, list(map(int, weights.channels)))
        for n, step in enumerate(self.equation.steps):
            if isinstance(step, Products):
                self._products(n, step)
            else:
                self._applied(n, step)
        self.words[5] = 0 if value is None else self._which(value)

    def _refer(self, at: int, channels: list[int]) -> None:
        self.words[at] = self.listed(channels)
        self.addresses.append(at)

    def _which(self, tap: Tap) -> int:
        """Return the number of the operand that reads a tap; 0 is the result."""
        self.taps.append(tap)
        return len(self.taps)

    def _head(self, n: int, kind: Part, function: Op, parameter: float, inputs: int, more: int = 0) -> None:
        step = self.equation.steps[n]
        self.words += [int(kind), int(function), step.channels, self.starts[n], self.number(np.array([parameter])),
                       int(step.single), more, inputs]  # fmt: skip

    def _products(self, n: int, step: Products) -> None:
        self._head(n, Part.PRODUCTS, Op.COPY, step.scale, 2)
        for place in step.operands:
            self._operand(place, step.channels, Op.COPY)

    def _applied(self, n: int, step: Applied) -> None:
        if step.across:
            operation = step.operation
            shares = operation.kind is Kind.SOFTMAX and not operation.logarithm
            function = Op.SOFTMAX if shares else _TALLIES.get(operation.tally)
            if function is None or operation.kind not in (Kind.SOFTMAX, Kind.REDUCTION):
                raise self.missing(self.variable, f"{step.function} over keys")
            self._head(n, Part.ACROSS, function, 0.0, len(step.operands), step.more)
            for place in step.operands:
                self._operand(place, step.channels * (step.more if place is not step.operands[0] else 1), Op.COPY)
            return
        function, parameter, operands, before = self._function(step)
        if len(operands) == 1:  # which passes through it as it is read
            function, before = Op.COPY, [function]
        self._head(n, Part.FUNCTION, function, parameter, len(operands))
        for place, first in zip(operands, before, strict=True):
            self._operand(place, step.channels, first)

    def _function(self, step: Applied) -> tuple[Op, float, list[Place], list[Op]]:
        """Return the instruction of a function, its parameter, and its operands, each with what it passes first."""
        facts = step.facts
        if facts is not None and facts.form is Form.COPY and len(step.operands) == 1:
            return Op.COPY, 0.0, list(step.operands), [Op.COPY]
        named = dict(zip(step.names, step.operands, strict=True))
        if facts is not None and facts.form is Form.CHOICE and (chosen := self._chosen(step, facts.operands, named)):
            return Op.AFFINE, 0.0, chosen, [Op.COPY] * 3
        opcode = None if facts is None else facts.opcode(step.literals)
        names = () if facts is None else facts.operands
        operands = list(step.operands)
        for at, name in enumerate(names if len(names) > 1 else ()):
            if name not in named and isinstance(value := step.literals.get(name), int | float):
                operands.insert(at, Between(torch.full((1, 1, 1), float(value), dtype=torch.float64)))
        op = None if opcode is None else Op.__members__.get(opcode.name.upper())
        if opcode is None or op is None:
            raise self.missing(self.variable, f"{step.function} of scores")
        before = [Op.COPY] * len(operands)
        if opcode.before and len(operands) == 1:
            operands, before = operands * len(opcode.before), [Op[name.upper()] for name in opcode.before]
        if op < Op.COPY or (op >= Op.ADD) is (len(operands) == 1):
            raise self.missing(self.variable, f"{step.function} of scores")
        return op, opcode.parameter, operands, before

    def _chosen(self, step: Applied, names: tuple[str, ...], named: Mapping[str, Place]) -> list[Place]:
        """Read a choice between scores and a number by a table as ``a · table + number``; nothing: it is another."""
        condition, *sides = (named.get(name) for name in names)
        scores = [side for side in sides if isinstance(side, Made)]
        fixed = [side if side is not None else step.literals.get(name)
                 for name, side in zip(names[1:], sides, strict=True) if not isinstance(side, Made)]  # fmt: skip
        if not isinstance(condition, Between) or len(scores) != 1 or len(fixed) != 1:
            return []
        level = fixed[0].values if isinstance(fixed[0], Between) else torch.as_tensor(fixed[0])
        if level.numel() != 1:
            return []
        kept = condition.values.bool() if scores[0] is sides[0] else ~condition.values.bool()
        other = torch.where(kept, 0.0, level.reshape(1, 1, 1).double())
        return [scores[0], Between(kept.double()), Between(other)]

    def _operand(self, place: Place, channels: int, before: Op) -> None:
        """Write the words of an operand."""
        chosen = list(range(channels))
        if isinstance(place, AtQuery | AtKeys):
            mode = Part.QUERY if isinstance(place, AtQuery) else Part.KEYS
            words = [int(mode), int(before), 0, 0, 0, 0, self._which(place.tap), 0]
        elif isinstance(place, Made):
            single, chosen = self.equation.steps[place.step].single, list(map(int, place.channels))
            apart = 0 if single else 1
            words = [int(Part.BLOCK), int(before), self.starts[place.step], self.length, 0, apart, 0, 0]
        else:
            words = [int(Part.TABLE), int(before), *self._table(place.values), 0, 0]
        if len(chosen) == 1 and channels > 1:
            chosen = chosen * channels
        self.words += words
        self._refer(len(self.words) - 1, chosen)

    def _table(self, values: Tensor) -> tuple[int, int, int, int]:
        """Store numbers by channel, query and key; where they depend on the distance alone, once for each of these."""
        table = values.detach().double().movedim(2, 0)
        channels, queries, keys = table.shape
        apart, down, right = queries * keys, keys if queries > 1 else 0, 1 if keys > 1 else 0
        start = 0
        if queries > 1 and keys > 1 and torch.equal(table[:, 1:, 1:], table[:, :-1, :-1]):
            table = torch.cat([table[:, -1, :], table[:, 0, keys - queries + 1 :]], 1)
            apart, down, right, start = table.shape[1], -1, 1, queries - 1
        return self.number(table.contiguous()) + start, apart if channels > 1 else 0, down, right
