"""Weights stored narrow give what a model with rounded weights gives; what it costs is measured, and may be refused."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leadline.errors import UsageError
from leadline.results import Estimate
from leadline.sampling import Stream, stream
from leadline.sampling.backends import checked_weights
from leadline.sampling.compiled import narrowing
from leadline.sampling.compiled.lanes import numbers, store
from leadline.sampling.compiled.narrowing import widened
from leadline.sampling.compiled.packing import STORED, Packing
from leadline.zoo import build

NARROW = ("float32", "bfloat16", "float16", "int8")


class Net(nn.Module):
    """Two dense layers of odd widths, the second longer than a chunk of a product, with a residual."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(9, 300), nn.Linear(300, 9)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.tanh(self.up(x)))


def rounded(weights: str, rows: Tensor) -> Tensor:
    """Round as the documentation says: to the nearest number of the type, or of 127 steps up to the row's largest."""
    if weights == "int8":
        parts = rows.split(256, 1)  # each part of a long product has its scales
        scales = [part.abs().amax(1, keepdim=True) / 127 for part in parts]
        return torch.cat([(part / s).round() * s for part, s in zip(parts, scales, strict=True)], 1)
    return rows.to(getattr(torch, weights)).to(rows.dtype)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("weights", NARROW)
def test_outputs_are_those_of_rounded_weights(weights: Any, batch: int) -> None:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(batch, 7, 9)
    made = stream(net, x, layout="b t c -> b t v", weights=weights)
    found = made.logits(x)
    copy = Net()
    copy.load_state_dict(net.state_dict())
    with torch.no_grad():
        for layer in (copy.up, copy.down):
            layer.weight.copy_(rounded(weights, layer.weight))
    torch.testing.assert_close(found, copy(x), rtol=1e-5, atol=1e-5)
    if weights != "float32":
        assert float((found - net(x)).detach().abs().max()) > 1e-5  # they were rounded


def test_a_model_in_float64_is_multiplied_in_float64() -> None:
    net, x = Net(torch.float64), torch.randn(1, 5, 9, dtype=torch.float64)
    found = stream(net, x, layout="b t c -> b t v", weights="float32").logits(x)
    with torch.no_grad():
        for layer in (net.up, net.down):
            layer.weight.copy_(layer.weight.float())
    torch.testing.assert_close(found, net(x), rtol=1e-12, atol=1e-12)


@nb.njit
def _widen(narrow: Any, memory: Any) -> None:
    narrow, into = numbers(narrow), numbers(memory)
    for at in range(0, len(memory), 16):
        store(into, at, widened(narrow, at, into))


@pytest.mark.parametrize("instruction", [True, False])
@pytest.mark.parametrize("weights", ["bfloat16", "float16", "int8"])
def test_every_stored_number_is_widened_exactly(
    weights: str, instruction: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrowing, "HALVES", instruction)
    kind = np.dtype(STORED[weights])
    stored = np.arange(2 ** (8 * kind.itemsize), dtype=np.int64).astype(kind)
    memory = np.zeros(len(stored), np.float32)
    nb.njit(_widen.py_func)(stored, memory)
    bits = torch.from_numpy(stored.astype(np.int8 if weights == "int8" else np.int16))
    wanted = bits if weights == "int8" else bits.view(getattr(torch, weights))
    finite = wanted.float().isfinite()
    assert torch.equal(torch.from_numpy(memory)[finite], wanted.float()[finite])


def test_what_narrow_weights_cost_is_an_estimate_and_may_be_too_much() -> None:
    specimen = build("wavenet", layers=3, classes=8, length=12)
    how: dict[str, Any] = {"layout": specimen.layout, "weights": "int8"}
    tokens = torch.randint(8, (5, 12))
    made = stream(specimen.model, *specimen.inputs, **how, compared_on=tokens)
    found = made.narrowed
    assert found is not None
    wide = made.source.reading.model.eval()(tokens).detach()
    gaps = (made.logits(tokens) - wide).abs().flatten(1).amax(1)
    assert found.largest == pytest.approx(float(gaps.max()), rel=1e-2)
    assert isinstance(found.score, Estimate)
    assert found.score.n == found.difference.n == 5
    right = torch.log_softmax(wide, -1).gather(-1, tokens[..., None]).mean((1, 2))
    ours = torch.log_softmax(made.logits(tokens), -1).gather(-1, tokens[..., None]).mean((1, 2))
    assert found.score.value == pytest.approx(float((right - ours).mean()), abs=1e-5)
    with pytest.raises(UsageError, match="more than within=1e-09"):
        stream(specimen.model, *specimen.inputs, **how, within=1e-9)
    drawn = stream(specimen.model, *specimen.inputs, **how, within=1e9).narrowed
    assert drawn is not None
    assert (drawn.data, drawn.score, drawn.difference.seed) == ("random", None, 0)


def test_what_cannot_be_stored_so_is_refused_by_name() -> None:
    net, x = Net(), torch.randn(1, 5, 9)

    def of(**how: Any) -> Stream:
        return stream(net, x, layout="b t c -> b t v", **how)

    with pytest.raises(UsageError, match="torch runs this stream: asked for"):
        of(weights="int8", backend="torch")
    with pytest.raises(UsageError, match="unknown weights 'int4'; did you mean 'int8'"):
        checked_weights("int4")
    with pytest.raises(UsageError, match="say which, weights="):
        of(within=0.1)
    assert of().narrowed is None
    with pytest.raises(UsageError, match="store it as bfloat16"):
        Packing("float16").packed(torch.tensor([[1e6]]), "here")
