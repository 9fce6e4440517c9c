"""What makes no sense is refused by functions, too, and a missing extra is named."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import leadline
from leadline.claims import run_claims
from leadline.errors import UsageError
from leadline.sampling import compiled
from leadline.training import TrainConfig
from leadline.zoo import build

X = torch.zeros(2, 3)
MODEL = nn.Linear(3, 3)
SEEDED: dict[str, Callable[[Any], object]] = {
    "gradient": lambda seed: leadline.gradient(MODEL, X, seed=seed),
    "remedies": lambda seed: leadline.remedies(MODEL, X, seed=seed),
    "spectrum": lambda seed: leadline.spectrum(MODEL, X, seed=seed),
    "lyapunov": lambda seed: leadline.lyapunov(torch.tanh, torch.zeros(3), steps=3, seed=seed),
    "check": lambda seed: leadline.check(MODEL, X, seed=seed),
    "claims": lambda seed: run_claims(["A1"], seed=seed),
    "zoo": lambda seed: build("chain", seed=seed),
    "training": lambda seed: TrainConfig(steps=1, seed=seed),
}


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_that_no_generator_takes(name: str, seed: int) -> None:
    with pytest.raises(UsageError, match="seed"):
        SEEDED[name](seed)


def test_a_gradient_without_probes() -> None:
    with pytest.raises(UsageError, match="at least one probe"):
        leadline.gradient(MODEL, X, probes=0)


def test_the_largest_seed_is_taken_by_claims_that_count_on_from_it() -> None:
    assert run_claims(["A1"], seed=2**64 - 1)


def test_a_stream_names_the_extra_that_compiles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("machine", "interpreter", "kernels", "products", "rules", "narrowing", "lanes"):  # what imports it
        monkeypatch.delitem(sys.modules, f"leadline.sampling.compiled.{name}", raising=False)
        monkeypatch.delattr(compiled, name, raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    specimen = build("wavenet", classes=4, layers=1, length=6)
    sampler = leadline.stream(specimen.model, *specimen.inputs, layout=specimen.layout)
    assert (sampler.backend, "leadline[fast]" in sampler.reason) == ("torch", True)
    with pytest.raises(UsageError, match=r"leadline\[fast\]"):
        leadline.stream(specimen.model, *specimen.inputs, layout=specimen.layout, backend="numba")
