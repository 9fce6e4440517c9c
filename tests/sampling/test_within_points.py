"""Symbols that follow one another within a point, as colours: drawn as the naive sampler draws them, each part once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.stats
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline import stream
from leadline.errors import NotUniform
from leadline.likelihoods import Bernoulli, Categorical, Likelihood, Logistics
from leadline.sampling import naive_sample
from leadline.sampling.streaming import Stream
from leadline.zoo import Specimen, build
from leadline.zoo.layers.colors import ColoredLinear, as_channels
from leadline.zoo.layers.mixture_head import MixtureHead

SMALL: dict[str, dict[str, object]] = {
    "pixelcnn": {"channels": 6, "inner": 6, "head": 6, "layers": 1, "first_kernel": 3},
    "gated-pixelcnn": {"channels": 6, "head": 6, "layers": 2, "first_kernel": 3},
    "mdrnn": {"hidden": 4, "head": 6, "layers": 1},
}


def colored(name: str, **settings: object) -> Specimen:
    sizes = {"embedding": 2, "height": 2, "width": 3, "classes": 3, "colors": 3}
    specimen = build(name, **sizes | SMALL[name] | settings)
    with torch.no_grad():
        for parameter in specimen.model.parameters():
            parameter.mul_(2)  # far from uniform
    specimen.model.eval()
    return specimen


def streams(
    specimen: Specimen, described: Likelihood | None = None, ways: Sequence[bool] = (True, False)
) -> list[Stream]:
    """Every sampler of a model, which is read once: on both machines, by wavefronts and in raster order."""
    how = {"layout": specimen.layout, "order": specimen.order, "likelihood": described}
    found = stream(specimen.model, *specimen.inputs, **how)
    assert isinstance(found, Stream)
    assert found.source.inside is not None
    assert (found.lag, found.backend) == (1, "numba")
    return [Stream(found.source, described, None, backend, way) for backend in ("numba", "torch") for way in ways]


@pytest.mark.parametrize("name", ["pixelcnn", pytest.param("gated-pixelcnn", marks=pytest.mark.slow), "mdrnn"])
def test_symbols_are_those_of_the_naive_sampler(name: str) -> None:
    specimen = colored(name, labels=3, batch=1)
    specimen = Specimen(specimen.model, (specimen.inputs[0], torch.tensor([2])), specimen.layout)
    one = {"layout": specimen.layout, "likelihood": Categorical(3)}
    kept = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.3
    begun = torch.randint(3, (1, 2, 3, 3), generator=torch.Generator().manual_seed(2))
    ways = ({"seed": 1}, {"seed": 2, "given": begun, "mask": kept}, {"seed": 3, "temperature": 0.6, "top_k": 2})
    expected = [naive_sample(specimen.model, *specimen.inputs, n=2, **one, **how) for how in ways]
    x = torch.randint(3, (2, 2, 3, 3))
    full = specimen.model(x, torch.tensor([2, 2]))
    for derived in streams(specimen):
        for how, symbols in zip(ways, expected, strict=True):
            assert torch.equal(derived.generate(2, **how), symbols)
        assert torch.allclose(derived.logits(x), full, atol=1e-4)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_part_is_computed_once_and_before_what_rests_on_it(name: str) -> None:
    for derived in streams(colored(name, height=4, width=5)):
        plan, whole = derived.drawing_plan(4), derived.source.system
        delay, slope = plan.schedule.delay, plan.schedule.slope
        for edge in plan.system.edges:
            late = delay[edge.reader] + sum(s * d for s, d in zip(slope, edge.offset, strict=True))
            assert late >= delay[edge.source]
        assert all(delay[output] < delay[symbol] for symbol, output in plan.draws.items())
        assert [delay[symbol] for symbol in plan.draws] == [0, 1, 2]
        parts, all_at_once = (
            sum(tensor.numel() for tensor in s.tensors()) for s in (derived.source.within.system, whole)
        )
        assert parts <= all_at_once


@pytest.mark.parametrize("name", ["mdrnn", *(pytest.param(n, marks=pytest.mark.slow) for n in SMALL if n != "mdrnn")])
def test_frequencies_are_the_models_probabilities(name: str) -> None:
    """Chi-square over 20,000 draws beside the enumeration of a grid of 1 × 2 pixels of three bits."""
    specimen = colored(name, classes=2, height=1, width=2)
    every = torch.tensor(list(itertools.product(range(2), repeat=6))).view(-1, 1, 2, 3)
    with torch.no_grad():
        logs = specimen.model.double()(every).log_softmax(-1).gather(-1, every.unsqueeze(-1)).flatten(1).sum(1)
    probabilities = logs.exp().numpy()
    assert abs(probabilities.sum() - 1) < 1e-12
    specimen.model.float()
    number = 2 ** torch.arange(5, -1, -1)
    for derived in streams(specimen):
        drawn = derived.generate(20_000, seed=7)
        counts = np.bincount((drawn.flatten(1) * number).sum(1).numpy(), minlength=64)
        assert scipy.stats.chisquare(counts, 20_000 * probabilities).pvalue > 1e-4


class Mixture(nn.Module):
    """What stands left and above, and a mixture of logistics that moves with the colours before."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.head = nn.Conv2d(3, 8, (2, 3)), MixtureHead(8, classes=9, colors=3, components=2)

    def forward(self, x: Tensor) -> Tensor:
        z = as_channels(x.float().unsqueeze(-1) / 9)
        above = nn.functional.pad(z, (1, 1, 2, 0))[:, :, :-1]
        return self.head(torch.tanh(self.row(above)), x)


