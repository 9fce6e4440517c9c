"""B5: sequential steps of an MDRNN."""

from dataclasses import dataclass

import torch

from leadline.claims.claim import Claim, Effort, Evidence, Outcome, exact
from leadline.claims.grids import H, W, grid_density, same_depth
from leadline.claims.settling import exhausted
from leadline.document import FrontMap
from leadline.domains import span
from leadline.recurrence.analysis.depth import generation_depth, training_depth
from leadline.recurrence.analysis.longest import generation_edges, longest_paths, training_edges
from leadline.recurrence.analysis.schedule import training_schedule
from leadline.recurrence.examples import NORTH_AND_WEST, grid_recurrence
from leadline.recurrence.ir import Offset
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig


@dataclass(frozen=True)
class GridSteps:
    """The offsets at which a cell reads its own layer, and up to how many layers are tried."""

    taps: tuple[Offset, ...] = NORTH_AND_WEST
    layers: int = 4


def settle(of: GridSteps, effort: Effort) -> Evidence:
    """Derive the longest chain from the taps, for all sizes; compare with the paper's, the law and the real op."""
    depths = range(1, of.layers + 1)
    training = [(f"d = {d}", training_depth(grid_recurrence(d, taps=of.taps)), H + W + d - 2) for d in depths]
    generating = [(f"d = {d}", generation_depth(grid_density(of.taps, d)), d * (H + W - 1)) for d in depths]
    return Evidence(
        claimed=(_paper(of),),
        instead=(
            same_depth("training takes H + W - 1 + (d - 1) steps, the layers in a pipeline", training),
            same_depth("generation takes d (H + W - 1) steps", generating),
            _small(of, effort),
        ),
        compared=(_implemented(of),),
        quantities=tuple(
            exact(f"{name} steps, d = {d}, 28 × 28", int(depth.upper.subs({H: 28, W: 28})))
            for name, laws in (("training", training), ("generation", generating))
            for d, (_, depth, _) in enumerate(laws, start=1)
        ),
        picture=_picture(of),
    )


def longest_training(taps: tuple[Offset, ...], H: int, W: int, d: int) -> int:
    """Return the longest path on one grid, by relaxation over all cells."""
    system = grid_recurrence(d, taps=taps)
    return longest_paths(system, training_edges(system), (H, W)).total


def longest_generation(taps: tuple[Offset, ...], H: int, W: int, d: int) -> int:
    """Return the longest path on one grid when each pixel is drawn from its output."""
    system = grid_density(taps, d)
    return longest_paths(system, generation_edges(system), (H, W)).total


def _paper(of: GridSteps) -> Outcome:
    return exhausted(
        "training takes d H W steps, one cell after another",
        _cases(3, 2),
        lambda H, W, d: d * H * W,
        lambda H, W, d: longest_training(of.taps, H, W, d),
    )


def _cases(largest: int, layers: int) -> list[dict[str, int]]:
    sizes = range(1, largest + 1)
    return [{"H": h, "W": w, "d": d} for h in sizes for w in sizes for d in range(1, layers + 1)]


def _small(of: GridSteps, effort: Effort) -> Outcome:
    """Both laws on all small grids, thin ones included, by brute force."""
    cases = [case | {"drawn": drawn} for case in _cases(effort.pick(4, 7), 3) for drawn in (0, 1)]
    return exhausted(
        "both laws hold on every small grid, by brute force",
        cases,
        lambda H, W, d, drawn: d * (H + W - 1) if drawn else H + W + d - 2,
        lambda H, W, d, drawn: (longest_generation if drawn else longest_training)(of.taps, H, W, d),
    )


def _implemented(of: GridSteps) -> Outcome:
    """Compare the real op: what its arithmetic needs, and what its code does."""

    def found(H: int, W: int, d: int, code: int) -> int:
        spans = span(GridRNN(GridRNNConfig(inputs=2, hidden=2, layers=d)), torch.zeros(1, H, W, 2))
        return spans.op_steps if code else spans.steps

    cases = [{"H": h, "W": w, "d": d, "code": code} for h, w, d in ((3, 5, 1), (6, 4, 3)) for code in (0, 1)]
    return exhausted(
        "the zoo's op has this span, and its wavefront takes no more steps",
        cases,
        lambda H, W, d, **_: longest_training(of.taps, H, W, d),
        found,
    )


def _picture(of: GridSteps) -> FrontMap:
    """Draw the fronts of training on a small grid."""
    fronts = training_schedule(grid_recurrence(1, taps=of.taps), (6, 8)).fronts
    return FrontMap(fronts, "When the cells of one layer are computed: those of a front together")


CLAIM = Claim(
    id="B5",
    title="MDRNN: steps",
    statement="Training an MDRNN of d layers over an H × W image takes Θ(d H W) steps, one after another.",
    paper="Θ(d H W).",
    mathematics=GridSteps(),
    settle=settle,
)
