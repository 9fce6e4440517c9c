"""Whether stated intervals hold the truth: every kind of interval over many random models whose truth is known.

Each row counts how often the interval, or the stated error, of one kind of number holds the true value. Where 95 % are
stated, 93 to 97 % should be found: where it is more, the interval is wider than it need be. Errors that are upper
bounds hold more often, as those of few stages, which allow for a correlation that few stages do not show.

Run as ``python benchmarks/intervals_that_cover.py [MODELS]`` (1,000 by default); it goes on where an earlier run
stopped, and writes ``docs/coverage.md`` and ``benchmarks/results/coverage.json``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tables import RESULTS, markdown
from torch import Tensor, nn

from leadline import gradient, spectrum
from leadline.jacobian import Stage
from leadline.jacobian._lyapunov import averaged
from leadline.jacobian.density import density
from leadline.jacobian.laws.growth import fit_law, trimmed
from leadline.jacobian.laws.series import mean_of_series
from leadline.jacobian.operators import Dense
from leadline.results import Estimate

PAGE = Path(__file__).parents[1] / "docs" / "coverage.md"
RECORD = RESULTS / "coverage.json"
EVERY = 50
"""After so many models the counts are written down."""
ROUNDING = 1e-15
"""The error of one stage's or step's growth. What is drawn is given to the statistics at once: networks and recurrences
that grow so give the same numbers, which `tests/jacobian/test_coverage.py` shows, and cost a hundred times as much."""


@dataclass(frozen=True)
class Kind:
    """One kind of number: what is stated of it, and whether that holds of the model of a seed (None: nothing is)."""

    name: str
    stated: str
    holds: Callable[[int], bool | None]


def inside(found: Estimate, truth: float) -> bool:
    """Tell whether the 95 % interval of an estimate holds the truth."""
    low, high = found.interval()
    return low <= truth <= high


def network(seed: int) -> tuple[nn.Sequential, Tensor]:
    """Return a random network of some width, depth and activation, with an input."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    width, depth = int(rng.integers(9, 65)), int(rng.integers(2, 8))
    activation = (nn.Tanh, nn.ReLU, nn.Identity)[seed % 3]
    blocks = [nn.Sequential(nn.Linear(width, width), activation()) for _ in range(depth)]
    return nn.Sequential(*blocks).double(), torch.randn(1, width, dtype=torch.float64)


@cache
def measured(seed: int) -> tuple[tuple[Stage, ...], list[float], list[float]]:
    """Measure a random network; with the norms of the dense products from each block on, and up to each block."""
    model, x = network(seed)
    stages = gradient(model, x, seed=seed).stages
    ahead = torch.eye(x.numel(), dtype=torch.float64)
    factors, up_to = list[Tensor](), list[float]()
    for block in model:
        # torch leaves it untyped
        dense: Tensor = torch.autograd.functional.jacobian(block, x).reshape(x.numel(), x.numel())  # type: ignore[no-untyped-call]  # torch leaves it untyped
        factors.append(dense)
        ahead = dense @ ahead
        up_to.append(float(torch.linalg.matrix_norm(ahead)))
        x = block(x).detach()
    back, from_on = torch.eye(x.numel(), dtype=torch.float64), list[float]()
    for dense in reversed(factors):
        back = back @ dense
        from_on.append(float(torch.linalg.matrix_norm(back)))
    return stages, from_on[::-1], up_to


def backward_gain(seed: int) -> bool:
    """Compare the gain of one stage with that of the dense product from its beginning and its end."""
    stages, from_on, _ = measured(seed)
    stage = seed % (len(from_on) - 1)
    return inside(stages[stage].backward, from_on[stage] / from_on[stage + 1])


def forward_gain(seed: int) -> bool | None:
    """Compare the gain of one stage with that of the dense product up to its end and its beginning.

    The last stage is a linear layer alone, what follows it being the model's end: it is no block of the product.
    """
    stages, _, up_to = measured(seed)
    stage = seed % (len(up_to) - 1)
    ahead = stages[stage].forward if stage < len(stages) else None
    before = up_to[stage - 1] if stage else math.sqrt(network(seed)[1].numel())
    return None if ahead is None else inside(ahead, up_to[stage] / before)


def gradient_norm(seed: int) -> bool:
    """Compare the norm of the gradient at the input with the dense Jacobian's."""
    stages, from_on, _ = measured(seed)
    return inside(stages[0].gradient, from_on[0])