def test_a_mixture_of_logistics_is_drawn_too() -> None:
    torch.manual_seed(0)
    specimen = Specimen(Mixture().eval(), (torch.randint(9, (1, 3, 3, 3)),), "b h w c -> b h w c v")
    how = {"layout": specimen.layout, "likelihood": Logistics(9)}
    expected = naive_sample(specimen.model, *specimen.inputs, n=2, seed=4, **how)
    for derived in streams(specimen, Logistics(9)):
        assert torch.equal(derived.generate(2, seed=4), expected)


class Several(nn.Module):
    """A line on which each point has symbols; the mask says which of them each one sees at its own point.

    `order` puts the symbols in another order in memory. Earlier points are seen by a recurrence or a convolution.
    """

    def __init__(self, count: int, classes: int, recurrent: bool, first: bool) -> None:
        super().__init__()
        self.count, self.first = count, first
        self.embed = nn.Embedding(classes, 2)
        read, made = 2 * count, 4 * count
        self.past: nn.Module = nn.GRU(read, made, batch_first=True) if recurrent else nn.Conv1d(read, made, 2)
        self.own = ColoredLinear(2 * count, 4 * count, count, "A")
        self.mix = nn.LayerNorm(4)
        self.out = nn.Parameter(torch.randn(4, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1) if self.first else x
        z = as_channels(self.embed(x).unsqueeze(1))[:, :, 0].mT  # (b, t, channels)
        if isinstance(self.past, nn.GRU):
            past = self.past(nn.functional.pad(z, (0, 0, 1, 0))[:, :-1])[0]
        else:
            past = self.past(nn.functional.pad(z.mT, (2, 0))[..., :-1]).mT
        y = (past + self.own(z)).unflatten(-1, (4, self.count)).mT
        y = torch.sigmoid(self.mix(y)) @ self.out
        return y.movedim(2, 1) if self.first else y


@settings(max_examples=examples(3, 200), deadline=None)
@given(st.integers(2, 4), st.integers(2, 4), st.booleans(), st.booleans(), st.integers(0, 99))
def test_points_of_a_line_with_several_symbols(
    count: int, classes: int, recurrent: bool, first: bool, seed: int
) -> None:
    """Stereo and codebooks: any number of symbols, beside or before the line in memory, and longer lines."""
    torch.manual_seed(seed)
    model = Several(count, classes, recurrent, first).eval()
    shape, axes = ((1, count, 5), "c t") if first else ((1, 5, count), "t c")
    specimen = Specimen(model, (torch.zeros(shape, dtype=torch.long),), f"b {axes} -> b {axes} v", order="t c")
    how = {"layout": specimen.layout, "order": specimen.order, "likelihood": Categorical(classes)}
    expected = naive_sample(model, *specimen.inputs, n=3, seed=seed, **how)
    for derived in streams(specimen, ways=[True]):
        assert torch.equal(derived.generate(3, seed=seed), expected)
        assert torch.allclose(derived.logits(expected), model(expected), atol=1e-4)
        if not first:
            assert torch.equal(derived.generate(3, seed=seed, length=9)[:, :5], expected)
            derived.reset(batch=3)
            steps = [derived.step(expected[:, t : t + 1]) for t in range(5)]
            assert torch.allclose(torch.cat(steps, 1), model(expected), atol=1e-4)


class Codebooks(nn.Module):
    """A Transformer block over the sums of what each point's codes are embedded as, and a head for each codebook.

    Its outputs at a point are of the next point; `moved` by a point, they are of their own.
    """

    def __init__(self, count: int, classes: int, moved: bool) -> None:
        super().__init__()
        self.count, self.classes, self.moved = count, classes, moved
        self.embed = nn.ModuleList(nn.Embedding(classes, 8) for _ in range(count))
        self.place, self.mixed, self.norm = nn.Embedding(16, 8), nn.Linear(8, 24), nn.LayerNorm(8)
        self.out = nn.Linear(8, count * classes)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.stack([embed(x[..., c]) for c, embed in enumerate(self.embed)]).sum(0)
        z = nn.functional.pad(z, (0, 0, 1, 0))[:, :-1] if self.moved else z
        z = z + self.place.weight[: x.shape[1]]
        query, key, value = self.mixed(self.norm(z)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        heard = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        z = z + heard.transpose(1, 2).flatten(2)
        return self.out(z).unflatten(-1, (self.count, self.classes))


def test_a_transformer_over_codebooks_is_drawn_once_its_outputs_are_of_their_own_point() -> None:
    torch.manual_seed(0)
    x, layout = torch.randint(5, (1, 6, 3)), "b t c -> b t c v"
    model = Codebooks(3, 5, moved=True).eval()
    specimen = Specimen(model, (x,), layout)
    expected = naive_sample(model, x, layout=layout, likelihood=Categorical(5), n=3, seed=1)
    for derived in streams(specimen, ways=[True]):
        assert torch.equal(derived.generate(3, seed=1), expected)
        assert torch.allclose(derived.logits(expected), model(expected), atol=1e-5)
    with pytest.raises(NotUniform, match="symbol 0 of a point rests on symbol 2 of that point"):
        stream(Codebooks(3, 5, moved=False).eval(), x, layout=layout)


class Bits(nn.Module):
    """Black and white in three inks: one logit for each, of everything before it."""

    def __init__(self) -> None:
        super().__init__()
        self.above, self.own = nn.Linear(3, 3), ColoredLinear(3, 3, 3, "A", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = x.float()
        past = nn.functional.pad(z[:, :-1], (0, 0, 0, 0, 1, 0))
        return 3 * (self.above(past) + self.own(z))


def test_one_logit_for_each_symbol() -> None:
    torch.manual_seed(0)
    specimen = Specimen(Bits().eval(), (torch.randint(2, (1, 4, 2, 3)),), "b h w c -> b h w c")
    expected = naive_sample(specimen.model, *specimen.inputs, layout=specimen.layout, likelihood=Bernoulli(), n=5)
    for derived in streams(specimen):
        assert torch.equal(derived.generate(5), expected)


class Next(nn.Module):
    """Each output sees what `mask` says of its pixel; convolutions over maps of pixels keep colours as channels."""

    def __init__(self, mask: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.mask, self.conv, self.out = mask, nn.Conv2d(3, 3, (2, 1)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        z = x.float().movedim(-1, 1)
        y = self.conv(nn.functional.pad(z, (0, 0, 2, 0))[:, :, :-1]) + self.mask(z)
        return y.movedim(1, -1).unsqueeze(-1) * self.out


def test_outputs_of_the_next_symbol_are_drawn_after_a_given_one() -> None:
    """An output sees its own symbol, and is of the one after it in the order: of the next point, after the last."""
    torch.manual_seed(0)
    x, layout = torch.randint(4, (1, 3, 4, 3)), "b h w c -> b h w c v"
    model, begun = Next(lambda z: z).eval(), torch.randint(4, (2, 3, 4, 3))
    kept = torch.zeros(3, 4, 3, dtype=torch.bool)
    kept[0, 0, 0] = True
    how = {"seed": 1, "given": begun, "mask": kept}
    expected = naive_sample(model, x, layout=layout, likelihood=Categorical(4), n=2, lag=0, **how)
    derived = stream(model, x, layout=layout, likelihood=Categorical(4))
    assert torch.equal(derived.generate(2, **how), expected)


def test_what_sees_later_symbols_is_refused_by_name() -> None:
    x = torch.randint(4, (1, 3, 4, 3))
    later = Next(lambda z: nn.functional.pad(z[:, 2:], (0, 0, 0, 0, 1, 1)))
    with pytest.raises(NotUniform, match="symbol 1 of a point rests on symbol 2"):
        stream(later, x, layout="b h w c -> b h w c v")


def test_what_is_written_for_other_programs_is_refused_by_name() -> None:
    specimen = colored("pixelcnn")
    with pytest.raises(NotUniform, match="no C is written where several symbols"):
        stream(specimen.model, *specimen.inputs, layout=specimen.layout, backend="c")
    with pytest.raises(NotUniform, match="nothing is written for other programs"):
        stream(specimen.model, *specimen.inputs, layout=specimen.layout).export("a.c")
    everywhere = Next(lambda z: z.mean((2, 3), keepdim=True))
    with pytest.raises(NotUniform, match="with those along c within a point"):
        stream(everywhere, torch.randint(4, (1, 3, 4, 3)), layout="b h w c -> b h w c v")
