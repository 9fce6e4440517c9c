"""What instructions share: points that are due, how operands lie behind their bases, and sums that are rectified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.recurrence import ir
from leadline.sampling.compiled import instructions as word
from leadline.sampling.compiled.instructions import Op
from leadline.sampling.fusion import FusedContraction, instruction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from leadline.sampling.plan import Plan

_LIE = [word.STEP, word.STRIDE, word.SLOTS, word.ROWS, word.COLUMNS, word.UP, word.LEFT, word.FURTHER]


def share(code: NDArray[Any], operands: NDArray[Any], first_pattern: int) -> int:
    """Write into instructions and operands what they share; return how many patterns are kept.

    An instruction's first operand is still counted among all of them. Patterns are numbered from `first_pattern` on.
    """
    alike = [(*lie, fill < 0) for lie, fill in zip(operands[:, _LIE].tolist(), operands[:, word.FILL], strict=True)]
    alike = [tuple(map(int, key)) for key in alike]
    needed = Counter(alike)
    patterns: dict[tuple[int, ...], int] = {}
    seen: set[tuple[int, ...]] = set()
    last: tuple[int, ...] | None = None
    circle = 0  # where the one ends that has begun
    for at, row in enumerate(code.tolist()):
        begins = at == circle // word.INSTRUCTION or row[word.UNTIL] > 0
        circle = max(circle, row[word.UNTIL])
        result = operands[row[word.FIRST]]
        now = row[word.DELAY], int(result[word.ROWS]), int(result[word.COLUMNS])
        if begins or now != last:
            code[at, word.FRESH], last, seen = 1, now, set()
        if row[word.OP] == Op.CALL:
            continue
        for n in range(row[word.FIRST], row[word.FIRST] + row[word.COUNT] + (row[word.ALSO] > 0)):
            key = alike[n]
            operands[n, word.PATTERN] = -1
            operands[n, word.NEW] = key not in seen
            if needed[key] > 1:
                seen.add(key)
                operands[n, word.PATTERN] = patterns.setdefault(key, first_pattern + len(patterns))
    return len(patterns)


def rectified(plan: Plan, parts: Iterable[tuple[tuple[ir.Variable, ...], bool]]) -> dict[str, ir.Variable]:
    """Return which products are rectified by a variable beside others that read them: both are written at once."""
    found: dict[str, ir.Variable] = {}
    for group in _groups(parts):
        for variable in group.values():
            source = group.get(_rectifies(variable))
            if source is None or source.name in found or source.channels != variable.channels:
                continue
            when = ((plan.schedule.delay[v.name], plan.ranges[v.name]) for v in (source, variable))
            if _plain_product(source.equation) and next(when) == next(when):
                found[source.name] = variable
    return found


def _groups(parts: Iterable[tuple[tuple[ir.Variable, ...], bool]]) -> list[dict[str, ir.Variable]]:
    """Return the variables that run over the same fronts at a time: those of each circle, and all of none."""
    straight: dict[str, ir.Variable] = {}
    circles = []
    for variables, turns in parts:
        named = {v.name: v for v in variables}
        circles.append(named) if turns else straight.update(named)
    return [straight, *circles]


def _plain_product(equation: ir.Equation) -> bool:
    product = FusedContraction.of(equation) if isinstance(equation, ir.Contraction) else None
    return product is not None and product.groups == 1 and product.function == "copy"


def _rectifies(variable: ir.Variable) -> str:
    """Return the name of what a variable rectifies, whole and at its own point; nothing if it does something else."""
    equation = variable.equation
    if not isinstance(equation, ir.Pointwise) or instruction(equation) != "relu":
        return ""
    (operand,) = equation.operands
    if not isinstance(operand, ir.Tap) or any(operand.offset):
        return ""
    return operand.source if np.array_equal(operand.channels, np.arange(variable.channels)) else ""
