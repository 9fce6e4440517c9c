"""Sound as amplitudes and mixtures: densities that sum to one, and samplers that draw from them, at 16 bits too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import stream
from leadline.likelihoods import Logistics
from leadline.sampling import naive_sample
from leadline.sampling.streaming import Stream
from leadline.zoo import Specimen, build

SMALL: dict[str, dict[str, object]] = {
    "wavenet": {"channels": 6, "skip": 6, "head": 6, "layers": 2, "components": 2},
    "transformer": {"heads": 2, "head_channels": 4, "layers": 1, "lag": 1, "components": 2},
}


def built(name: str, **settings: object) -> Specimen:
    specimen = build(name, **SMALL[name] | settings)
    with torch.no_grad():
        for parameter in specimen.model.parameters():
            parameter.mul_(1.5)  # far from uniform
    specimen.model.eval()
    return specimen


def enumerated(specimen: Specimen, levels: int, length: int) -> np.ndarray:
    """The probability of every sequence, the last symbol fastest."""
    every = torch.tensor(list(itertools.product(range(levels), repeat=length)))
    with torch.no_grad():
        logs = Logistics(levels).log_prob(specimen.model.double()(every), every).sum(1)
    specimen.model.float()
    return logs.exp().numpy()


@pytest.mark.parametrize("name", [pytest.param("wavenet", marks=pytest.mark.slow), "transformer"])
def test_sequences_have_probabilities_that_sum_to_one_and_are_drawn_by_them(name: str) -> None:
    """Chi-square over 20,000 draws of three symbols of five levels."""
    specimen = built(name, classes=5, length=3)
    assert specimen.likelihood == "logistics"
    probabilities = enumerated(specimen, 5, 3)
    assert abs(probabilities.sum() - 1) < 1e-12
    sampler = stream(specimen.model, *specimen.inputs, layout=specimen.layout, likelihood=Logistics(5))
    assert isinstance(sampler, Stream)
    drawn = sampler.generate(20_000, seed=3)
    counts = np.bincount((drawn * torch.tensor([25, 5, 1])).sum(1).numpy(), minlength=125)
    few = 20_000 * probabilities < 5
    tidy = [np.append(each[~few], each[few].sum()) for each in (counts, 20_000 * probabilities)]
    assert scipy.stats.chisquare(*tidy).pvalue > 1e-4


@pytest.mark.parametrize("name", ["wavenet", pytest.param("transformer", marks=pytest.mark.slow)])
def test_samples_of_sixteen_bits_are_those_of_the_naive_sampler(name: str) -> None:
    specimen = built(name, classes=65536, length=8, labels=3, batch=1)
    specimen = Specimen(specimen.model, (specimen.inputs[0], torch.tensor([2])), specimen.layout)
    how = {"layout": specimen.layout, "likelihood": Logistics(65536)}
    kept = torch.tensor([True, False, False, True, False, False, False, False])
    begun = torch.randint(65536, (1, 8))
    ways = ({"seed": 1}, {"seed": 2, "given": begun, "mask": kept}, {"seed": 3, "temperature": 0.5, "top_k": 1000})
    expected = [naive_sample(specimen.model, *specimen.inputs, n=2, **how, **way) for way in ways]
    sampler = stream(specimen.model, *specimen.inputs, **how)
    for backend in ("numba", "torch"):
        for way, symbols in zip(ways, expected, strict=True):
            assert torch.equal(sampler.using(backend).generate(2, **way), symbols)


@settings(max_examples=examples(5, 100), deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from([2, 3, 17, 256, 65535, 65536]))
def test_a_mixture_over_any_number_of_levels_sums_to_one_and_draws_as_it_is_defined(
    seed: int, components: int, levels: int
) -> None:
    """In float32, as it is trained and scored, each probability is right to a small part, whatever the scales."""
    rng = np.random.default_rng(seed)
    shape = 4, components
    parts = rng.normal(0, 2, shape), rng.uniform(-1.2, 1.2, shape), rng.uniform(-14, 1, shape)
    logits, mixture = torch.from_numpy(np.concatenate(parts, 1)), Logistics(levels)
    probabilities = mixture.probabilities(logits)
    every = torch.arange(levels).expand(4, -1)
    for precision, within in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        found = mixture.log_prob(logits.to(precision).unsqueeze(1).expand(-1, levels, -1), every)
        assert (found.double().exp().sum(1) - 1).abs().max() < within
    u = torch.from_numpy(rng.random(4))
    cumulative = probabilities.cumsum(1)
    listed = (cumulative <= u[:, None] * cumulative[:, -1:]).sum(1)
    drawn = mixture.draw(logits, u)
    below = (probabilities.cumsum(1) - probabilities).gather(1, drawn[:, None])[:, 0]
    step = probabilities.gather(1, drawn[:, None])[:, 0]
    assert (step > 0).all()
    assert ((below <= u + 1e-12) & (u < below + step + 1e-12)).all()
    assert torch.equal(drawn, listed)


def test_the_extreme_uniforms_draw_what_has_a_probability() -> None:
    narrow = torch.tensor([[0.0, 0.0, 0.3, -0.4, -20.0, -20.0]])
    for u in (0.0, 1 - 2**-53):
        drawn = Logistics(65536).draw(narrow, torch.tensor([u], dtype=torch.float64))
        assert Logistics(65536).probabilities(narrow)[0, drawn] > 0
