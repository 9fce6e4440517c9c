"""What the structural depths cost grows with the length of a sequence no faster than the sequence does."""

from __future__ import annotations

import time
from pathlib import Path

import fresh_process
import pytest
from structural_models import EXAMPLES, Example

from leadline import causality, context, count, memory, span

pytestmark = pytest.mark.slow

STRUCTURE = Path(fresh_process.__file__).with_name("structure.py")
LENGTHS = {
    "causal-convolutions": (50_000, 100_000, 200_000, 400_000),
    "padded-convolutions": (50_000, 100_000, 200_000, 400_000),
    "gru": (10_000, 20_000, 40_000, 80_000),
}


def seconds(example: Example) -> float:
    """CPU seconds of the five depths, each with a trace of its own."""
    model, inputs, layout = example.model, example.inputs, example.layout
    start = time.process_time()
    count(model, *inputs)
    span(model, *inputs)
    causality(model, *inputs, layout=layout)
    context(model, *inputs, layout=layout, position=example.position)
    memory(model, *inputs)
    return time.process_time() - start


@pytest.mark.parametrize("name", LENGTHS)
def test_cpu_seconds_grow_linearly(name: str) -> None:
    """A quadratic rule has a slope of two, and one that is quadratic in a small part of it lies above 1.4 soon."""
    seconds(EXAMPLES[name](100))  # what is imported and compiled once
    taken = [min(seconds(EXAMPLES[name](length)) for _ in range(2)) for length in LENGTHS[name]]
    assert fresh_process.growth(list(LENGTHS[name]), taken) <= 1.4, dict(zip(LENGTHS[name], taken, strict=True))


@pytest.mark.parametrize("example", ["causal-convolutions:100000", "padded-convolutions:100000", "gru:20000"])
def test_peak_memory_is_that_of_structure(example: str) -> None:
    """Dense tables of taps, or of all pairs of positions, would take 30 GB."""
    cost = fresh_process.measured(str(STRUCTURE), (example, "five depths"), cap=300)
    assert not cost.failed
    assert cost.gigabytes <= 2
