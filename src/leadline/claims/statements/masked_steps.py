"""B3: sequential steps of a PixelCNN."""

from dataclasses import dataclass

from leadline.claims.claim import Claim, Effort, Evidence, Outcome, exact
from leadline.claims.grids import H, W, same_depth
from leadline.claims.settling import exhausted
from leadline.document import FrontMap
from leadline.domains import generation, span
from leadline.recurrence._system import system
from leadline.recurrence.analysis.depth import generation_depth, training_depth
from leadline.recurrence.analysis.longest import drawing_edges, longest_paths
from leadline.recurrence.analysis.schedule import generation_schedule
from leadline.recurrence.examples import masked
from leadline.recurrence.ir import System
from leadline.zoo import build


@dataclass(frozen=True)
class MaskedSteps:
    """Masked convolutions, up to `layers` of them, dilated by `dilation`; a Gated PixelCNN of `gated` layers."""

    dilation: int = 1
    layers: int = 3
    gated: int = 16


def settle(of: MaskedSteps, effort: Effort) -> Evidence:
    """Derive both depths from the taps for all sizes, and count fronts on all small grids by brute force."""
    depths = range(1, of.layers + 1)
    training = [(f"d = {d}", training_depth(_stack(of, d)), 0 * H + d) for d in depths]
    generating = [(f"d = {d}", generation_depth(_stack(of, d)), d * (2 * (H - 1) + W)) for d in depths]
    return Evidence(
        claimed=(
            same_depth("training takes d steps", training),
            same_depth(
                "a plain 3 × 3 network of any depth draws an image in 2(H - 1) + W fronts of d steps", generating
            ),
            _fronts(of, effort),
            *_table(of),
            _gated(of, effort),
        ),
        compared=(_real(),),
        quantities=(exact("fronts in raster order, 28 × 28", 28 * 28),),
        picture=_picture(of),
    )


def fronts(of: System, sizes: tuple[int, int]) -> int:
    """Count the drawings on the longest chain from the first pixel, by relaxation over all: everything else is free."""
    return longest_paths(of, drawing_edges(of), sizes, start=("x", (0, 0))).total + 1


def _stack(of: MaskedSteps, layers: int, first: int = 1) -> System:
    return masked(layers, radius=first, dilation=of.dilation)


def _fronts(of: MaskedSteps, effort: Effort) -> Outcome:
    """Try every small grid, for a first layer of radius 1, 2 and 3."""
    largest = effort.pick(5, 8)
    stacks = {D: _stack(of, 2, first=D) for D in (1, 2, 3)}
    return exhausted(
        "reaching D columns to the right in the row above, pixels fall into min(D+1, W)(H - 1) + W fronts",
        ({"D": D, "H": h, "W": w} for D in stacks for h in range(1, largest) for w in range(1, largest + 2)),
        lambda D, H, W: min(D + 1, W) * (H - 1) + W,
        lambda D, H, W: fronts(stacks[D], (H, W)),
    )


def _table(of: MaskedSteps) -> tuple[Outcome, ...]:
    """Count the fronts of the wavefront at the size of MNIST."""
    return tuple(
        exhausted(
            f"over 28 × 28 pixels a first layer of {2 * D + 1} × {2 * D + 1} makes {(D + 1) * 27 + 28} fronts",
            ({"D": D, "H": 28, "W": 28},),
            lambda D, H, W: min(D + 1, W) * (H - 1) + W,
            lambda D, H, W: generation_schedule(_stack(of, 3, first=D), sizes=(H, W)).length,
        )
        for D in (1, 3)
    )


def _real() -> Outcome:
    """Ask the graph level about the zoo's modules."""

    def found(H: int, W: int, d: int, drawn: int) -> int:
        stack = build("masked-stack", layers=d, channels=1, height=H, width=W, batch=1)
        if not drawn:
            return span(stack.model, *stack.inputs).steps
        return int(generation(stack.model, *stack.inputs, layout=stack.layout, lag=1).fronts.hi)

    cases = [{"H": 4, "W": 6, "d": d, "drawn": drawn} for d in (1, 3) for drawn in (0, 1)]
    return exhausted(
        "the zoo's masked stack trains in d steps and is drawn in as many fronts",
        cases,
        lambda H, W, d, drawn: 2 * (H - 1) + W if drawn else d,
        found,
    )


def _gated(of: MaskedSteps, effort: Effort) -> Outcome:
    """Read the zoo's Gated PixelCNN as equations: its D is the sum of the radii of its vertical layers."""

    def found(layers: int) -> int:
        net = build("gated-pixelcnn", layers=layers, channels=1, classes=2, head=1, height=28, width=28, batch=1)
        return generation_schedule(system(net.model, *net.inputs, layout=net.layout)).length

    depths = range(1, of.gated + 1) if effort.full else (of.gated,)
    return exhausted(
        "a gated PixelCNN of d layers, the first 7 × 7, makes (d + 3) · 27 + 28 fronts of 28 × 28",
        ({"layers": layers} for layers in depths),
        lambda layers: (layers + 3) * 27 + 28,
        found,
    )


def _picture(of: MaskedSteps) -> FrontMap:
    fronts = generation_schedule(_stack(of, 3), sizes=(6, 8)).fronts
    return FrontMap(fronts, "When pixels can be drawn: those of a front at once")


CLAIM = Claim(
    id="B3",
    title="PixelCNN: steps",
    statement="A PixelCNN of d layers trains in d steps and is drawn in min(D+1, W)(H - 1) + W fronts, where D is "
    "its reach to the right in the row above.",
    paper=None,
    mathematics=MaskedSteps(),
    settle=settle,
)
