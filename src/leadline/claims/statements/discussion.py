"""B8: the discussion, as a table: PixelCNN against MDRNN, WaveNet against RNN."""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import sympy
import torch
from torch.nn.functional import cross_entropy

from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, Quantity, exact, measured
from leadline.claims.counterexample import Counterexample
from leadline.claims.grids import H, T, W, grid_density, same_depth
from leadline.claims.settling import exhausted
from leadline.document import Table
from leadline.domains import generation
from leadline.recurrence.analysis.depth import Depth, generation_depth, training_depth
from leadline.recurrence.analysis.longest import drawing_edges, longest_paths
from leadline.recurrence.analysis.receptive_field import seen_from
from leadline.recurrence.analysis.window import live_windows
from leadline.recurrence.examples import NORTH_AND_WEST, convolutions, grid_recurrence, layered, masked
from leadline.recurrence.ir import Offset, System
from leadline.results import Estimate
from leadline.zoo import build
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig

SETTINGS = {
    "pixelcnn": {"channels": 32, "inner": 16, "layers": 5, "first_kernel": 5, "head": 32},
    "mdrnn": {"embedding": 16, "hidden": 21, "layers": 2, "head": 32},
}
"""Two density models of about equal parameter count for the same images."""


@dataclass(frozen=True)
class Discussion:
    """The offsets at which an MDRNN's cell reads its own layer, and the depth d that is compared."""

    taps: tuple[Offset, ...] = NORTH_AND_WEST
    layers: int = 3

    def networks(self) -> dict[str, System]:
        """Return the four of them; the images' as density models."""
        d = self.layers
        return {
            "PixelCNN": masked(d),
            "MDRNN": grid_density(self.taps, d),
            "WaveNet": convolutions([((0,), (2**layer,)) for layer in range(d)], "t"),
            "RNN": layered("t", (8,), [{(0,): False, (1,): True}] * d),
        }


def settle(of: Discussion, effort: Effort) -> Evidence:
    """Derive the table from the taps; measure what only a machine can tell."""
    d, networks = of.layers, of.networks()
    core = dict(networks) | {"MDRNN": grid_recurrence(d, taps=of.taps)}
    training = {name: training_depth(system) for name, system in core.items()}
    drawing = {name: generation_depth(system, int(len(system.axes) > 1)) for name, system in networks.items()}
    zero = 0 * H
    laws = {"PixelCNN": zero + d, "MDRNN": H + W + d - 2, "WaveNet": zero + d, "RNN": T + d - 1}
    steps = {"PixelCNN": d * (2 * (H - 1) + W), "MDRNN": d * (H + W - 1), "WaveNet": d * T}
    return Evidence(
        claimed=(
            same_depth(
                "convolutions train in d steps, recurrences in as many as the data is long", _cases(training, laws)
            ),
            same_depth(
                "PixelCNN is drawn in d(2(H-1)+W) steps, MDRNN in d(H+W-1), WaveNet in d T", _cases(drawing, steps)
            ),
            _same_order(
                "drawing takes PixelCNN and MDRNN steps of the same order",
                drawing["PixelCNN"].upper,
                drawing["MDRNN"].upper,
            ),
            _same_order("so does what they keep", _kept(networks["PixelCNN"]), _kept(networks["MDRNN"])),
            _blind(of),
        ),
        aside=(_fronts(of),),
        quantities=(*_throughput(effort), *_likelihoods(effort)),
        picture=_table(networks, training, drawing),
    )


def _cases(found: dict[str, Depth], claimed: dict[str, sympy.Expr]) -> list[tuple[str, Depth, sympy.Expr]]:
    return [(name, found[name], law) for name, law in claimed.items()]


def _kept(system: System) -> sympy.Expr:
    """Return how many vectors of the first layer are read again, in the order of generation."""
    return sympy.sympify(live_windows(system)["h1"])


def _same_order(statement: str, first: sympy.Expr, second: sympy.Expr) -> Outcome:
    """Compare two laws on large square images."""
    n = sympy.Symbol("n", positive=True)
    ratio = sympy.limit(first.subs({H: n, W: n}) / second.subs({H: n, W: n}), n, sympy.oo)
    holds = bool(0 < ratio < sympy.oo)
    case = None if holds else Counterexample(statement, {"PixelCNN": str(first), "MDRNN": str(second)})
    return Outcome(statement, holds, Grounds.SYMBOLIC, f"{first} against {second}: {ratio} times as many", case)


