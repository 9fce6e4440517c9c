"""Claims A1 to A8: other mathematics, another verdict; and every counterexample checked by other means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leadline.claims import CLAIMS, Counterexample, Finding, Verdict
from leadline.claims.claim import Effort
from leadline.claims.statements.gates import carried, closed_forms, no_floor, step_bounds
from leadline.claims.statements.known_numbers import KnownNumbers
from leadline.claims.statements.matrix_rnn import MatrixRNN, jacobian
from leadline.claims.statements.normalisation import Normalisation
from leadline.claims.statements.placement import PlacedNorms
from leadline.claims.statements.residual import (
    ResidualSpectrum,
    paper_bound,
    singular_residual,
    smallest_of_random,
    weyl_bound,
)
from leadline.claims.statements.residual_depth import ResidualDepth
from leadline.claims.statements.sigmoid_chain import SigmoidChain
from leadline.claims.statements.tanh_chain import TanhChain


def case_of(finding: Finding, folder: Path) -> Counterexample:
    """The finding's counterexample, by way of a file."""
    assert finding.counterexample is not None
    finding.counterexample.save(folder / "case.json")
    return Counterexample.load(folder / "case.json")


@pytest.mark.parametrize(
    ("claim", "mathematics", "verdict"),
    [
        ("A1", SigmoidChain(layers=6), Verdict.PROVED),
        ("A1", SigmoidChain(weight=-0.5, layers=6), Verdict.PROVED),
        ("A1", SigmoidChain(weight=5.0, layers=6), Verdict.CORRECTED),
        ("A2", TanhChain(layers=5), Verdict.PROVED),
        ("A2", TanhChain(weight=1.5, layers=5), Verdict.CORRECTED),
        ("A3", MatrixRNN(units=3, steps=4), Verdict.PROVED),
        ("A3", MatrixRNN(norm=2.0, units=3, steps=4), Verdict.CORRECTED),
        ("A5", ResidualDepth(layers=4), Verdict.CORRECTED),
        ("A5", ResidualDepth(by_depth=True, layers=4), Verdict.PROVED),
        ("A6", Normalisation(), Verdict.PROVED),
        ("A6", Normalisation(centred=False), Verdict.REFUTED),
        ("A6", Normalisation(biased=False), Verdict.REFUTED),
    ],
)
def test_the_verdict_turns_with_the_mathematics(claim: str, mathematics: Any, verdict: Verdict) -> None:
    finding = CLAIMS[claim].run(mathematics)
    assert finding.verdict is verdict
    assert (finding.counterexample is None) == (verdict in (Verdict.PROVED, Verdict.MEASURED))


def test_a_weight_of_five_explodes_by_the_product_rule(tmp_path: Path) -> None:
    case = case_of(CLAIMS["A1"].run(SigmoidChain(weight=5.0, layers=6)), tmp_path)
    value, slope = float(case.arrays["x"]), 1.0
    for bias in case.arrays["biases"]:
        value = 1 / (1 + np.exp(-(5 * value + bias)))
        slope *= 5 * value * (1 - value)
    assert slope == pytest.approx(case.values["gradient"], rel=1e-9)
    assert 4**-6 < slope <= (5 / 4) ** 6


def test_a_matrix_of_norm_two_grows_by_automatic_differentiation(tmp_path: Path) -> None:
    case = case_of(CLAIMS["A3"].run(MatrixRNN(norm=2.0, units=3, steps=4)), tmp_path)
    W = torch.from_numpy(case.arrays["W"])
    W = 2 * W / torch.linalg.matrix_norm(W, 2)

    def run(x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = torch.tanh(W @ x)
        return x

    x = torch.from_numpy(case.arrays["x"])
    J = torch.autograd.functional.jacobian(run, x)
    assert torch.allclose(J, jacobian(W, x, 3), atol=1e-12)
    assert 2**-3 < np.linalg.svd(J.numpy(), compute_uv=False)[0] <= 2**3


def test_the_residual_bound_fails_unless_all_singular_values_exceed_one() -> None:
    small = paper_bound(ResidualSpectrum(size=2), Effort())
    assert small.counterexample is not None
    assert small.counterexample.values["σ_i(I+A)"] < small.counterexample.values["claimed"]
    assert paper_bound(ResidualSpectrum(smallest=1.0, size=2), Effort()).holds
    assert weyl_bound(ResidualSpectrum(size=3), Effort(seed=1)).holds
    assert singular_residual().holds


def test_random_branches_have_the_published_medians() -> None:
    assert smallest_of_random(ResidualSpectrum(), 8, 201, Effort()).value == pytest.approx(0.15, abs=0.04)


def test_gated_steps_have_their_closed_forms_and_bounds_but_no_floor() -> None:
    for outcome in (closed_forms(Effort(seed=2)), step_bounds(Effort(seed=2)), carried(Effort(seed=2))):
        assert outcome.holds, outcome
    assert not no_floor("GRU", Effort()).holds


def test_half_of_every_gradient_is_lost_at_each_residual_layer(tmp_path: Path) -> None:
    case = case_of(CLAIMS["A5"].run(ResidualDepth(layers=4)), tmp_path)
    J = np.eye(2)
    for A in case.arrays["A"]:
        J = J + 0.5 * A / np.linalg.norm(A, 2) @ J
    assert np.linalg.svd(J, compute_uv=False)[-1] == pytest.approx(case.values["σ_min"], rel=1e-6)
    assert 0.5**4 * (1 - 1e-9) <= case.values["σ_min"] < 0.5


SMALL = {"layers": 30, "width": 64, "batch": 64}


def test_the_better_placement_is_measured_and_not_assumed() -> None:
    paper, reverse = CLAIMS["A7"].run(PlacedNorms(**SMALL)), CLAIMS["A7"].run(PlacedNorms("branch", "after", **SMALL))
    assert not paper.evidence.claimed[0].holds
    assert reverse.verdict is Verdict.MEASURED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mathematics", "verdict"),
    [(KnownNumbers(), Verdict.MEASURED), (KnownNumbers(linear="gaussian"), Verdict.REFUTED),
     (KnownNumbers(bias_variance=0.2), Verdict.REFUTED)],
)  # fmt: skip
def test_known_numbers_are_reproduced(mathematics: KnownNumbers, verdict: Verdict) -> None:
    assert CLAIMS["A8"].run(mathematics).verdict is verdict


@pytest.mark.slow
def test_placements_grow_as_published_at_full_size() -> None:
    finding = CLAIMS["A7"].run(full=True)
    norms = {quantity.name: quantity.value for quantity in finding.evidence.quantities}
    branch, after = (norms[f"gradient norm at the input, {name}"] for name in ("x + BN(f(x))", "BN(x + f(x))"))
    assert finding.verdict is Verdict.CORRECTED
    assert branch.value == pytest.approx(22.4, abs=4 * branch.sem)
    assert after.value == pytest.approx(1260, abs=4 * after.sem)
