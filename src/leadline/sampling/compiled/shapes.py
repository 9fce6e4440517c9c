"""What a reduction over channels is to the interpreter: a fold of the middle of three axes, or a softmax there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.graph.table import Kind, Tally
from leadline.recurrence import ir
from leadline.sampling.compiled.instructions import Fold, Op


class Lacking(Exception):
    """The interpreter has no instruction for what the message names."""


@dataclass(frozen=True)
class Folding:
    """A fold: what is done to each number before, to the result after, by what it is multiplied; or all `so_far`."""

    kind: Fold
    before: Op = Op.COPY
    after: Op = Op.COPY
    factor: float = 1.0
    so_far: bool = False


_FOLDS = {
    Tally.SUM: Fold.SUM, Tally.MEAN: Fold.SUM, Tally.PRODUCT: Fold.PRODUCT, Tally.LARGEST: Fold.LARGEST,
    Tally.LEAST: Fold.LEAST,
}  # fmt: skip
_NORMS = {
    2.0: Folding(Fold.SUM, Op.SQUARE, Op.SQRT),
    1.0: Folding(Fold.SUM, Op.ABS),
    math.inf: Folding(Fold.LARGEST, Op.ABS),
    -math.inf: Folding(Fold.LEAST, Op.ABS),
}


def parted(equation: ir.Reduction) -> tuple[int, int, int]:
    """Read the shape as (outer, length, inner), the middle one being reduced."""
    shape, along = equation.shape, sorted(equation.along)
    if along != list(range(along[0], along[0] + len(along))):
        raise Lacking(f"{equation.function} of axes that lie apart")
    outer, inner = int(np.prod(shape[: along[0]])), int(np.prod(shape[along[-1] + 1 :]))
    return outer, int(np.prod([shape[d] for d in along])), inner


def folding(equation: ir.Reduction, length: int) -> Folding | None:
    """Return the fold that a reduction of so many numbers is; None for a softmax."""
    operation, literals = equation.operation, equation.literals
    if operation.kind is Kind.SOFTMAX:
        return None
    kind, so_far = _FOLDS.get(operation.tally), operation.kind is Kind.CUMULATIVE
    if operation.kind in (Kind.REDUCTION, Kind.CUMULATIVE) and kind is not None:
        return Folding(kind, factor=1 / length if operation.tally is Tally.MEAN else 1.0, so_far=so_far)
    if operation.norm is not None and (found := _NORMS.get(_number(literals.get(operation.norm, 2.0)))):
        return found
    if operation.spread is not None:
        freedom = length - _correction(literals)
        if freedom > 0:
            return Folding(Fold.SPREAD, after=Op.SQRT if operation.spread else Op.COPY, factor=1 / freedom)
    raise Lacking(equation.function)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _correction(literals: Any) -> float:
    """Return by what a variance's divisor is less than the number of samples."""
    if "unbiased" in literals:
        return float(literals["unbiased"])
    given = literals.get("correction")
    return 1.0 if given is None else float(given)
