"""Pictures drawn on coarser grids and along rows: PixelCNN++ in colour, PixelSNAIL, as the naive sampler draws them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from leadline import stream
from leadline.errors import NotCausal, NotUniform
from leadline.likelihoods import Categorical, Likelihood, Logistics
from leadline.sampling import FrameStream, naive_sample
from leadline.zoo import Specimen, build

SMALL: dict[str, dict[str, object]] = {
    "pixelcnn-plus": {"channels": 4, "layers": 1, "embedding": 2, "height": 2, "width": 4},
    "pixelsnail": {"channels": 4, "layers": 1, "blocks": 1, "heads": 2, "key": 2, "height": 2, "width": 3},
}
slow = pytest.mark.slow


def made(name: str, **how: object) -> Specimen:
    specimen = build(name, **SMALL[name] | {"classes": 4, "batch": 1, "components": 2} | how)
    with torch.no_grad():
        for parameter in specimen.model.parameters():
            parameter.mul_(2)  # far from uniform
    specimen.model.eval()
    return specimen


def derived(specimen: Specimen, described: Likelihood) -> FrameStream:
    found = stream(specimen.model, *specimen.inputs, layout=specimen.layout, likelihood=described)
    assert isinstance(found, FrameStream)
    return found


@pytest.mark.parametrize(
    ("name", "colors", "components"),
    [
        pytest.param("pixelcnn-plus", 3, 2, marks=slow),
        ("pixelsnail", 3, 2),
        pytest.param("pixelsnail", 1, 0, marks=slow),
        pytest.param("pixelsnail", 1, 2, marks=slow),
    ],
)
def test_symbols_are_those_of_the_naive_sampler(name: str, colors: int, components: int) -> None:
    specimen = made(name, colors=colors, components=components, labels=3, positions=True)
    specimen = Specimen(specimen.model, (specimen.inputs[0], torch.tensor([2])), specimen.layout)
    described = Logistics(4) if components else Categorical(4)
    sampler, shape = derived(specimen, described), tuple(specimen.inputs[0].shape[1:])
    generator = torch.Generator().manual_seed(1)
    kept = torch.rand(shape, generator=generator) < 0.3
    begun = torch.randint(4, (1, *shape), generator=generator)
    for how in ({"seed": 1}, {"seed": 2, "given": begun, "mask": kept}, {"seed": 3, "temperature": 0.6, "top_k": 2}):
        expected = naive_sample(
            specimen.model, *specimen.inputs, layout=specimen.layout, likelihood=described, n=2, **how
        )
        assert torch.equal(sampler.generate(2, **how), expected)
    x = torch.randint(4, (2, *shape), generator=generator)
    assert torch.allclose(sampler.logits(x), specimen.model(x, torch.tensor([2, 2])), atol=1e-3)


@slow
@pytest.mark.parametrize(("name", "height", "width"), [("pixelcnn-plus", 2, 2), ("pixelsnail", 1, 2)])
def test_frequencies_are_the_models_probabilities(name: str, height: int, width: int) -> None:
    """Chi-square over 20,000 draws beside the enumeration of all pictures of two levels: of a colour, or of three."""
    colors = 1 if name == "pixelcnn-plus" else 3
    specimen = made(name, classes=2, height=height, width=width, colors=colors)
    shape = tuple(specimen.inputs[0].shape[1:])
    count = int(np.prod(shape))
    every = torch.tensor(list(itertools.product(range(2), repeat=count))).view(-1, *shape)
    with torch.no_grad():
        logs = Logistics(2).log_prob(specimen.model.double()(every), every).flatten(1).sum(1)
    probabilities = logs.exp().numpy()
    assert abs(probabilities.sum() - 1) < 1e-12
    specimen.model.float()
    drawn = derived(specimen, Logistics(2)).generate(20_000, seed=7)
    number = 2 ** torch.arange(count - 1, -1, -1)
    counts = np.bincount((drawn.flatten(1) * number).sum(1).numpy(), minlength=2**count)
    expected = 20_000 * probabilities
    few = expected < 5
    tidy = [np.append(each[~few], each[few].sum()) for each in (counts, expected)]
    tidy = [each[:-1] if expected[few].sum() == 0 else each for each in tidy]
    assert scipy.stats.chisquare(*tidy).pvalue > 1e-4


class Rows(nn.Module):
    """What stood `back` positions before, row after row, and attention to all positions up to it."""

    def __init__(self, back: int, cut_first: bool) -> None:
        super().__init__()
        self.back, self.cut_first = back, cut_first
        self.embed, self.mixed, self.out = nn.Embedding(4, 4), nn.Linear(4, 12), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        z, (h, w) = self.embed(x).movedim(-1, 1).flatten(2), x.shape[1:]
        cut = z[..., : -self.back] if self.cut_first else z
        before = pad(cut, (self.back, 0))[..., : h * w]
        query, key, value = self.mixed(before.mT).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        heard = scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)
        return self.out(torch.cat([before.mT, heard], -1)).unflatten(1, (h, w))


@settings(max_examples=examples(2, 60), deadline=None)
@given(st.integers(1, 7), st.booleans(), st.integers(2, 4), st.integers(2, 3), st.integers(0, 99))
def test_shifts_go_on_over_the_ends_of_rows(back: int, cut_first: bool, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    model, back = Rows(min(back, height * width - 1), cut_first).eval(), min(back, height * width - 1)
    x, layout = torch.randint(4, (1, height, width)), "b h w -> b h w v"
    sampler = stream(model, x, layout=layout)
    assert isinstance(sampler, FrameStream)
    expected = naive_sample(model, x, layout=layout, likelihood=Categorical(4), n=3, seed=seed)
    assert torch.equal(sampler.generate(3, seed=seed), expected)
    taller = torch.cat([expected, expected], 1)
    assert torch.allclose(sampler.logits(expected), model(expected), atol=1e-5)
    assert torch.allclose(sampler.logits(taller), model(taller), atol=1e-5)
    sampler.reset(batch=3)  # row by row
    rows = torch.cat([sampler.step(expected[:, i : i + 1]) for i in range(height)], 1)
    assert torch.allclose(torch.cat([rows, sampler.finish()], 1), model(expected), atol=1e-5)


@slow
def test_what_sees_ahead_along_a_row_or_is_cut_and_filled_is_refused() -> None:
    class Ahead(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = pad(x.float().flatten(1)[:, 1:], (0, 1)).unflatten(1, x.shape[1:])
            return torch.stack([z, -z], -1)

    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = pad(pad(x.float().flatten(1)[:, :-2], (1, 0)), (0, 1)).unflatten(1, x.shape[1:])
            return torch.stack([z, -z], -1)

    x = torch.randint(2, (1, 3, 4))
    found = stream(Ahead(), x, layout="b h w -> b h w v")
    with pytest.raises(NotCausal):
        found.generate()
    with pytest.raises(NotUniform, match="cut off, and others put in their place"):
        stream(Cut(), x, layout="b h w -> b h w v")
