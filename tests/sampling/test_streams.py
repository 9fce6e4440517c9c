"""A stream is the model: its logits equal the full forward pass, its samples those of the naive sampler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.causal_models import AttentionNet, Conv1dNet, MaskedConv2dNet, convolutions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline import zoo
from leadline.errors import Diverged, LeadlineError, NotCausal, NotUniform, UsageError
from leadline.likelihoods import Bernoulli, Categorical
from leadline.sampling._stream import Stream, stream
from leadline.sampling.naive import naive_sample

BACKENDS = ("torch", "numba")
QUICK = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ZOO: dict[str, dict[str, Any]] = {
    "wavenet": {"layers": 3, "classes": 8, "channels": 6, "skip": 5, "head": 7, "length": 13},
    "pixelcnn": {"height": 4, "width": 7, "channels": 8, "layers": 2},
    "gated-pixelcnn": {"height": 4, "width": 5, "layers": 2, "first_kernel": 5, "channels": 6, "positions": True},
    "mdrnn": {"height": 5, "width": 4, "hidden": 6, "reach": 1},
    "transformer": {"classes": 8, "length": 11},
    "grid-rnn": {"height": 3, "width": 5},
    "lstm": {},
}


def double(name: str) -> tuple[nn.Module, tuple[Tensor, ...], zoo.Specimen]:
    specimen = zoo.build(name, batch=2, **ZOO[name])
    inputs = tuple(x.double() if x.is_floating_point() else x for x in specimen.inputs)
    return specimen.model.double().eval(), inputs, specimen


def streams(model: nn.Module, *inputs: Any, **how: Any) -> list[Stream]:
    first = stream(model, *inputs, **how, backend=BACKENDS[0])
    return [first, *(first.using(backend) for backend in BACKENDS[1:])]


@pytest.mark.parametrize("name", ZOO)
def test_zoo_streams_equal_the_forward_pass_and_the_naive_sampler(name: str) -> None:
    model, inputs, specimen = double(name)
    expected = model(*inputs)
    first, second = streams(model, *inputs, layout=specimen.layout)
    for made in (first, second):
        assert torch.allclose(made.logits(inputs[0]), expected, rtol=0, atol=1e-10)
    if specimen.likelihood == "categorical" and first.lag == 1:
        like = Categorical(expected.shape[-1])
        naive = naive_sample(model, *inputs, layout=specimen.layout, likelihood=like, n=3, seed=4)
        for made in (first, second):
            assert torch.equal(made.generate(3, seed=4), naive)


@given(
    convolutions(7),
    st.integers(1, 3),
    st.integers(2, 17),
    st.integers(1, 6),
)
@QUICK
def test_convolutions_stream_in_chunks(layers: list[dict[str, Any]], batch: int, length: int, chunk: int) -> None:
    model = Conv1dNet(layers, 4).double().eval()
    x = torch.randn(batch, 4, length, dtype=torch.float64)
    for made in streams(model, x, layout="b c t -> b v t"):
        expected = model(x)
        assert torch.allclose(made.logits(x), expected, rtol=0, atol=1e-10)
        made.reset(batch)
        parts = [made.step(part) for part in x.split(chunk, -1)]
        assert torch.allclose(torch.cat(parts, -1), expected, rtol=0, atol=1e-10)


@given(
    st.lists(st.tuples(st.sampled_from([3, 5]), st.sampled_from([3, 5, 7])), min_size=1, max_size=3),
    st.integers(2, 6),
    st.integers(2, 6),
)
@QUICK
def test_masked_convolutions_draw_what_the_naive_sampler_draws(kernels: list[Any], height: int, width: int) -> None:
    model = MaskedConv2dNet(kernels, 3).double().eval()
    x = torch.randint(4, (2, height, width))
    layout = "b h w -> b h w v"
    naive = naive_sample(model, x, layout=layout, likelihood=Categorical(4), n=2, temperature=0.7, top_k=3)
    reading, expected = leadline.read(model, x, layout=layout), model(x)
    for wavefront in (True, False):
        for backend in BACKENDS:
            made = reading.stream(wavefront=wavefront, backend=backend)
            assert torch.allclose(made.logits(x), expected, rtol=0, atol=1e-10)
            assert torch.equal(made.generate(2, temperature=0.7, top_k=3), naive)
            assert made.schedule.length <= height * width


@pytest.mark.parametrize("window", [None, 3])
def test_attention_streams_past_the_traced_length_until_its_table_ends(window: int | None) -> None:
    model = AttentionNet(window, 4, 16).double().eval()
    x = torch.randint(5, (2, 7))
    longer = torch.randint(5, (2, 16))
    for made in streams(model, x, layout="b t -> b t v"):
        assert made.lag == 0
        assert torch.allclose(made.logits(longer), model(longer), rtol=0, atol=1e-10)
        with pytest.raises(UsageError, match="positional table ends"):
            made.generate(1, length=17, given=torch.zeros(1, 1, dtype=torch.int64))


def test_given_symbols_are_kept_and_completed_as_by_the_naive_sampler() -> None:
    model, inputs, specimen = double("wavenet")
    given_part = torch.randint(8, (1, 5))
    like = Categorical(8)
    how = {"n": 2, "seed": 1, "given": given_part, "length": 20}
    naive = naive_sample(model, *inputs, layout=specimen.layout, likelihood=like, **how)
    for made in streams(model, *inputs, layout=specimen.layout):
        drawn = made.generate(**how)
        assert torch.equal(drawn[:, :5], given_part.expand(2, -1))
        assert torch.equal(drawn, naive)


def test_a_custom_likelihood_and_encoding() -> None:
    model = nn.GRU(2, 1, batch_first=True).double()

    class Shifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(nn.functional.pad(x, (0, 0, 1, -1)))[0].squeeze(-1)

    x = torch.randn(1, 6, 2, dtype=torch.float64)

    def encode(drawn: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(drawn, 2).double()

    how = {"likelihood": Bernoulli(), "encode": encode}
    wanted = naive_sample(Shifted(), x, layout="b t c -> b t", n=3, **how)
    for made in streams(Shifted(), x, layout="b t c -> b t", **how):
        assert torch.equal(made.generate(3), wanted)


@pytest.mark.parametrize("name", ZOO)
def test_float32_is_as_close_as_its_precision(name: str) -> None:
    specimen = zoo.build(name, batch=2, **ZOO[name])
    model = specimen.model.eval()
    expected = model(*specimen.inputs)
    made = stream(model, *specimen.inputs, layout=specimen.layout)
    error = (made.logits(specimen.inputs[0]) - expected).abs().max() / expected.abs().max()
    assert error < 2e-4


@QUICK
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from(["channels", "heads", "image"]), st.booleans())
def test_group_norms_of_one_position(groups: int, wide: int, shape: str, affine: bool) -> None:
    """Positions folded into the batch, as retentive networks normalise their heads."""
    channels = groups * wide
    norm = nn.GroupNorm(groups, channels, eps=0.1, affine=affine).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor) -> Tensor:
            tail = {"channels": (), "heads": (2,), "image": (2, 1)}[shape]
            return self.norm(x.reshape(-1, channels, *tail)).reshape(x.shape)

    x = torch.randn(2, 5, channels * (1 if shape == "channels" else 2), dtype=torch.float64)
    for made in streams(Normed(), x, layout="b t c -> b t v"):
        torch.testing.assert_close(made.logits(x), Normed()(x))


def test_state_is_counted_in_rings_of_whole_lines() -> None:
    model, inputs, specimen = double("wavenet")
    fast, plain = (stream(model, *inputs, layout=specimen.layout, backend=b).state_bytes for b in ("numba", "torch"))
    assert fast % 64 == 0
    assert 0 < fast < 8 * plain


def test_a_stream_draws_again_and_otherwise_without_a_trace_of_what_it_drew() -> None:
    model, inputs, specimen = double("pixelcnn")
    made = stream(model, *inputs, layout=specimen.layout)
    first = made.generate(2, seed=3)
    assert not torch.equal(made.generate(2, seed=4), first)
    made.logits(inputs[0])
    assert torch.equal(made.generate(2, seed=3), first)
    assert torch.equal(made.generate(5, seed=3)[:2], first)


def test_types_that_the_fast_path_lacks_are_refused() -> None:
    model, x = nn.Conv1d(2, 2, 1).to(torch.bfloat16), torch.randn(1, 2, 5, dtype=torch.bfloat16)
    with pytest.raises(UsageError, match="works in float32 and float64"):
        stream(model, x, layout="b c t -> b v t", backend="numba")
    made = stream(model, x, layout="b c t -> b v t")
    assert (made.backend, "works in float32 and float64" in made.reason) == ("torch", True)
    torch.testing.assert_close(made.logits(x), model(x), rtol=0.02, atol=0.02)


def test_changed_weights_and_wrong_input_end_in_clear_errors() -> None:
    model, inputs, specimen = double("wavenet")
    made = stream(model, *inputs, layout=specimen.layout, backend="torch")
    with pytest.raises(UsageError, match="given has shape"):
        made.generate(2, given=torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(UsageError, match="has shape"):
        made.logits(torch.zeros(2, 3, 4, dtype=torch.int64))
    made.reset(batch=1)
    made.step(torch.zeros(1, 3, dtype=torch.int64))
    next(model.parameters()).data.mul_(2)  # no version is counted here
    with pytest.raises(UsageError, match="weights have changed"):
        made.generate(1)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(UsageError, match="weights have changed"):
        made.step(torch.zeros(1, 3, dtype=torch.int64))


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_that_are_no_numbers_are_refused(backend: Any) -> None:
    model, inputs, specimen = double("wavenet")
    with torch.no_grad():
        next(p for n, p in model.named_parameters() if n.startswith("logits")).fill_(float("nan"))
    with pytest.raises(Diverged, match="cannot be drawn"):
        stream(model, *inputs, layout=specimen.layout, backend=backend).generate(1)


@pytest.mark.parametrize(
    ("model", "layout", "error", "message"),
    [
        (nn.Conv1d(2, 2, 3, padding=1), "b c t -> b v t", NotCausal, "depends on the input"),
        (nn.Upsample(scale_factor=2, mode="linear"), "b c t -> b v t", NotUniform, "skipped or put into another order"),
        (nn.GroupNorm(1, 2), "b c t -> b v t", NotUniform, "mixes positions"),
        (nn.Softmax(dim=-1), "b c t -> b v t", NotUniform, "mixes positions"),
    ],
)
def test_what_is_no_causal_system_is_refused(
    model: nn.Module, layout: str, error: type[LeadlineError], message: str
) -> None:
    with pytest.raises(error, match=message):
        stream(model, torch.randn(1, 2, 8), layout=layout, backend="torch")


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1), (4, 3)])
def test_groups_that_are_normalised_row_by_row(shape: tuple[int, ...], groups: int) -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mix = nn.GroupNorm(groups, 4), nn.Conv1d(12, 12, 2)
            nn.init.normal_(self.norm.weight)

        def forward(self, x: Tensor) -> Tensor:
            used = x[..., : torch.Size(shape).numel()]
            normed = self.norm(used.reshape(-1, *shape)).view(used.shape)
            rest = x[..., used.shape[-1] :]
            return self.mix(nn.functional.pad(torch.cat([normed, rest], -1).mT, (1, 0))).mT

    model, x = Rows().double(), torch.randn(2, 6, 12, dtype=torch.float64)
    derived = stream(model, x, layout="b t c -> b t v", backend="torch")
    for row in (x, torch.randn(3, 9, 12, dtype=torch.float64)):
        torch.testing.assert_close(derived.logits(row), model(row))
