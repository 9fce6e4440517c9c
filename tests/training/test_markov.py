"""The Markov baseline against a dictionary of counts, and as a distribution that sums to one."""

import itertools
import math
from collections import Counter

import pytest
import torch
from helpers.markov import STRENGTHS, Markov, fit_markov
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import Dataset, Split, load
from leadline.errors import UsageError

CLIPS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=4)


def dataset(train: list[list[int]], validation: list[list[int]], test: list[list[int]]) -> Dataset:
    parts = [Split(tuple(torch.tensor(clip) for clip in clips)) for clips in (train, validation, test)]
    return Dataset("made", "audio", *parts, levels=3, licence="none", division="as given")


def direct(train: list[list[int]], history: list[int], x: int, strengths: tuple[float, ...]) -> float:
    """p(x | history) by counting in plain Python."""
    p = 1 / 3
    for order, alpha in enumerate(strengths):
        seen: Counter[tuple[int, ...]] = Counter()
        for clip in train:
            padded = [3] * order + clip
            seen.update(tuple(padded[i : i + order + 1]) for i in range(len(clip)))
        context = tuple(([3] * order + history)[len(history) :])
        n = sum(count for key, count in seen.items() if key[:-1] == context)
        p = (seen[(*context, x)] + alpha * p) / (n + alpha)
    return p


@settings(max_examples=30)
@given(CLIPS, CLIPS, CLIPS, st.integers(0, 3))
def test_the_score_equals_counting_in_plain_python(
    train: list[list[int]], validation: list[list[int]], test: list[list[int]], order: int
) -> None:
    model = fit_markov(dataset(train, validation, test), order)
    ours = model.score(Split(tuple(torch.tensor(clip) for clip in test)))
    nats = [-math.log(direct(train, clip[:i], clip[i], model.strengths)) for clip in test for i in range(len(clip))]
    assert ours.nats == pytest.approx(math.fsum(nats), rel=1e-12)
    assert ours.symbols == sum(map(len, test))
    assert ours.examples == len(test)
    assert len(model.strengths) == order + 1
    assert set(model.strengths) <= set(STRENGTHS)


@settings(max_examples=30)
@given(CLIPS, st.integers(0, 2), st.integers(1, 3))
def test_probabilities_of_all_continuations_sum_to_one(train: list[list[int]], order: int, length: int) -> None:
    model = fit_markov(dataset(train, train, train), order)
    sequences = [torch.tensor(s) for s in itertools.product(range(3), repeat=length)]
    total = sum(math.exp(-model.score(Split((s,))).nats) for s in sequences)
    assert total == pytest.approx(1.0, rel=1e-12)


def test_smoothing_is_the_best_of_those_tried_on_validation() -> None:
    tones = load("tones", levels=8)
    model = fit_markov(tones, 1)
    chosen = model.score(tones.validation).nats
    for alpha in STRENGTHS:
        other = Markov(8, 1, model.pairs, model.contexts, (model.strengths[0], alpha))
        assert chosen <= other.score(tones.validation).nats + 1e-9


def test_contexts_too_long_to_number_are_refused() -> None:
    with pytest.raises(UsageError, match="order"):
        fit_markov(load("tones"), 8)
