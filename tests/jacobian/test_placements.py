"""A normalisation that is moved before the branches makes the model that is written so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leadline import gradient, remedies
from leadline.graph.reading import Reading
from leadline.jacobian._gradient import differentiated
from leadline.jacobian.placements import Placed, norms_behind, put_before
from leadline.zoo import build


def found_in(model: nn.Module, *inputs: Tensor) -> tuple[Placed, ...]:
    reading = Reading(model, inputs, {})
    with differentiated(reading) as (_, _, run):
        return norms_behind(model, run)


def moved(model: nn.Module, *inputs: Tensor) -> nn.Module:
    found, twin = found_in(model, *inputs), copy.deepcopy(model)
    assert found
    put_before(twin, found)
    return twin


def encoder(norm_first: bool, first: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=first, norm_first=norm_first) for _ in range(3)]
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("first", [True, False])
def test_torchs_layers_become_those_with_the_norm_first(first: bool) -> None:
    x = torch.randn(4, 5, 8, dtype=torch.float64)
    after, before = encoder(False, first), encoder(True, first)
    twin = moved(after, x)
    for _ in range(2):  # the second call as the first
        torch.testing.assert_close(twin(x), before(x))
    torch.testing.assert_close(after(x), encoder(False, first)(x))
    assert found_in(before, x) == ()


@pytest.mark.parametrize("placement", ["after", "branch"])
def test_batch_normalisation_of_the_zoo(placement: str) -> None:
    settings: dict[str, Any] = {"layers": 5, "width": 12, "batch": 16, "seed": 3}
    specimen = build("batchnorm", placement=placement, **settings)
    model, x = specimen.model.train(), specimen.inputs[0]
    before = build("batchnorm", placement="before", **settings).model.train()
    before.load_state_dict(model.state_dict())
    twin = moved(model, x)
    torch.testing.assert_close(twin(x), before(x))
    for name, value in before.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value)
    plain = build("batchnorm", placement="plain", **settings)
    assert found_in(plain.model, x) == ()


def test_the_transformer_of_the_zoo() -> None:
    settings: dict[str, Any] = {"layers": 3, "length": 6, "classes": 9, "heads": 2, "head_channels": 4, "seed": 1}
    specimen = build("transformer", norm="post", **settings)
    model, x = specimen.model.double(), specimen.inputs[0]
    before = build("transformer", norm="pre", **settings).model.double()
    before.load_state_dict(model.state_dict(), strict=False)
    before.norm = nn.Identity()  # type: ignore[assignment] - its last one, which the other has not
    torch.testing.assert_close(moved(model, x)(x), before(x))


class OwnNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x / x.square().mean(-1, keepdim=True).sqrt()


class Branched(nn.Module):
    """A block whose branch begins with two modules at once, and whose norm is the user's own."""

    def __init__(self, width: int, before: bool) -> None:
        super().__init__()
        self.gate, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.norm, self.before = OwnNorm(width), before

    def branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(torch.sigmoid(self.gate(x)) * self.value(x))
        return y

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(self.norm(x)) if self.before else self.norm(x + self.branch(x))


class Straight(Branched):
    """As that, but something other than modules takes x too: the block as a whole is given its norm."""

    def branch(self, x: Tensor) -> Tensor:
        return super().branch(x) + torch.sin(x)


class Within(Straight):
    """As that, but x is not what the block takes: there is nothing to give the norm to."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


@pytest.mark.parametrize("kind", [Branched, Straight])
def test_a_users_own_block_and_norm(kind: type[Branched]) -> None:
    torch.manual_seed(2)
    after = nn.Sequential(*[kind(6, before=False) for _ in range(4)]).double()
    before = nn.Sequential(*[kind(6, before=True) for _ in range(4)]).double()
    before.load_state_dict(after.state_dict())
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(moved(after, x)(x), before(x))
    assert found_in(before, x) == ()


def test_what_cannot_be_moved_stays() -> None:
    assert found_in(nn.Sequential(*[Within(6, before=False) for _ in range(4)]), torch.randn(3, 6)) == ()


@pytest.mark.slow
def test_moved_norms_mend_a_gradient_that_explodes() -> None:
    """Behind the sums each layer multiplies the gradient; before the branches it grows as a power of depth."""
    specimen = build("batchnorm", placement="after", layers=64, width=24, batch=48, seed=0)
    model, x = specimen.model.train(), specimen.inputs[0]
    before, after = gradient(model, x), gradient(moved(model, x), x)
    assert before.kind == "exploding"
    assert abs(after.rate.value) < abs(before.rate.value) / 2


def test_remedies_try_it_where_it_applies() -> None:
    for placement, times in (("after", 1), ("before", 0)):
        specimen = build("batchnorm", placement=placement, layers=3, width=4, batch=8, seed=0)
        found = remedies(specimen.model.train(), *specimen.inputs, probes=2)
        assert [each.name for each in found.tried].count("normalisations before the branches") == times
