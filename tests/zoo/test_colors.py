"""Pixels of several colours: each colour sees what its pixel sees of others, and the colours before it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.examples import examples
from helpers.perturbation import dependence
from hypothesis import given, settings
from hypothesis import strategies as st

import leadline
from leadline import zoo
from leadline.data import Batch
from leadline.errors import UsageError
from leadline.likelihoods import likelihood
from leadline.sampling.naive import naive_sample
from leadline.training.scoring import symbol_nats
from leadline.zoo.layers.colors import seen_colors
from leadline.zoo.layers.masked_conv import MaskedConv2d
from leadline.zoo.layers.mixture_head import MixtureHead

SMALL: dict[str, dict[str, object]] = {
    "pixelcnn": {"channels": 12, "inner": 12, "head": 12, "layers": 1, "first_kernel": 3},
    "gated-pixelcnn": {"channels": 12, "head": 12, "layers": 2, "first_kernel": 3},
    "mdrnn": {"hidden": 8, "head": 12, "layers": 1},
    "pixelcnn-plus": {"channels": 8, "layers": 1, "components": 3},
    "pixelsnail": {"channels": 8, "layers": 1, "components": 3},
}


def colored(name: str, colors: int, **settings: object) -> zoo.Specimen:
    sizes = {"embedding": 2, "height": 4, "width": 6, "classes": 3}
    return zoo.build(name, colors=colors, **sizes | SMALL[name] | settings)


def log_probabilities(specimen: zoo.Specimen, x: torch.Tensor) -> torch.Tensor:
    described = likelihood(specimen.likelihood or "", specimen.config.classes)
    nats = symbol_nats(specimen.model.double().eval(), Batch(x, None, None, tuple(range(len(x)))), described)
    return -nats.flatten(1).sum(1)


def every(classes: int, *shape: int) -> torch.Tensor:
    count = int(np.prod(shape))
    return torch.tensor(list(itertools.product(range(classes), repeat=count))).view(-1, *shape)


@pytest.mark.parametrize("colors", [2, 3])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_colour_sees_those_before_it_and_all_of_the_pixels_that_one_colour_sees(name: str, colors: int) -> None:
    one, many = colored(name, 1, batch=8), colored(name, colors, batch=8)
    pixels = dependence(one.model, one.inputs, one.layout)
    symbols = dependence(many.model, many.inputs, many.layout)
    expected = np.repeat(np.repeat(pixels[:, :, None, :, :, None], colors, 2), colors, 5)
    for i, j, own, before in itertools.product(range(4), range(6), range(colors), range(colors)):
        expected[i, j, own, i, j, before] = before < own
    np.testing.assert_array_equal(symbols, expected)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_pixelcnn_plus_sees_pixels_before_its_own_alone(scales: int) -> None:
    specimen = colored("pixelcnn-plus", 1, scales=scales, layers=2, height=8, width=8, batch=4)
    seen = dependence(specimen.model, specimen.inputs, specimen.layout, draws=2)
    places = np.arange(64).reshape(8, 8)
    earlier = places[None, None] < places[:, :, None, None]
    assert not (seen & ~earlier).any()
    for i, j in itertools.product(range(8), range(1, 8)):
        assert seen[i, j, i, j - 1]  # its neighbours are seen at any resolution
        assert not i or seen[i, j, i - 1, j]


def test_pixelsnail_sees_every_pixel_before_its_own() -> None:
    specimen = colored("pixelsnail", 1, batch=4)
    seen = dependence(specimen.model, specimen.inputs, specimen.layout)
    places = np.arange(24).reshape(4, 6)
    np.testing.assert_array_equal(seen, places[None, None] < places[:, :, None, None])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_it_is_certified_from_its_structure(name: str) -> None:
    specimen = colored(name, 3)
    found = leadline.causality(specimen.model, *specimen.inputs, layout=specimen.layout)
    assert (found.verdict, found.lag) == ("structural", 1)


@pytest.mark.parametrize(("colors", "classes"), [(2, 2), (1, 4)])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_all_probabilities_sum_to_one(name: str, colors: int, classes: int) -> None:
    specimen = colored(name, colors, height=2, width=2, classes=classes)
    x = every(classes, 2, 2, colors) if colors > 1 else every(classes, 2, 2)
    assert log_probabilities(specimen, x).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_twenty_thousand_draws_follow_the_density(name: str) -> None:
    single = {"scales": 1} if name == "pixelcnn-plus" else {}
    specimen = colored(name, 3, height=1, width=2, classes=2, **single)
    expected = 20_000 * log_probabilities(specimen, every(2, 1, 2, 3)).exp()
    described = likelihood(specimen.likelihood or "", 2)
    drawn = naive_sample(specimen.model, *specimen.inputs, layout=specimen.layout, likelihood=described, n=20_000)
    counts = (drawn.flatten(1) @ (2 ** torch.arange(5, -1, -1))).bincount(minlength=64)
    statistic = ((counts - expected).square() / expected).sum().item()
    assert statistic < 111.1  # the 99.99 % point of a chi-square of 63 degrees


def test_a_mixture_of_pixels_is_a_product_over_colours() -> None:
    """The chain rule over colours against the definition: components shared by the pixel's colours."""
    torch.manual_seed(0)
    head = MixtureHead(4, classes=8, colors=3, components=5).double()
    z, x = torch.randn(6, 4, 1, 1, dtype=torch.float64), torch.randint(8, (6, 1, 1, 3))
    ours = head.logistics.log_prob(head(z, x), x).sum(-1).flatten()
    weights, *rest = head.out(z).flatten(1).unflatten(1, (-1, 5)).unbind(1)
    red, green = (head.logistics.on_the_line(x[..., color], torch.float64).view(6, 1) for color in range(2))
    means = [rest[0], rest[2] + rest[4].tanh() * red, rest[5] + rest[7].tanh() * red + rest[8].tanh() * green]
    scales = [rest[1], rest[3], rest[6]]
    pairs = zip(means, scales, strict=True)
    each = [head.logistics.of_each(mean, scale, x[:, 0, 0, color]) for color, (mean, scale) in enumerate(pairs)]
    torch.testing.assert_close(ours, torch.logsumexp(weights.log_softmax(-1) + sum(each), -1))


@settings(max_examples=examples(15, 100))
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.sampled_from(["A", "B"]), st.integers(0, 2))
def test_masks_show_earlier_colours(inputs: int, outputs: int, colors: int, mask: str, radius: int) -> None:
    seen = seen_colors(inputs, outputs, colors, mask)  # type: ignore[arg-type]
    for j, i in itertools.product(range(outputs), range(inputs)):
        own, theirs = j % colors, i % colors
        assert seen[j, i] == (theirs < own or (mask == "B" and theirs == own))
    if colors > 1 or radius or mask == "B":
        conv = MaskedConv2d(inputs, outputs, 2 * radius + 1, mask, colors=colors)  # type: ignore[arg-type]
        own_pixel = conv.mask.expand(outputs, inputs, -1, -1)[:, :, -1, radius]
        assert torch.equal(own_pixel, seen)
        assert (conv.mask[..., :-1, :] == 1).all()


def test_settings_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="channels=32 is not a multiple of colors=3"):
        zoo.build("gated-pixelcnn", colors=3)
    with pytest.raises(UsageError, match="8 × 6 pixels are not multiples of 4"):
        zoo.build("pixelcnn-plus", scales=3, width=6)
    for name in ("pixelcnn-plus", "pixelsnail"):
        with pytest.raises(UsageError, match="at least one component"):
            zoo.build(name, colors=3, components=0)
