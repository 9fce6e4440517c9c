"""Likelihoods against torch's and scipy's distributions, and drawing against the definition of the inverse CDF."""

import numpy as np
import pytest
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax

from leadline.errors import Diverged, UsageError
from leadline.likelihoods import Bernoulli, Categorical, Logistics, likelihood

LEVELS = st.integers(2, 9)
SEEDS = st.integers(0, 2**31)
TEMPERATURES = st.floats(0.05, 5.0)


def logits_of(levels: int, seed: int, n: int = 5, scale: float = 3.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (n, levels)))


@given(LEVELS, SEEDS)
def test_categorical_log_prob_is_log_softmax(levels: int, seed: int) -> None:
    logits = logits_of(levels, seed)
    x = torch.from_numpy(np.random.default_rng(seed).integers(0, levels, 5))
    expected = log_softmax(logits.numpy(), axis=-1)[np.arange(5), x.numpy()]
    np.testing.assert_allclose(Categorical(levels).log_prob(logits, x).numpy(), expected, rtol=0, atol=1e-13)


@settings(max_examples=25)
@given(SEEDS)
def test_bernoulli_equals_torch_and_the_categorical_of_two_classes(seed: int) -> None:
    logits = logits_of(4, seed)
    x = (logits_of(4, seed + 1) > 0).long()
    ours = Bernoulli().log_prob(logits, x)
    torch.testing.assert_close(ours, torch.distributions.Bernoulli(logits=logits).log_prob(x.double()))
    pair = torch.stack([torch.zeros_like(logits), logits], -1)
    torch.testing.assert_close(ours, Categorical(2).log_prob(pair, x))
    u = torch.rand(logits.shape, dtype=torch.float64)
    assert torch.equal(Bernoulli().draw(logits, u), Categorical(2).draw(pair, u))


@given(LEVELS, SEEDS, TEMPERATURES, st.integers(1, 9))
def test_probabilities_are_the_tempered_softmax_over_the_k_largest(
    levels: int, seed: int, temperature: float, k: int
) -> None:
    logits = logits_of(levels, seed)
    p = Categorical(levels).probabilities(logits, temperature, k).numpy()
    for row, scores in zip(p, logits.numpy() / temperature, strict=True):
        kept = np.argsort(-scores)[: min(k, levels)]
        expected = np.zeros(levels)
        expected[kept] = np.exp(scores[kept] - scores.max())
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-13)


@given(LEVELS, SEEDS, TEMPERATURES, st.integers(1, 9))
def test_a_draw_is_the_class_whose_step_holds_the_uniform(levels: int, seed: int, temperature: float, k: int) -> None:
    categorical, logits = Categorical(levels), logits_of(levels, seed, n=8)
    u = torch.from_numpy(np.random.default_rng(seed + 1).random(8))
    drawn = categorical.draw(logits, u, temperature, k)
    p = categorical.probabilities(logits, temperature, k)
    below = torch.stack([row[:c].sum() for row, c in zip(p, drawn.tolist(), strict=True)])
    step = p.gather(-1, drawn[:, None])[:, 0]
    assert (step > 0).all()
    assert ((below <= u + 1e-12) & (u < below + step + 1e-12)).all()


@given(LEVELS, SEEDS)
def test_the_extreme_uniforms_draw_the_first_and_last_possible_class(levels: int, seed: int) -> None:
    categorical, logits = Categorical(levels), logits_of(levels, seed, scale=40.0)
    possible = categorical.probabilities(logits, top_k=2) > 0
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    for row, support in zip(logits, possible, strict=True):
        first, last = categorical.draw(row.expand(2, -1), ends, top_k=2).tolist()
        places = support.nonzero().flatten().tolist()
        assert first == places[0]
        assert last <= places[-1]
        assert support[last]


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0])
    u = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    counts = Categorical(3).draw(logits.expand(10_000, -1), u).bincount(minlength=3) / 10_000
    torch.testing.assert_close(counts.double(), logits.double().softmax(0), atol=2e-4, rtol=0)


