"""B7: what must be kept, to generate and to train."""

from dataclasses import dataclass

import sympy
import torch

from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, exact
from leadline.claims.counterexample import Counterexample
from leadline.claims.grids import H, T, W, grid_density, same_law
from leadline.claims.settling import exhausted
from leadline.document import Curve
from leadline.domains import memory
from leadline.recurrence.analysis.schedule import training_schedule
from leadline.recurrence.analysis.window import live_windows, state
from leadline.recurrence.examples import NORTH_AND_WEST, convolutions, grid_recurrence, layered, mask
from leadline.recurrence.ir import Offset
from leadline.zoo import build
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig


@dataclass(frozen=True)
class LiveState:
    """The offsets at which an MDRNN's cell reads its own layer, and the radius of the PixelCNN beside it."""

    taps: tuple[Offset, ...] = NORTH_AND_WEST
    radius: int = 1


def settle(of: LiveState, effort: Effort) -> Evidence:
    """Derive from the taps which values are still read later; compare the two networks in the limit of wide images."""
    grid, pixel = live_windows(grid_density(of.taps, 1))["h1"], _pixel_window(of.radius)
    radii = [(f"radius {r}", _pixel_window(r), r * W + r) for r in (1, 2, 3)]
    return Evidence(
        claimed=(_discards(grid), _apart(of, grid, pixel)),
        instead=(
            same_law("in raster order a layer of an MDRNN keeps W vectors of k", [("MDRNN", grid, 1 * W)]),
            same_law("a cached PixelCNN of radius r keeps rW + r vectors a layer", radii),
            same_law("a WaveNet keeps 2^d - 1 vectors a stack, an RNN 1", _sequences()),
            _fronts(of, effort),
            _training(),
        ),
        quantities=(
            exact("bytes a layer, k = 64, W = 28, float32: MDRNN", 4 * 64 * int(grid.subs(W, 28))),
            exact(f"PixelCNN of radius {of.radius}", 4 * 64 * int(pixel.subs(W, 28))),
        ),
        picture=_picture(grid, pixel, of),
    )


def _pixel_window(radius: int) -> sympy.Expr:
    """Return how many vectors of a masked convolution that reads one of its kind are still read, in raster order."""
    return live_windows(convolutions([mask(radius, centre=False), mask(radius, centre=True)]))["h1"]


def _discards(grid: sympy.Expr) -> Outcome:
    statement = "generating, an MDRNN may discard old states: what it keeps does not grow with the height"
    holds = H not in grid.free_symbols
    case = None if holds else Counterexample(statement, {"kept": str(grid)})
    return Outcome(statement, holds, Grounds.SYMBOLIC, f"{grid} vectors a layer are still read later", case)


def _apart(of: LiveState, grid: sympy.Expr, pixel: sympy.Expr) -> Outcome:
    """Compare the orders of growth."""
    statement = "in this it is of another class than a PixelCNN with a cache"
    ratio = sympy.limit(sympy.limit(pixel / grid, H, sympy.oo), W, sympy.oo)
    holds = ratio in (sympy.oo, sympy.Integer(0))
    evidence = f"a PixelCNN of radius {of.radius} keeps {pixel} vectors, {ratio} times as many in wide images"
    case = (
        None if holds else Counterexample(statement, {"MDRNN": str(grid), "PixelCNN": str(pixel), "limit": str(ratio)})
    )
    return Outcome(statement, holds, Grounds.SYMBOLIC, evidence, case)


def _sequences() -> list[tuple[str, sympy.Expr, sympy.Expr]]:
    """Return the states of a stack of dilated convolutions and of a recurrence over time."""
    cases = []
    for d in range(1, 7):
        stack = convolutions([((0,), (2**layer,)) for layer in range(d)], "t")
        cases.append((f"WaveNet, d = {d}", state(stack), sympy.Integer(2**d - 1)))
    recurrence = layered("t", (8,), [{(0,): False, (1,): True}])
    return [*cases, ("RNN", live_windows(recurrence)["h1"] + 0 * T, sympy.Integer(1))]


def _fronts(of: LiveState, effort: Effort) -> Outcome:
    """By antidiagonals: the values of a front live until the next one has read them."""

    def kept(H: int, W: int) -> int:
        schedule = training_schedule(grid_recurrence(1, taps=of.taps), (H, W))
        return int(schedule.widths.max()) * schedule.lifetimes()["h1"]

    largest = effort.pick(6, 12)
    cases = ({"H": h, "W": w} for h in range(2, largest) for w in range(2, largest))
    return exhausted("by antidiagonals it keeps min(H, W) vectors", cases, lambda H, W: min(H, W), kept)


def _training() -> Outcome:
    """Measure what autograd saves while the image, the depth and the batch double."""
    statement = "to train, both keep Θ(B k d H W) numbers for back-propagation"
    base = {"batch": 2, "height": 12, "width": 12, "layers": 2}
    doublings = [base] + [base | {name: 2 * base[name]} for name in base]
    ratios: dict[str, float] = {}
    for name, saved in (("MDRNN", _saved_grid), ("PixelCNN", _saved_pixels)):
        first, *others = (saved(**sizes) for sizes in doublings)
        ratios |= {f"{name}, {axis} doubled": other / first for axis, other in zip(base, others, strict=True)}
    holds = all(1.5 < ratio < 2.5 for ratio in ratios.values())
    evidence = ", ".join(f"{name}: × {ratio:.2f}" for name, ratio in ratios.items())
    return Outcome(statement, holds, Grounds.MEASURED, evidence, None if holds else Counterexample(statement, ratios))


def _saved_grid(batch: int, height: int, width: int, layers: int) -> int:
    model = GridRNN(GridRNNConfig(inputs=8, hidden=8, layers=layers))
    return memory(model, torch.zeros(batch, height, width, 8)).saved


def _saved_pixels(batch: int, height: int, width: int, layers: int) -> int:
    stack = build("masked-stack", layers=layers, channels=8, height=height, width=width, batch=batch)
    return memory(stack.model, *stack.inputs).saved


def _picture(grid: sympy.Expr, pixel: sympy.Expr, of: LiveState) -> Curve:
    widths = tuple(range(4, 65, 4))
    series = (
        ("MDRNN, raster order", tuple(float(grid.subs(W, w)) for w in widths)),
        (f"PixelCNN, radius {of.radius}", tuple(float(pixel.subs(W, w)) for w in widths)),
        ("PixelCNN without a cache", tuple(float(w * w) for w in widths)),
    )
    return Curve(
        tuple(map(float, widths)), series, "side of a square image", "vectors a layer", "What generation keeps", True
    )


CLAIM = Claim(
    id="B7",
    title="Memory",
    statement="Generating, an MDRNN may discard old states, which sets it apart from a PixelCNN.",
    paper="MDRNN can discard old states.",
    mathematics=LiveState(),
    settle=settle,
)
