"""`backend="c"`: what `export` writes, compiled and loaded, is the model; it is kept, and refused where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline import zoo
from leadline.errors import NotUniform, UsageError
from leadline.likelihoods import Categorical
from leadline.sampling.exported import keeping
from leadline.sampling.exported.library import compiler
from leadline.sampling.naive import naive_sample

pytestmark = pytest.mark.skipif(not compiler(), reason="needs a C compiler")

ALONG_ONE_AXIS: dict[str, dict[str, Any]] = {
    "wavenet": {"layers": 3, "classes": 8, "channels": 6, "skip": 5, "head": 7, "length": 13},
    "transformer": {"classes": 8, "length": 11, "heads": 2, "head_channels": 4, "layers": 1},
    "lstm": {"hidden": 3, "length": 9},
    "gru": {"hidden": 3, "length": 9},
    "rnn": {"hidden": 3, "length": 9},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "leadline" / "streams"


@pytest.mark.parametrize(
    "name", ["gru", *(pytest.param(n, marks=pytest.mark.slow) for n in ALONG_ONE_AXIS if n != "gru")]
)
def test_it_is_the_forward_pass_and_draws_what_the_naive_sampler_draws(name: str) -> None:
    specimen = zoo.build(name, batch=2, **ALONG_ONE_AXIS[name])
    inputs = tuple(x.double() if x.is_floating_point() else x for x in specimen.inputs)
    model = specimen.model.double().eval()
    made = leadline.stream(model, *inputs, layout=specimen.layout, backend="c")
    with torch.no_grad():
        wanted = model(*inputs)
    torch.testing.assert_close(made.logits(inputs[0]), wanted, rtol=0, atol=1e-10)
    made.reset(2)
    time = specimen.layout.split(" -> ")[0].split().index("t")
    parts = [made.step(part) for part in inputs[0].split([1, 3, 1, inputs[0].shape[time] - 5], time)]
    torch.testing.assert_close(torch.cat(parts, time), wanted, rtol=0, atol=1e-10)
    if specimen.likelihood == "categorical" and made.lag == 1:
        like = Categorical(wanted.shape[-1])
        naive = naive_sample(model, *inputs, layout=specimen.layout, likelihood=like, n=3, seed=4)
        assert torch.equal(made.generate(3, seed=4), naive)
        assert torch.equal(made.generate(3, seed=4), naive)


@pytest.mark.slow
def test_a_language_model_continues_what_it_was_given() -> None:
    specimen = zoo.build("wavenet", layers=2, classes=6, channels=4, skip=4, head=4, length=9, lag=0)
    model = specimen.model.double().eval()
    one, two = (
        leadline.stream(model, *specimen.inputs, layout=specimen.layout, backend=backend) for backend in ("torch", "c")
    )
    first = torch.tensor([[2], [5]])
    assert torch.equal(one.generate(2, given=first), two.generate(2, given=first))


def test_what_was_compiled_is_kept_and_what_was_damaged_is_not_run(cache: Path, monkeypatch: Any) -> None:
    model, x = nn.Conv1d(1, 2, 1).double(), torch.randn(1, 1, 4).double()

    def outputs() -> Tensor:
        return leadline.stream(model, x, layout="b c t -> b v t", backend="c").logits(x)

    wanted = outputs()
    (kept,) = cache.glob("*.so")
    whole, compiled = kept.read_bytes(), []
    monkeypatch.setattr(keeping, "compiled", lambda *a, real=keeping.compiled: compiled.append(a) or real(*a))
    assert torch.equal(outputs(), wanted)
    assert not compiled
    for damaged in (whole[:-1], whole[:50] + b"x" + whole[51:]):
        kept.write_bytes(damaged)
        assert torch.equal(outputs(), wanted)
    assert len(compiled) == 2
    with torch.no_grad():
        model.weight.add_(1)
    assert not torch.equal(outputs(), wanted)  # other weights are another file
    assert len(list(cache.glob("*.so"))) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    model, x = nn.Conv1d(1, 1, 1).double(), torch.randn(1, 1, 4).double()
    with torch.no_grad():
        torch.testing.assert_close(
            leadline.stream(model, x, layout="b c t -> b v t", backend="c").logits(x), model(x), rtol=0, atol=1e-12
        )


def test_what_has_no_c_is_refused_when_the_stream_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inverse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erfinv(x.tanh())

    x = torch.zeros(1, 1, 5)
    with pytest.raises(NotUniform, match="no C is written for erfinv"):
        leadline.stream(Inverse(), x, layout="b c t -> b v t", backend="c")
    picture = zoo.build("pixelcnn", height=4, width=4, layers=1, channels=4, inner=2, classes=3)
    with pytest.raises(NotUniform, match="written for one axis"):
        leadline.stream(picture.model, *picture.inputs, layout=picture.layout, backend="c")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(UsageError, match="backend='c' needs a C compiler"):
        leadline.stream(nn.Conv1d(1, 1, 1), x, layout="b c t -> b v t", backend="c")
