"""A7: where batch normalisation belongs in a residual network."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, computed, measured
from leadline.claims.counterexample import Counterexample
from leadline.document import Curve
from leadline.errors import SEEDS
from leadline.jacobian.laws.growth import GrowthLaw, fit_law
from leadline.jacobian.theory.mean_field import batchnorm_growth, residual_growth
from leadline.results import Estimate
from leadline.zoo.batchnorm import BatchNormConfig, BatchNormNet, Placement


@dataclass(frozen=True)
class PlacedNorms:
    """Networks of `layers` layers, and the placement that should keep gradients smaller than its rival."""

    preferred: Placement = "after"
    rival: Placement = "branch"
    layers: int = 80
    width: int = 256
    batch: int = 128


def settle(of: PlacedNorms, effort: Effort) -> Evidence:
    """Back-propagate random cotangents through fresh networks, and compare the growth with its laws."""
    seeds = effort.pick(3, 20)
    places: tuple[Placement, ...] = ("branch", "after", "plain")
    logs = {place: _log_norms(of, place, seeds, effort) for place in dict.fromkeys((*places, of.preferred, of.rival))}
    laws = {place: _law(logs[place]) for place in places}
    norms = {place: Estimate.of(np.exp(logs[place][:, 0]), effort.seed) for place in logs}
    return Evidence(
        claimed=(_better(of, logs, effort),),
        instead=(
            _power(of, laws["branch"], norms["branch"]),
            _exponential("after", residual_growth(torch.relu, "sum", 1), laws["after"]),
            _exponential("plain", batchnorm_growth(torch.relu), laws["plain"]),
        ),
        quantities=(
            *(measured(f"gradient norm at the input, {_NAMES[place]}", norm) for place, norm in norms.items()),
            computed("the same by theory, x + BN(f(x))", _theory(of.layers)),
            *(computed(f"fitted {law.kind} law, {_NAMES[place]}", law.parameter) for place, law in laws.items()),
        ),
        picture=_picture(of, logs),
    )


_NAMES: dict[Placement, str] = {
    "plain": "BN(f(x))",
    "branch": "x + BN(f(x))",
    "before": "x + f(BN(x))",
    "after": "BN(x + f(x))",
}


def _seed(effort: Effort, network: int) -> int:
    """Return the seed of one of the networks: no two efforts share any."""
    return (effort.seed * 1_000_003 + network) % SEEDS


def _log_norms(of: PlacedNorms, place: Placement, seeds: int, effort: Effort) -> NDArray[np.float64]:
    """Return ln ‖gradient‖ at every layer's input and at the output, for each seed, 0 at the output."""
    rows = []
    for seed in range(seeds):
        torch.manual_seed(_seed(effort, seed))
        model = BatchNormNet(BatchNormConfig(of.layers, of.width, place))
        states: list[Tensor] = [torch.randn(of.batch, of.width, requires_grad=True)]
        for layer in model.layers:
            states.append(layer(states[-1]))
        gradients = torch.autograd.grad(states[-1], states, torch.randn_like(states[-1]))
        norms = np.log([float(g.norm()) for g in gradients])
        rows.append(norms - norms[-1])
    return np.array(rows)


def _law(logs: NDArray[np.float64]) -> GrowthLaw:
    """Fit the law of the growth through the layers, leaving out the first and the last tenth."""
    increments = -np.diff(logs.mean(axis=0))
    skip = len(increments) // 10
    return fit_law(increments[skip : len(increments) - skip], first=skip + 1)


def _better(of: PlacedNorms, logs: dict[Placement, NDArray[np.float64]], effort: Effort) -> Outcome:
    """Compare the two placements' norms at the input, network by network."""
    statement = f"{_NAMES[of.preferred]} lets gradients grow less than {_NAMES[of.rival]}"
    gap = Estimate.of(logs[of.preferred][:, 0] - logs[of.rival][:, 0])
    low, high = gap.interval()
    holds = high < 0
    evidence = (
        f"over {of.layers} layers it is {math.exp(gap.value):.3g} × the rival's, 95 % in "
        f"[{math.exp(low):.3g}, {math.exp(high):.3g}], {gap.n} networks each"
    )
    norms = {f"gradient norm, {_NAMES[p]}": float(np.exp(logs[p][0, 0])) for p in (of.preferred, of.rival)}
    sizes = {"width": of.width, "batch": of.batch, "layers": of.layers, "seed of both networks": _seed(effort, 0)}
    case = None if holds else Counterexample(statement, {**norms, **sizes})
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def _theory(layers: int) -> float:
    """Return the gradient norm at the input of x + BN(f(x)), for infinite width and batch."""
    return math.sqrt(residual_growth(torch.relu, "branch", layers))


def _power(of: PlacedNorms, law: GrowthLaw, norm: Estimate) -> Outcome:
    theory, exponent = _theory(of.layers), batchnorm_growth(torch.relu) / 2
    statement = f"through x + BN(f(x)) gradients grow as a power of depth, about D^{exponent:.3f}"
    near = abs(law.parameter - exponent) < 0.1 and abs(norm.value / theory - 1) < 0.1 + 4 * norm.sem / theory
    holds = law.kind == "power" and near
    evidence = f"the law with the best criterion is {law}; norm {norm}, by theory {theory:.4g}"
    case = (
        None if holds else Counterexample(statement, {"law": law.kind, "exponent": law.parameter, "norm": norm.value})
    )
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def _exponential(place: Placement, factor: float, law: GrowthLaw) -> Outcome:
    """Compare the rate with the limit of infinite width and batch, which finite ones miss by a few per cent."""
    statement = f"through {_NAMES[place]} squared gradients grow by {factor:.4g} a layer"
    found = math.exp(2 * law.parameter)
    holds = law.kind == "exponential" and abs(found / factor - 1) < 0.03
    case = None if holds else Counterexample(statement, {"law": law.kind, "factor": found})
    return Outcome(statement, holds, Grounds.MEASURED, f"the best law is {law.kind}, factor {found:.4f}", case)


def _picture(of: PlacedNorms, logs: dict[Placement, NDArray[np.float64]]) -> Curve:
    depth = tuple(float(d) for d in range(of.layers + 1))
    series = tuple((_NAMES[p], tuple(np.exp(rows.mean(axis=0))[::-1].tolist())) for p, rows in logs.items())
    return Curve(depth, series, "layers back", "gradient norm", "Growth of gradients by placement of BN", log_y=True)


CLAIM = Claim(
    id="A7",
    title="Where batch normalisation belongs",
    statement="In a residual network of layers f(x) = W relu(x), normalising after the addition treats gradients "
    "better than normalising the branch.",
    paper="Unsure; picks BN(x + f(x)).",
    mathematics=PlacedNorms(),
    settle=settle,
)
