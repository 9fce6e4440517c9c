"""Bags of embeddings, bilinear layers and products with vectors: what they see, beside a perturbation of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline.domains.dependence import rules
from leadline.errors import UnknownOp
from leadline.graph.table import Kind


class Of(nn.Module):
    def __init__(self, function: Callable[[Any, Tensor], Tensor], layer: nn.Module) -> None:
        super().__init__()
        self.function, self.layer, self.vector = function, layer, nn.Parameter(torch.randn(4))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def windows(model: Any, x: Tensor) -> Tensor:
    """A bag for each token and the one before it."""
    return model.layer(nn.functional.pad(x, (1, 0)).unfold(1, 2, 1).reshape(-1, 2)).view(*x.shape, -1)


def offset(model: Any, x: Tensor) -> Tensor:
    """Bags of one, two and three tokens."""
    return model.layer(x.flatten(), torch.tensor([0, 1, 3]))[None, [0, 0, 1, 1, 1, 2]]


@pytest.mark.parametrize("form", [windows, offset])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_see_their_own_tokens(mode: str, padding: int | None, form: Callable[[Any, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model, x = Of(form, nn.EmbeddingBag(9, 4, mode=mode, padding_idx=padding)), torch.randint(9, (1, 6))
    seen = torch.zeros(6, 6, dtype=torch.bool)
    for others in (0, 3, 7):
        y = torch.full_like(x, others)
        before = model(y)
        for place in range(6):
            for token in range(9):
                z = y.clone()
                z[0, place] = token
                seen[:, place] |= (before != model(z))[0].any(-1)
    reading = leadline.read(model, x, layout="b t -> b t v")
    late = seen.nonzero()
    assert reading.causality().lag == int((late[:, 0] - late[:, 1]).min())
    assert reading.count().macs == 0


def test_bilinear_layers() -> None:
    model = Of(lambda m, x: m.layer(x, x.roll(1, 1)), nn.Bilinear(4, 4, 3))
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    reading = leadline.read(model, x, layout="b t c -> b t v")
    assert reading.count().macs == 10 * (4 * 4 * 3 + 4 * 3)
    assert reading.causality().verdict == "leak"
    without = Of(lambda m, x: m.layer(x, x), nn.Bilinear(4, 4, 3))
    assert leadline.causality(without, x, layout="b t c -> b t v").verdict == "structural"


VECTORS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "on the right": lambda m, e: e @ m.vector,
    "on the left": lambda m, e: m.vector @ e.mT,
    "mv": lambda m, e: torch.mv(e.flatten(0, 1), m.vector).view(e.shape[:-1]),
    "einsum": lambda m, e: torch.einsum("btc,c->bt", e, m.vector),
    "of heads": lambda m, e: (e.unflatten(-1, (2, 2)) @ m.vector[:2]).sum(-1),
}


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("name", VECTORS)
def test_products_with_a_vector_stream(name: str, backend: str) -> None:
    def gated(model: Any, x: Tensor) -> Tensor:
        e = model.layer(x)
        return e * VECTORS[name](model, e)[..., None]

    model, x = Of(gated, nn.Embedding(5, 4)).float().eval(), torch.randint(5, (2, 6))
    stream = leadline.stream(model, x, layout="b t -> b t v", backend=backend)
    torch.testing.assert_close(stream.logits(x), model(x))


def test_a_rule_that_fails_is_an_error_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Any:
        raise KeyError("dim")

    monkeypatch.setitem(rules.RULES, Kind.CUMULATIVE, fails)
    model = Of(lambda _, x: x.cumsum(1), nn.Identity())
    with pytest.raises(UnknownOp, match=r"the rule for aten\.cumsum\.default at .*test_taken_apart\.py:\d+.*KeyError"):
        leadline.causality(model, torch.randn(1, 5, 4), layout="b t c -> b t v")
