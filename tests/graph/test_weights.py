"""What a forward pass makes of its weights: written, assigned, computed by any operation, mapped by torch.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers.perturbation import dependence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import leadline
from leadline.errors import TraceError, UnknownOp
from leadline.graph import trace

B, T, C = 2, 5, 4
LAYOUT = "b t c -> b t v"


def _masked(weight: Tensor, mask: Tensor) -> None:
    weight.data *= mask


def _assigned(weight: Tensor, mask: Tensor) -> None:
    weight.data = weight.data * mask


def _copied(weight: Tensor, mask: Tensor) -> None:
    weight.data.copy_(weight.detach() * mask)


def _filled(weight: Tensor, mask: Tensor) -> None:
    weight.data.masked_fill_(mask == 0, 0.0)


def _zeroed(weight: Tensor, mask: Tensor) -> None:
    weight.data[mask == 0] = 0.0


def _written(weight: Tensor, mask: Tensor) -> None:
    with torch.no_grad():
        weight.mul_(mask)


def _twice(weight: Tensor, mask: Tensor) -> None:
    _masked(weight, mask)
    _assigned(weight, mask)


WAYS = (_masked, _assigned, _copied, _filled, _written, _twice)


class TimeMixer(nn.Module):
    """Mixes positions by a matrix whose entries are taken away, in one way or another, while it runs."""

    def __init__(self, way: Callable[[Tensor, Tensor], None], mask: Tensor, at: str) -> None:
        super().__init__()
        self.mix, self.way, self.at = nn.Linear(T, T, bias=False), way, at
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        before = self.mix(x.mT).mT if self.at == "between" else 0.0
        self.way(self.mix.weight, self.mask)
        return before * 0.5 + self.mix(x.mT).mT if self.at == "between" else self.mix(x.mT).mT


MASKS = st.lists(st.booleans(), min_size=T * T, max_size=T * T).map(lambda on: torch.tensor(on).float().view(T, T))


@settings(max_examples=8)
@given(st.sampled_from(WAYS), MASKS | MASKS.map(torch.tril))
def test_weights_that_are_masked_while_the_model_runs(way: Callable[[Tensor, Tensor], None], mask: Tensor) -> None:
    model, x = TimeMixer(way, mask, "before"), torch.randn(B, T, C)
    weight = model.mix.weight.detach().clone()
    reading = leadline.read(model, x, layout=LAYOUT)
    found, maps = reading.causality(), [reading.context(t).map.tolist() for t in range(T)]
    assert torch.equal(model.mix.weight, weight)
    seen = dependence(model, (x,), LAYOUT)
    assert np.array_equal(np.array(maps), seen)
    assert found.verdict == ("leak" if np.triu(seen, 1).any() else "structural")


def test_a_matrix_that_is_masked_after_it_was_used_is_seen_whole() -> None:
    model, x = TimeMixer(_masked, torch.ones(T, T).tril(), "between"), torch.randn(B, T, C)
    assert leadline.causality(model, x, layout=LAYOUT).verdict == "leak"


def test_a_tensor_of_another_shape_is_not_taken_for_the_weight() -> None:
    def widened(weight: Tensor, mask: Tensor) -> None:
        weight.data = torch.cat([mask, mask])

    with pytest.raises(TraceError, match=r"shape \(10, 5\).*to the \.data of one of shape \(5, 5\)"):
        trace(TimeMixer(widened, torch.ones(T, T), "before"), torch.randn(B, T, C))


class WeightDrop(nn.Module):
    """Puts a dropped weight in the place of a layer's own at each call."""

    def __init__(self, layer: nn.Module, name: str) -> None:
        super().__init__()
        self.layer, self.name = layer, name
        layer.register_parameter(f"{name}_raw", nn.Parameter(layer._parameters.pop(name).data))

    def forward(self, x: Tensor) -> Tensor:
        weight = functional.dropout(getattr(self.layer, f"{self.name}_raw"), 0.5, self.training)
        setattr(self.layer, self.name, weight)
        found = self.layer(x)
        return found[0] if isinstance(found, tuple) else found


DROPPED: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: WeightDrop(nn.Linear(C, 3), "weight"),
    "convolution": lambda: nn.Sequential(Transposed(WeightDrop(nn.Conv1d(C, 3, 1), "weight"))),
    "old weight norm": lambda: Transposed(nn.utils.weight_norm(nn.Conv1d(C, 3, 1))),
    "old spectral norm": lambda: Transposed(nn.utils.spectral_norm(nn.Conv1d(C, 3, 1))),
    "parametrised weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(C, 3)),
}


