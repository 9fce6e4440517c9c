"""Scores against a direct sum over examples, under every batching, and what they say about themselves."""

import math

import pytest
import torch
from helpers.densities import build_tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import Split, load
from leadline.errors import Diverged, ModelError
from leadline.likelihoods import Bernoulli, Categorical
from leadline.training import Score, score

DIGITS = load("digits")


@settings(max_examples=15)
@given(st.integers(1, 200), st.sampled_from([0, 1]))
def test_a_score_is_the_sum_over_every_symbol_whatever_the_batching(batch: int, lag: int) -> None:
    model = build_tiny("tiny", lag=lag).model.double()
    part = Split(DIGITS.test.examples[:30])
    ours = score(model, Categorical(17), part, lag=lag, batch=batch)
    model.eval()
    total, squares = 0.0, 0.0
    for image in part.examples:
        logs = model(image[None].long()).detach().log_softmax(-1).flatten(1, 2)[0]
        symbols = image.flatten().long()
        own = -logs.gather(1, symbols[:, None])[:, 0].sum() if lag else -logs[:-1].gather(1, symbols[1:, None]).sum()
        total += float(own)
        squares += float(own) ** 2
    assert ours.nats == pytest.approx(total, rel=1e-12)
    assert ours.symbols == 30 * (64 if lag else 63)
    assert ours.unscored == (0 if lag else 30)
    assert ours.bits_per_dim == pytest.approx(total / math.log(2) / ours.symbols)
    mean = ours.nats_per_example
    assert mean.value == pytest.approx(total / 30)
    assert mean.sem == pytest.approx(math.sqrt((squares / 30 - (total / 30) ** 2) / 29))
    assert Score.from_dict(ours.as_dict()) == ours


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12), st.integers(1, 12), st.integers(10, 200))
def test_padding_does_not_count(lengths: list[int], batch: int, most: int) -> None:
    model = build_tiny("tiny", shape=(9,)).model.double()
    clips = tuple(torch.randint(17, (n,)) for n in lengths)
    together = score(model, Categorical(17), Split(clips), batch=batch, max_symbols=most)
    alone = [score(model, Categorical(17), Split((clip,))).nats for clip in clips]
    assert together.nats == pytest.approx(math.fsum(alone), rel=1e-12)
    assert together.symbols == sum(lengths)


def test_a_uniform_model_scores_log2_of_its_levels() -> None:
    model = build_tiny("tiny").model
    torch.nn.init.zeros_(model.out.weight)
    torch.nn.init.zeros_(model.out.bias)
    assert score(model, Categorical(17), DIGITS.test).bits_per_dim == pytest.approx(math.log2(17), rel=1e-6)


def test_bernoulli_scores_bits() -> None:
    data = load("digits", binarise="fixed")
    model = build_tiny("tiny-bernoulli", classes=2).model
    ours = score(model, Bernoulli(), data.test, binarisation=data.binarisation)
    assert 0.3 < ours.bits_per_dim < 2
    assert "binarised fixed" in str(ours)


def test_one_example_has_no_standard_error() -> None:
    ours = score(build_tiny("tiny").model, Categorical(17), Split(DIGITS.test.examples[:1]))
    assert ours.nats_per_example.sem == math.inf
    assert "inf" not in str(ours)
    assert "±" not in str(ours)


def test_scoring_leaves_the_mode_and_the_random_state() -> None:
    model = build_tiny("tiny").model.train()
    before = torch.get_rng_state()
    score(model, Categorical(17), Split(DIGITS.test.examples[:3]))
    assert model.training
    assert torch.equal(before, torch.get_rng_state())


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ModelError, match=r"returned \(2, 8, 8, 5\).*17 levels"):
        score(build_tiny("tiny", classes=5).model, Categorical(17), Split(torch.zeros(2, 8, 8, dtype=torch.int64)))
    model = build_tiny("tiny").model
    torch.nn.init.constant_(model.out.bias, math.nan)
    with pytest.raises(Diverged, match="example 0 is not finite"):
        score(model, Categorical(17), Split(DIGITS.test.examples[:3]))