def _blind(of: Discussion) -> Outcome:
    """Ask a pixel of a small image, at a depth beyond which nothing changes."""
    statement = "neither sees all earlier pixels, at any depth"
    size, place = (7, 9), (5, 3)
    earlier = place[0] * size[1] + place[1]
    nets = {"PixelCNN": masked(sum(size)), "MDRNN": grid_density(of.taps, 2)}
    never = {name: earlier - int(seen_from(system, place, size)["x"].sum()) for name, system in nets.items()}
    holds = all(count > 0 for count in never.values())
    evidence = ", ".join(f"{name}: {count} of {earlier}" for name, count in never.items())
    case = None if holds else Counterexample(statement, dict(never))
    return Outcome(statement, holds, Grounds.EXHAUSTIVE, f"never seen from {place} of {size}: {evidence}", case)


def _fronts(of: Discussion) -> Outcome:
    """Count drawings that wait for one another: of the pixel itself, and of the next one in raster order."""
    density = grid_density(of.taps, of.layers)
    recurrence = GridRNN(GridRNNConfig(inputs=2, hidden=2, layers=2))

    def waiting(H: int, W: int, lag: int) -> int:
        if lag:
            return longest_paths(density, drawing_edges(density), (H, W), start=("x", (0, 0))).total + 1
        x = torch.zeros(1, H, W, 2)
        return int(generation(recurrence, x, layout="b h w c -> b h w v", lag=0).fronts.hi)

    return exhausted(
        "d(H+W-1) steps are H+W-1 fronts of d steps, if an MDRNN gives the distribution of the pixel itself (lag 1); "
        "if it gives that of the next pixel in raster order (lag 0), each pixel is a front, H W in all",
        ({"H": h, "W": w, "lag": lag} for h, w in ((2, 3), (4, 4)) for lag in (0, 1)),
        lambda H, W, lag: H + W - 1 if lag else H * W,
        waiting,
    )


def _table(networks: dict[str, System], training: dict[str, Depth], drawing: dict[str, Depth]) -> Table:
    names = tuple(networks)
    last = {name: tuple(n - 1 for n in (64,) * len(system.axes)) for name, system in networks.items()}
    seen = {
        name: int(seen_from(system, last[name], (64,) * len(system.axes))["x"].sum())
        for name, system in networks.items()
    }
    rows = (
        ("steps to train", *(str(training[name].upper) for name in names)),
        ("steps to generate", *(str(drawing[name].upper) for name in names)),
        ("positions seen, of 64 or 64 × 64", *(str(seen[name]) for name in names)),
        ("vectors kept, first layer", *(str(live_windows(networks[name])["h1"]) for name in names)),
    )
    return Table(("", *names), rows, "The discussion, from the taps")


def _throughput(effort: Effort) -> tuple[Quantity, ...]:
    """Time training steps of the two side by side, so that both meet the same machine."""
    models = {name: build(name, batch=16, **settings) for name, settings in SETTINGS.items()}
    repeats = effort.pick(5, 30)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repeats + 1):
        for name, specimen in models.items():
            start = time.perf_counter()
            logits = specimen.model(*specimen.inputs)
            loss = cross_entropy(logits.flatten(0, -2), specimen.inputs[0].flatten())
            torch.autograd.backward(loss)
            seconds[name].append(time.perf_counter() - start)
    figures = []
    for name, specimen in models.items():
        rates = len(specimen.inputs[0]) / np.array(seconds[name][1:])  # the first one warms up
        rate = Estimate.of(rates, effort.seed)
        figures += [
            exact(f"parameters, {name}", sum(weight.numel() for weight in specimen.model.parameters())),
            measured(f"8 × 8 images per second in training, {name}, {torch.get_num_threads()} threads", rate),
        ]
    return tuple(figures)


def _likelihoods(effort: Effort) -> tuple[Quantity, ...]:
    """Train both on handwritten digits for the same time; only at full size."""
    if not effort.full:
        return ()
    from leadline.data import load
    from leadline.training import TrainConfig, train

    digits, figures = load("digits"), []
    with TemporaryDirectory() as folder:
        for name, settings in SETTINGS.items():
            config = TrainConfig(minutes=2.0, lr=3e-3, seed=effort.seed)
            test = train(name, settings, digits, config, Path(folder) / name).test
            per_pixel = test.nats_per_example
            figures.append(measured(f"nats per test digit after 2 minutes, {name}", per_pixel))
    return tuple(figures)


CLAIM = Claim(
    id="B8",
    title="The discussion",
    statement="Convolutions train in steps that do not grow with the data, recurrences in steps that do; when drawing, "
    "PixelCNN and MDRNN need steps and memory of the same order, and both are blind to some earlier pixels.",
    paper="PixelCNN trains in parallel; MDRNN sees more and may forget; both generate one pixel at a time.",
    mathematics=Discussion(),
    settle=settle,
)