class Transposed(nn.Module):
    """A layer over channels first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.mT).mT


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", DROPPED)
def test_weights_put_in_place_at_each_call_before_and_after_one(name: str, training: bool) -> None:
    model, x = DROPPED[name]().train(training), torch.randn(B, T, C)
    for _ in range(2):
        found = leadline.causality(model, x, layout=LAYOUT)
        assert (found.verdict, found.lag) == ("structural", 0)
        model(x)


def _symmetric(a: Tensor) -> Tensor:
    return a @ a.mT + torch.eye(len(a))


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "qr": lambda a: torch.linalg.qr(a).Q,
    "svd": lambda a: torch.linalg.svd(a).U,
    "eigenvectors": lambda a: torch.linalg.eigh(_symmetric(a)).eigenvectors,
    "cholesky": lambda a: torch.linalg.cholesky(_symmetric(a)),
    "inverse": lambda a: torch.linalg.inv(_symmetric(a)),
    "solved": lambda a: torch.linalg.solve(_symmetric(a), a),
    "Cayley": lambda a: torch.linalg.solve(torch.eye(len(a)) + a - a.mT, torch.eye(len(a)) - a + a.mT),
    "triangular": lambda a: torch.linalg.solve_triangular(a.tril() + 9 * torch.eye(len(a)), a, upper=False),
    "exponential": lambda a: torch.matrix_exp(a - a.mT),
    "householder": lambda a: torch.linalg.householder_product(a, a[0]),
    "pseudo-inverse": torch.linalg.pinv,
    "determinant": lambda a: a * torch.linalg.det(a),
    "sign and logarithm": lambda a: a * torch.linalg.slogdet(a).logabsdet,
    "spectral norm": lambda a: a / torch.linalg.matrix_norm(a, 2),
    "sum of several": lambda a: torch.linalg.qr(a).Q @ torch.linalg.svd(a).Vh + torch.linalg.inv(_symmetric(a)),
}


class Mapped(nn.Module):
    """A product with what a map makes of a parameter, over channels or over positions."""

    def __init__(self, f: Callable[[Tensor], Tensor], *, positions: bool) -> None:
        super().__init__()
        self.weight, self.f, self.positions = nn.Parameter(torch.randn(*[T if positions else C] * 2)), f, positions

    def forward(self, x: Tensor) -> Tensor:
        made = self.f(self.weight)
        return made @ x if self.positions else x @ made


@pytest.mark.parametrize("name", MAPS)
def test_what_is_made_of_parameters_needs_no_rule(name: str) -> None:
    model, x = Mapped(MAPS[name], positions=False).eval(), torch.randn(B, T, C)
    reading = leadline.read(model, x, layout=LAYOUT)
    found, count, stream = reading.causality(), reading.count(), reading.stream(backend="torch")
    assert (found.verdict, found.lag) == ("structural", 0)
    kept = int(MAPS[name](model.weight).count_nonzero())  # of a Cholesky factor a triangle
    assert (count.connections, count.parameters) == (B * T * kept, C * C)
    torch.testing.assert_close(stream.logits(x), model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["qr", "Cayley", "exponential"])
def test_positions_mixed_by_such_a_matrix_leak(name: str) -> None:
    model, x = Mapped(MAPS[name], positions=True), torch.randn(B, T, C)
    found = leadline.causality(model, x, layout=LAYOUT)
    assert found.verdict == "leak"
    assert found.witness is not None
    assert found.witness.confirmed


@pytest.mark.parametrize("name", ["qr", "svd", "inverse", "solved"])
def test_what_is_made_of_inputs_that_way_mixes_them_and_has_no_bound(name: str) -> None:
    class OfInputs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return MAPS[name](x[0] @ x[0].mT) @ x

    reading = leadline.read(OfInputs(), torch.randn(B, T, C), layout=LAYOUT)
    found = reading.causality()
    assert found.verdict == "leak"
    assert found.witness is not None
    assert found.witness.confirmed
    with pytest.raises(UnknownOp, match=r"no rule for aten\.\w*(linalg|matrix_exp)"):
        reading.bound()


@pytest.mark.parametrize("maker", ["cayley", "matrix_exp", "householder"])
def test_orthogonal_parametrisations(maker: str) -> None:
    model = nn.utils.parametrizations.orthogonal(nn.Linear(C, C), orthogonal_map=maker)
    x = torch.randn(B, T, C)
    reading = leadline.read(model, x, layout=LAYOUT)
    assert reading.check().verdict == "structural"
    assert reading.span().steps == 1


TRANSFORMED: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "mapped": (lambda m, x: torch.vmap(m.layer)(x), "structural"),
    "mapped twice": (lambda m, x: torch.vmap(torch.vmap(lambda row: m.layer.weight @ row))(x), "structural"),
    "mapped with a constant": (lambda m, x: m.layer(torch.vmap(lambda y: y * torch.tensor(2.0))(x)), "structural"),
    "mapped over features": (lambda m, x: torch.vmap(m.mix, in_dims=2, out_dims=2)(x), "leak"),
    "a gradient inside": (lambda m, x: x + torch.func.grad(lambda z: m.layer(z).sin().sum())(x), "structural"),
    "a product with a Jacobian": (lambda m, x: torch.func.jvp(m.layer, (x,), (x,))[1] + m.layer(x), "structural"),
}


class Transforming(nn.Module):
    """Calls what it is made of under a transform of `torch.func`."""

    def __init__(self, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.call, self.layer, self.mix = call, nn.Linear(C, C), nn.Linear(T, T)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transforms_are_read_beneath(name: str) -> None:
    call, verdict = TRANSFORMED[name]
    model, x = Transforming(call), torch.randn(B, T, C)
    found = leadline.causality(model, x, layout=LAYOUT)
    assert found.verdict == verdict
    seen = dependence(model, (x,), LAYOUT)
    assert bool(np.triu(seen, 1).any()) == (verdict == "leak")
