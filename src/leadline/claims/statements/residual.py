"""A4: residual connections, GRUs and LSTMs, and whether they keep singular values away from 0."""

from __future__ import annotations

import numpy as np
import torch

from leadline.claims.algebra import eye, singular_values
from leadline.claims.claim import Claim, Effort, Evidence, measured
from leadline.claims.statements import gates, residual_spectrum
from leadline.document import Curve
from leadline.jacobian.theory.residual import attaining, weyl_lower


def settle(of: residual_spectrum.ResidualSpectrum, effort: Effort) -> Evidence:
    """Search for branches that break the paper's bound, and the bounds that should replace it."""
    draws = {8: 1001, 64: 501, 256: 201} if effort.full else {8: 201, 64: 51}
    medians = {size: residual_spectrum.smallest_of_random(of, size, count, effort) for size, count in draws.items()}
    return Evidence(
        claimed=(residual_spectrum.paper_bound(of, effort),),
        instead=(
            residual_spectrum.weyl_bound(of, effort),
            residual_spectrum.attained(of, effort),
            residual_spectrum.singular_residual(),
            residual_spectrum.symmetric_bound(of, effort),
            gates.closed_forms(effort),
            gates.step_bounds(effort),
            gates.carried(effort),
        ),
        aside=(gates.no_floor("GRU", effort), gates.no_floor("LSTM", effort)),
        quantities=tuple(
            measured(f"median σ_min(I+A), half the values {of.largest:g}, half {of.smallest:g}, n = {size}", median)
            for size, median in medians.items()
        ),
        picture=_picture(of),
    )


def _picture(of: residual_spectrum.ResidualSpectrum) -> Curve:
    """Draw what the paper claims, what is certain, and what is the case for the A that attains the least."""
    values = torch.logspace(np.log10(of.largest), np.log10(of.smallest), 16, dtype=torch.float64)
    found = singular_values(eye(16) + attaining(values))
    series = (
        ("the paper's bound |σ_i(A) - 1|", tuple((values - 1).abs().tolist())),
        ("Weyl's bound", tuple(weyl_lower(values).tolist())),
        ("σ_i(I+A), worst A", tuple(found.tolist())),
    )
    return Curve(tuple(range(1, 17)), series, "i", "singular value", "Singular values of a residual layer's Jacobian")


CLAIM = Claim(
    id="A4",
    title="Residual, GRU, LSTM",
    statement="Adding the identity to a layer of Jacobian A gives σ_i(I+A) ≥ |σ_i(A) - 1|, so that singular values "
    "stay away from 0.",
    paper="σ_i(I+A) ≥ |σ_i(A) - 1|, hence neither residual nor gated networks vanish.",
    mathematics=residual_spectrum.ResidualSpectrum(),
    settle=settle,
)