def correlated(rng: np.random.Generator, n: int, rho: float) -> NDArray[np.float64]:
    """Return a stationary autoregressive series of variance 1."""
    noise = rng.standard_normal(n)
    series = noise.copy()
    for i in range(1, n):
        series[i] = rho * series[i - 1] + math.sqrt(1 - rho**2) * noise[i]
    return series


def growth_of(seed: int, stages: int, rho: float) -> tuple[NDArray[np.float64], float]:
    """Draw the growth through stages, and return it with its mean."""
    rng = np.random.default_rng(seed)
    mean, spread = rng.normal(0, 0.2), rng.uniform(0.05, 0.5)
    return mean + spread * correlated(rng, stages, rho), mean


def rate(stages: int, rho: float) -> Callable[[int], bool]:
    """Compare the rate of a chain with the mean that its stages were drawn with."""

    def holds(seed: int) -> bool:
        growth, mean = growth_of(seed, stages, rho)
        return inside(mean_of_series(growth[trimmed(stages)], resolution=ROUNDING), mean)

    return holds


def law(kind: str, stages: int) -> Callable[[int], bool | None]:
    """Compare the interval of the law, where it is the one named, with the rate that stages were drawn with."""

    def holds(seed: int) -> bool | None:
        rng = np.random.default_rng(seed)
        mean = rng.choice([0.0, 1.0]) * rng.normal(0, 3) / math.sqrt(stages)  # half of them do not grow
        inner = trimmed(stages)
        growth = 0.3 * (mean + correlated(rng, stages, 0.0))
        found = fit_law(growth[inner], first=inner.start + 1, resolution=ROUNDING)
        low, high = found.interval
        return bool(low <= 0.3 * mean <= high) if found.kind == kind else None

    return holds


def exponent(rho: float, steps: int) -> Callable[[int], bool]:
    """Compare the exponent of a scalar recurrence with the mean that its gains were drawn with."""

    def holds(seed: int) -> bool:
        gains = torch.from_numpy(0.3 * correlated(np.random.default_rng(seed), steps, rho))
        return inside(averaged(gains[:, None], None, seed, ROUNDING).largest, 0.0)

    return holds


def logistic(seed: int, steps: int = 200) -> Tensor:
    """Return the logs of how far the logistic map stretches along one of its trajectories."""
    x, stretches = float(torch.rand(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)), []
    for _ in range(steps):
        stretches.append(math.log(abs(4 - 8 * x)))
        x = 4 * x * (1 - x)
    return torch.tensor(stretches, dtype=torch.float64)


def chaos(seed: int) -> bool:
    """Compare the exponent of the logistic map with ln 2."""
    return inside(averaged(logistic(seed)[:, None], None, seed, ROUNDING).largest, math.log(2))


def operator(seed: int, n: int = 300) -> Tensor:
    """Return a random matrix: a Gaussian product, or one with given singular values, half of them zero or not."""
    generator = torch.Generator().manual_seed(seed)
    A, B = (torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5 for _ in range(2))
    if seed % 3 == 0:
        return A
    if seed % 3 == 1:
        return A @ B
    values = torch.rand(n, generator=generator, dtype=torch.float64) * (torch.arange(n) % 2 + seed % 2).clamp(max=1)
    return torch.linalg.qr(A)[0] @ torch.diag(values) @ torch.linalg.qr(B)[0]


def fraction_below(seed: int) -> bool:
    """Compare the fraction of singular values beneath a random one with the count."""
    A = operator(seed)
    values = torch.linalg.svdvals(A)
    value = float(values[int(torch.randint(len(values), (), generator=torch.Generator().manual_seed(seed)))]) + 1e-3
    found = density(Dense(A), probes=8, generator=torch.Generator().manual_seed(seed), seed=seed).below(value)
    return inside(found, float((values <= value).double().mean()))


def whole_norm(seed: int) -> bool:
    """Compare the Frobenius norm from the start of an iteration with the dense one."""
    A = operator(seed)
    return inside(spectrum(Dense(A), k=2, seed=seed).frobenius, float(torch.linalg.matrix_norm(A)))


