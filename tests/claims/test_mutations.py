"""Every constant of a claim's mathematics changed, and every module that it is compared with broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from leadline.claims import CLAIMS, Verdict
from leadline.claims.statements import dilated_stack, grid_count, grid_steps, masked_count, masked_steps
from leadline.zoo.chain import Chain
from leadline.zoo.mdrnn import GridRNN

PROVED, CORRECTED, REFUTED, MEASURED = Verdict.PROVED, Verdict.CORRECTED, Verdict.REFUTED, Verdict.MEASURED
NORTH, NORTH_WEST = (1, 0), (1, 1)
QUICK: Mapping[str, Mapping[str, Any]] = {
    "B1": {"layers": 3}, "B3": {"layers": 2, "gated": 2}, "B5": {"layers": 2}, "B6": {"height": 4, "width": 5},
}  # fmt: skip
"""Smaller sizes than by default, where these decide nothing."""

MUTATED = [
    ("A1", "weight", 5.1, CORRECTED), ("A1", "weight", 1.0001, CORRECTED), ("A1", "weight", -1.0, PROVED),
    ("A1", "weight", 0.0, PROVED), ("A1", "layers", 1, PROVED), ("A1", "layers", 13, PROVED),
    ("A2", "weight", 1.01, CORRECTED), ("A2", "weight", -2.0, CORRECTED), ("A2", "layers", 1, PROVED),
    ("A2", "bias", 0.0, PROVED), ("A2", "bias", -0.4, PROVED),
    ("A3", "norm", 0.501, CORRECTED), ("A3", "norm", 1.0, CORRECTED), ("A3", "norm", 0.0, PROVED),
    ("A3", "steps", 1, PROVED), ("A3", "units", 1, PROVED),
    ("A5", "norm", 1.5, REFUTED), ("A5", "norm", 0.99, CORRECTED), ("A5", "layers", 1, MEASURED),
    ("A5", "by_depth", True, PROVED), ("A5", "spread", 1.2, CORRECTED), ("A5", "units", 1, CORRECTED),
    ("A6", "centred", False, REFUTED), ("A6", "biased", False, REFUTED), ("A6", "gamma", -0.3, PROVED),
    ("A6", "gamma", 0.0, PROVED), ("A6", "epsilon", 0.0, PROVED), ("A6", "epsilon", 0.5, PROVED),
    ("B1", "kernel", 1, REFUTED), ("B1", "base", 3, REFUTED), ("B1", "layers", 4, PROVED),
    ("B2", "first", ((0, 1), NORTH, NORTH_WEST), REFUTED), ("B2", "later", ((0, 0), (0, 1), NORTH), REFUTED),
    ("B3", "dilation", 3, REFUTED), ("B3", "layers", 1, PROVED), ("B3", "gated", 1, PROVED),
    ("B4", "taps", (NORTH,), REFUTED), ("B5", "taps", (NORTH,), REFUTED), ("B5", "layers", 1, CORRECTED),
    ("B6", "taps", (NORTH,), REFUTED), ("B6", "height", 3, CORRECTED), ("B6", "width", 2, CORRECTED),
    ("B7", "taps", (NORTH,), REFUTED), ("B7", "radius", 2, CORRECTED),
    ("B8", "taps", (NORTH,), REFUTED), ("B8", "layers", 1, REFUTED),  # one layer keeps none of its vectors
    ("C1", "diagonal", 0.1, REFUTED), ("C1", "west", 0.4, CORRECTED), ("C1", "west", 0.401, PROVED),
    ("C1", "north", 1.0, CORRECTED), ("C1", "north", 2.0, CORRECTED), ("C1", "units", 1, PROVED),
    ("C2", "north", 0.49, CORRECTED), ("C2", "north", 0.51, CORRECTED), ("C2", "west", 1.5, CORRECTED),
    ("C2", "units", 1, PROVED), ("C2", "units", 9, PROVED),
    ("C3", "correlation", 1.0, REFUTED), ("C3", "correlation", -0.2, REFUTED), ("C3", "width", 32, MEASURED),
    ("C3", "north", 0.3, MEASURED), ("C3", "west", 1.4, MEASURED),
]  # fmt: skip


DEFAULT = {
    ("A1", 5.1), ("A1", 1), ("A2", 0.0), ("A3", 0.501), ("A3", 1), ("A5", 1.5), ("A6", 0.0), ("A6", False),
    ("C1", 0.4), ("C2", 0.49), ("C3", 1.0),
}  # fmt: skip
"""Changes that are made in the default run, others in the slow one."""


@pytest.mark.parametrize(
    ("claim", "name", "value", "verdict"),
    [pytest.param(*row, marks=[] if (row[0], row[2]) in DEFAULT else pytest.mark.slow) for row in MUTATED],
)
def test_a_changed_constant_has_its_own_verdict(claim: str, name: str, value: Any, verdict: Verdict) -> None:
    mathematics = replace(CLAIMS[claim].mathematics, **{**QUICK.get(claim, {}), name: value})
    assert CLAIMS[claim].run(mathematics).verdict is verdict


@pytest.mark.parametrize(
    ("claim", "name", "value"),
    [("A3", "norm", -0.5), ("A3", "steps", 0), ("A5", "norm", -1.0), ("A6", "epsilon", -1e-5), ("B6", "height", 1),
     ("C1", "north", 0.0), ("C1", "diagonal", -1.0), ("C2", "west", -0.5), ("C3", "correlation", 1.5)],
)  # fmt: skip
def test_a_constant_that_means_nothing_is_refused(claim: str, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="not"):
        replace(CLAIMS[claim].mathematics, **{name: value})


def scaled(factor: float) -> Callable[[Any], Any]:
    """Let a module return a multiple of what it returned."""

    def change(forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            return (factor * result[0], factor * result[1]) if isinstance(result, tuple) else factor * result

        return call

    return change


def other(**settings: Any) -> Callable[[Any], Any]:
    """Let the zoo build other models than are asked for."""
    return lambda build: lambda name, **asked: build(name, **{**asked, **settings})


def without_its_last_layer(made: Any) -> Any:
    return lambda config: made(replace(config, layers=max(1, config.layers - 1)))


BROKEN: Mapping[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "A1": (Chain, "forward", scaled(1000.0)),
    "A2": (Chain, "forward", scaled(0.5)),
    "A3": (nn.RNN, "forward", scaled(1.001)),
    "A6": (nn.BatchNorm1d, "forward", lambda forward: lambda self, x: forward(self, x) + x.mean()),
    "B1": (dilated_stack, "build", other(layers=4)),
    "B2": (masked_count, "build", other(channels=3)),
    "B3": (masked_steps, "build", other(layers=2)),
    "B4": (grid_count, "GridRNN", without_its_last_layer),
    "B5": (grid_steps, "GridRNN", without_its_last_layer),
    "C1": (GridRNN, "forward", scaled(1.001)),
    "C2": (GridRNN, "forward", scaled(1.001)),
    "C3": (GridRNN, "forward", scaled(1.001)),
}


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, marks=pytest.mark.slow if claim in ("A2", "B1", "B3", "C1", "C2", "C3") else [])
        for claim in BROKEN
    ],
)
def test_a_module_that_differs_refutes(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, change = BROKEN[claim]
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    finding = CLAIMS[claim].run(replace(CLAIMS[claim].mathematics, **QUICK.get(claim, {})))
    assert finding.verdict is REFUTED
    assert finding.counterexample is not None
