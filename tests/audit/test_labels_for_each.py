"""A class for each sample, in the derived sampler of every density of the zoo that takes classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadline.audit.trained import draw
from leadline.training import Run
from leadline.training.config import TrainConfig
from leadline.zoo import ZOO, build
from leadline.zoo.settings import settings_of

SMALL: dict[str, dict[str, Any]] = {
    "pixelcnn": {"channels": 4, "inner": 2, "layers": 1, "first_kernel": 3},
    "gated-pixelcnn": {"channels": 4, "layers": 1, "first_kernel": 3},
    "pixelcnn-plus": {"channels": 4, "layers": 1, "components": 2},
    "pixelsnail": {"channels": 4, "layers": 1, "blocks": 1, "heads": 1, "key": 2, "components": 2},
    "mdrnn": {"hidden": 4, "layers": 1},
    "wavenet": {"channels": 4, "skip": 4, "head": 4, "layers": 2, "length": 6},
    "transformer": {"layers": 1, "heads": 1, "head_channels": 4, "length": 6, "lag": 1},
}


def run_of(name: str) -> Run:
    """A run of an untrained model, far from uniform, with three classes."""
    torch.manual_seed(0)
    size = {"height": 2, "width": 2} if "height" in settings_of(ZOO[name]) else {}
    specimen = build(name, classes=4, labels=3, batch=2, **size, **SMALL[name])
    with torch.no_grad():
        for parameter in specimen.model.parameters():
            parameter.mul_(2)
    specimen.model.eval()
    data = {"levels": 4, "kind": "image" if size else "audio", "options": {}}
    return Run(Path("nowhere"), name, {}, specimen, 1, TrainConfig(steps=1), data, None)


def test_every_density_that_takes_classes_is_here() -> None:
    takes = {n for n in ZOO if "labels" in settings_of(ZOO[n])}
    assert takes == set(SMALL)


@pytest.mark.parametrize(
    "name", [name if name == "wavenet" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
@settings(max_examples=examples(1, 4), deadline=None, suppress_health_check=list(HealthCheck))
@given(labels=st.lists(st.integers(0, 2), min_size=2, max_size=4).filter(lambda each: len(set(each)) > 1))
def test_each_sample_is_of_its_class_whoever_draws(name: str, labels: list[int]) -> None:
    run = run_of(name)
    derived, naive = (draw(run, len(labels), seed=5, label=labels, naive=naive) for naive in (False, True))
    assert (derived.sampler, derived.reason, naive.sampler) == ("derived", "", "naive")
    assert torch.equal(derived.symbols, naive.symbols)
    for row, label in enumerate(labels):  # the others do not matter
        alike = [label if i == row else labels[row - 1] for i in range(len(labels))]
        assert torch.equal(draw(run, len(labels), seed=5, label=alike, naive=True).symbols[row], naive.symbols[row])