def value_of_chain(seed: int) -> bool:
    """Compare the largest singular values of an ill-conditioned chain in float32 with those of its exact product."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    n, decades = int(rng.integers(2, 40)), float(rng.uniform(0, 5))
    turns = [torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for _ in range(2)]
    A = turns[0] @ torch.diag(torch.logspace(0, -decades, n, dtype=torch.float64)) @ turns[1]
    scale = 10.0 ** rng.uniform(-15, 15)
    factors = [(scale * A).float(), torch.linalg.inv(A).float()]
    layers = [nn.Linear(n, n, bias=False) for _ in factors]
    for layer, factor in zip(layers, factors, strict=True):
        layer.weight.data = factor
    found = spectrum(nn.Sequential(*layers), torch.randn(1, n), k=3, seed=seed)
    truth = torch.linalg.svdvals(factors[1].double() @ factors[0].double())
    nearest = (found.values.double()[:, None] - truth[None, :]).abs().min(dim=1).values
    return bool((nearest <= found.errors.double()).all())


def small_sample(seed: int) -> bool:
    """Compare the mean of five normal numbers with the truth."""
    return inside(Estimate.of(np.random.default_rng(seed).standard_normal(5)), 0.0)


INTERVAL, BOUND = "95 %", "at least 95 %"
KINDS = (
    Kind("`Stage.backward`, 8 probes", INTERVAL, backward_gain),
    Kind("`Stage.forward`, 8 probes", INTERVAL, forward_gain),
    Kind("`Stage.gradient`, 8 probes", INTERVAL, gradient_norm),
    Kind("`rate` of 3 stages", BOUND, rate(3, 0.0)),
    Kind("`rate` of 3 stages, correlation 0.9", INTERVAL, rate(3, 0.9)),
    Kind("`rate` of 5 stages, correlation 0.9", INTERVAL, rate(5, 0.9)),
    Kind("`rate` of 8 stages", BOUND, rate(8, 0.0)),
    Kind("`rate` of 8 stages, correlation 0.9", INTERVAL, rate(8, 0.9)),
    Kind("`rate` of 16 stages, correlation 0.9", INTERVAL, rate(16, 0.9)),
    Kind("`rate` of 40 stages", INTERVAL, rate(40, 0.0)),
    Kind("`rate` of 40 stages, correlation 0.5", INTERVAL, rate(40, 0.5)),
    Kind("`rate` of 80 stages, correlation 0.9", INTERVAL, rate(80, 0.9)),
    Kind("interval of the law, where `exponential` was chosen, 24 stages", INTERVAL, law("exponential", 24)),
    Kind("interval of the law, where `stable` was chosen, 24 stages", BOUND, law("stable", 24)),
    Kind("`lyapunov`, independent steps, 100", INTERVAL, exponent(0.0, 100)),
    Kind("`lyapunov`, steps of correlation 0.9, 100", INTERVAL, exponent(0.9, 100)),
    Kind("`lyapunov`, the logistic map, 200 steps", BOUND, chaos),
    Kind("`density.below`, 8 probes", BOUND, fraction_below),
    Kind("`frobenius` from the start of an iteration", BOUND, whole_norm),
    Kind("singular values of float32 chains, their errors", "always", value_of_chain),
    Kind("`Estimate.of` five normal numbers", INTERVAL, small_sample),
)


def counted(kind: Kind, models: int, record: dict[str, dict[str, int]]) -> Iterator[None]:
    """Go on counting one kind in a record, up to so many models, yielding now and then."""
    counts = record.setdefault(kind.name, {"seeds": 0, "stated": 0, "held": 0})
    while counts["stated"] < models and counts["seeds"] < 20 * models:  # of rare laws there may be too few
        holds = kind.holds(counts["seeds"])
        counts["seeds"] += 1
        counts["stated"] += holds is not None
        counts["held"] += bool(holds)
        if counts["seeds"] % EVERY == 0:
            yield
    yield


def page(record: dict[str, dict[str, int]]) -> str:
    """Return the docs' page."""
    rows = [
        {
            "what": kind.name,
            "stated": kind.stated,
            "held": f"{record[kind.name]['held'] / record[kind.name]['stated']:.1%}",
            "models": record[kind.name]["stated"],
        }
        for kind in KINDS
        if record.get(kind.name, {}).get("stated")
    ]
    intro = str(__doc__).partition(" Run as")[0].split("\n\n")[1]
    table = markdown(rows, ("what", "stated", "held", "models"))
    return "\n".join(
        [
            "# Coverage",
            "",
            intro,
            "",
            table,
            "`make coverage` writes this page (`benchmarks/intervals_that_cover.py`).\n",
        ]
    )


def main(models: int = 1000) -> None:
    """Count all kinds, writing the record now and then and the page at the end of each."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    for kind in KINDS:
        for _ in counted(kind, models, record):
            RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(kind.name, record[kind.name], flush=True)
        PAGE.write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
