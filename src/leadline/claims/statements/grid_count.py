"""B4: connections of an MDRNN."""

from dataclasses import dataclass

import sympy
import torch

from leadline.claims.claim import Claim, Effort, Evidence, Outcome, exact
from leadline.claims.grids import H, W, per_point, same_law
from leadline.claims.settling import exhausted
from leadline.domains import count
from leadline.recurrence.analysis.connections import connections, count_at, in_region
from leadline.recurrence.examples import NORTH_AND_WEST, grid_recurrence
from leadline.recurrence.ir import Offset
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig


@dataclass(frozen=True)
class GridCount:
    """The offsets at which a cell reads its own layer."""

    taps: tuple[Offset, ...] = NORTH_AND_WEST


def settle(of: GridCount, effort: Effort) -> Evidence:
    """Count from the taps, for all sizes, and compare with the zoo's module."""
    cases = [
        (f"d = {d}, k = {k}", _connections(of, d, k), d * k**2 * (3 * H * W - H - W))
        for d in (1, 2, 3)
        for k in (1, 2, 3)
    ]
    statement = "d layers of an MDRNN have d k²(3HW - H - W) connections, initial states apart"
    layer, inner = grid_recurrence(1, taps=of.taps), _connections(of, 1, 1)
    share = sympy.limit(sympy.limit(inner / (H * W), H, sympy.oo), W, sympy.oo)
    return Evidence(
        claimed=(same_law(statement, cases),),
        compared=(_real(of, effort),),
        quantities=(
            exact("k = 1, d = 1, 28 × 28", int(inner.subs({H: 28, W: 28}))),
            exact("one layer", f"k²({inner})"),
            exact("a cell of a large grid has so many times k²", str(share)),
        ),
        picture=per_point({"MDRNN": layer}, "without borders", 3),
    )


def _connections(of: GridCount, layers: int, k: int) -> sympy.Expr:
    return in_region(connections(grid_recurrence(layers, k, taps=of.taps)))


def _real(of: GridCount, effort: Effort) -> Outcome:
    def derived(H: int, W: int, layers: int) -> int:
        system = grid_recurrence(layers, k=2, taps=of.taps)
        return count_at(connections(system), system, {"h": H, "w": W})

    def found(H: int, W: int, layers: int) -> int:
        model = GridRNN(GridRNNConfig(inputs=2, hidden=2, layers=layers))
        return count(model, torch.zeros(1, H, W, 2)).connections

    sizes = [(h, w) for h in range(1, 6) for w in range(1, 6)] if effort.full else [(1, 3), (4, 3)]
    cases = ({"H": h, "W": w, "layers": d} for h, w in sizes for d in (1, 2))
    return exhausted("the zoo's grid recurrence has as many, k = 2", cases, derived, found)


CLAIM = Claim(
    id="B4",
    title="MDRNN: connections",
    statement="Each cell of an MDRNN has 3 k² connections, less what the borders cut: d k²(3HW - H - W) in all, "
    "which is Θ(d k² H W).",
    paper="Θ(d k² H W).",
    mathematics=GridCount(),
    settle=settle,
)
