"""Exact formulas for numbers that depend on sizes: polynomials, with powers of two where polynomials do not fit."""

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

import sympy

from leadline.errors import NotUniform

Sizes = Mapping[str, int]
Value = sympy.Expr | int


def size(name: str) -> sympy.Symbol:
    """Return the symbol of a size."""
    return sympy.Symbol(name, integer=True, positive=True)


def fit(points: Sequence[Sizes], values: Sequence[Value]) -> sympy.Expr:
    """Return the shortest combination of products of powers that gives `values` exactly at all points.

    The points are a full grid of sizes, all by the same names; the values may hold other symbols. A formula has at most
    as many terms in a size as the size has values: compare it at a fresh point. Raises `NotUniform` if no combination
    does.

    Examples
    --------
    >>> fit([{"d": n} for n in range(1, 6)], [2**n - n for n in range(1, 6)])
    2**d - d
    """
    names = tuple(points[0])
    counts = {name: len({point[name] for point in points}) for name in names}
    choices = [[basis for basis in _bases(size(name)) if len(basis) <= counts[name]] for name in names]
    for bases in sorted(product(*choices), key=lambda bases: prod(map(len, bases))):
        found = _solved([sympy.Mul(*term) for term in product(*bases)], points, values)
        if found is not None:
            return found
    raise NotUniform(
        "no formula of powers up to the cube and powers of two fits the exact counts; give more values of each size"
    )


def _bases(n: sympy.Symbol) -> list[list[sympy.Expr]]:
    """Return what a formula may be made of in one size, simple ones first."""
    one, power = sympy.Integer(1), sympy.Integer(2) ** n
    return [[one], [one, n], [one, n, n**2], [one, n, power], [one, n, n**2, power], [one, n, n**2, n**3]]


def _solved(
    terms: Sequence[sympy.Expr], points: Sequence[Sizes], values: Sequence[sympy.Expr | int]
) -> sympy.Expr | None:
    """Solve for the coefficients over the rationals; None unless all points are met and the terms are independent."""
    rows = [[term.subs({size(name): n for name, n in point.items()}) for term in terms] for point in points]
    matrix, wanted = sympy.Matrix(rows), sympy.Matrix(list(values))
    if matrix.rank() < len(terms):
        return None
    coefficients = (matrix.T * matrix).LUsolve(matrix.T * wanted)
    if any(sympy.expand(rest) != 0 for rest in matrix * coefficients - wanted):
        return None
    return sympy.expand(sympy.Add(*(c * term for c, term in zip(coefficients, terms, strict=True))))