@given(LEVELS, SEEDS)
def test_temperature_zero_is_the_limit(levels: int, seed: int) -> None:
    categorical, logits = Categorical(levels), logits_of(levels, seed)
    u = torch.from_numpy(np.random.default_rng(seed).random(5))
    assert torch.equal(categorical.draw(logits, u, temperature=0.0), logits.argmax(-1))
    assert torch.equal(categorical.draw(logits, u, temperature=1e-9), logits.argmax(-1))
    ties = torch.ones(1, levels)
    assert categorical.draw(ties, u[:1], temperature=0.0).item() == 0


@given(LEVELS, SEEDS, st.integers(1, 5))
def test_a_draw_does_not_depend_on_the_rest_of_the_batch(levels: int, seed: int, n: int) -> None:
    logits, u = logits_of(levels, seed), torch.from_numpy(np.random.default_rng(seed).random(5))
    whole = Categorical(levels).draw(logits.float(), u)
    assert torch.equal(whole[:n], Categorical(levels).draw(logits[:n].float(), u[:n]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_logit_that_is_not_finite_is_named(value: float) -> None:
    logits = torch.zeros(2, 3)
    logits[1, 2] = value
    with pytest.raises(Diverged, match=r"\(1, 2\) of \(2, 3\)"):
        Categorical(3).draw(logits, torch.zeros(2))


def test_misuse_is_refused() -> None:
    with pytest.raises(UsageError, match="temperature"):
        Categorical(3).draw(torch.zeros(1, 3), torch.zeros(1), temperature=-1.0)
    with pytest.raises(UsageError, match="top_k"):
        Categorical(3).draw(torch.zeros(1, 3), torch.zeros(1), top_k=0)
    with pytest.raises(UsageError, match="4 classes"):
        Categorical(3).draw(torch.zeros(1, 4), torch.zeros(1))
    with pytest.raises(UsageError, match="did you mean 'categorical'"):
        likelihood("categoricl", 3)
    with pytest.raises(UsageError, match="binarise"):
        likelihood("bernoulli", 17)
    assert likelihood("bernoulli", 2) == Bernoulli()


@settings(max_examples=examples(25, 200))
@given(LEVELS, SEEDS, st.integers(1, 4), st.floats(0.1, 8.0))
def test_logistics_are_differences_of_their_distribution_function(
    levels: int, seed: int, components: int, scale: float
) -> None:
    logits = logits_of(3 * components, seed, scale=scale).clamp(-2.5)  # scales above the least one
    weights, means, scales = logits.numpy().reshape(5, 3, components).swapaxes(0, 1)
    step = 2 / (levels - 1)
    edges = np.concatenate([[-np.inf], np.arange(levels - 1) * step - 1 + step / 2, [np.inf]])
    cumulative = expit((edges[:, None, None] - means) / np.exp(scales))
    expected = (np.exp(log_softmax(weights, axis=-1)) * np.diff(cumulative, axis=0)).sum(-1).T
    mixture = Logistics(levels)
    np.testing.assert_allclose(mixture.probabilities(logits).numpy(), expected, rtol=1e-7, atol=1e-13)
    x = torch.from_numpy(np.random.default_rng(seed).integers(0, levels, 5))
    np.testing.assert_allclose(
        mixture.log_prob(logits, x).exp().numpy(), expected[np.arange(5), x.numpy()], rtol=1e-7, atol=1e-13
    )
    u = torch.from_numpy(np.random.default_rng(seed + 1).random(5))
    assert torch.equal(mixture.draw(logits, u), Categorical(levels).draw(mixture.probabilities(logits).log(), u))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_from_every_component_a_class_is_unlikely_not_impossible(dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, 3.0, -50.0]], dtype=dtype).requires_grad_()
    log_prob = Logistics(256).log_prob(logits, torch.tensor([0]))
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert log_prob.item() < -1000
    assert torch.isfinite(logits.grad).all()


def test_a_mixture_says_what_it_reads() -> None:
    assert [Logistics(4).fits(axes) for axes in [(3,), (30,), (4,), (), (3, 3), (0,)]] == [True, True, *[False] * 4]
    with pytest.raises(UsageError, match="three numbers a component, not 4"):
        Logistics(4).draw(torch.zeros(1, 4), torch.zeros(1))
    with pytest.raises(UsageError, match="at least 2 levels"):
        Logistics(1)
