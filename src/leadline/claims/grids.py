"""Causal networks on a grid as systems of recurrence equations, with taps that a test may change."""

from collections.abc import Iterable, Mapping

import sympy

from leadline.claims.claim import Grounds, Outcome
from leadline.claims.counterexample import Counterexample
from leadline.document import Curve
from leadline.recurrence.analysis.connections import connections, count_at
from leadline.recurrence.analysis.depth import Depth, symbol
from leadline.recurrence.examples import product
from leadline.recurrence.ir import Input, Offset, System, Variable
from leadline.results import Status

H, W, T = symbol("h"), symbol("w"), symbol("t")


def grid_density(taps: tuple[Offset, ...], layers: int) -> System:
    """Feed an MDRNN with earlier pixels only, those at `taps`, so that each pixel can be drawn from them."""
    flat = (0, 0)
    variables = [
        Variable("x", 1, Input(), flat),
        Variable("earlier", 1, product([("x", tap) for tap in taps], 1, cost=0), flat),
    ]
    for depth in range(1, layers + 1):
        reads = [(variables[-1].name, flat), *((f"h{depth}", tap) for tap in taps)]
        variables.append(Variable(f"h{depth}", 1, product(reads, 1), flat))
    return System(("h", "w"), (8, 8), tuple(variables), ("x",), variables[-1].name, (1,))


def same_depth(statement: str, cases: Iterable[tuple[str, Depth, sympy.Expr]]) -> Outcome:
    """Compare depths, each proved for all sizes by a potential and a family of paths, with what is claimed of them."""
    seen = []
    for label, depth, claimed in cases:
        if depth.status is not Status.PROVED or sympy.expand(depth.upper - claimed) != 0:
            return _differing(statement, label, depth.upper, claimed, str(depth))
        seen.append(f"{label}: {depth.upper}")
    argument = "a potential from above and a family of paths from below meet, for all sizes: " + "; ".join(seen)
    return Outcome(statement, True, Grounds.SYMBOLIC, argument)


def same_law(statement: str, cases: Iterable[tuple[str, sympy.Expr, sympy.Expr]]) -> Outcome:
    """Compare closed forms, derived from the taps, with what is claimed of them."""
    seen = []
    for label, found, claimed in cases:
        if sympy.expand(found - claimed) != 0:
            return _differing(statement, label, found, claimed, str(found))
        seen.append(f"{label}: {sympy.factor_terms(found)}")
    return Outcome(statement, True, Grounds.SYMBOLIC, "from the taps, for all sizes: " + "; ".join(seen))


def per_point(systems: Mapping[str, System], without_borders: str, limit: float) -> Curve:
    """Draw how many connections a point of a square grid has, at width 1, beside their number without borders."""
    sides = range(1, 29)
    series = []
    for name, system in systems.items():
        law = connections(system)
        series.append((name, tuple(count_at(law, system, {"h": n, "w": n}) / n**2 for n in sides)))
    series.append((without_borders, (limit,) * len(sides)))
    caption = "Connections of one layer for each point of a square: borders cut some"
    return Curve(tuple(map(float, sides)), tuple(series), "side of the square", "connections a point, k = 1", caption)


def _differing(statement: str, case: str, found: sympy.Expr, claimed: sympy.Expr, shown: str) -> Outcome:
    """Refute a statement by two laws that differ, with their values where all sizes are 8."""
    laws = {"claimed": claimed, "found": found}
    at_8 = {f"{name} at sizes 8": str(law.subs({H: 8, W: 8, T: 8})) for name, law in laws.items()}
    values = {"case": case} | {name: str(law) for name, law in laws.items()} | at_8
    evidence = f"for {case} it is {shown}, not {claimed}"
    return Outcome(statement, False, Grounds.SYMBOLIC, evidence, Counterexample(statement, values))
