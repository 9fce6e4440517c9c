"""What rests on constants is read off, whatever asks for it; what rests on inputs is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline.errors import TraceError, UnknownOp
from leadline.graph import trace
from leadline.graph.rewriting.decompositions import convolution_backward

T, C = 6, 4
LAYOUT = "b t c -> b t v"


class Written(nn.Module):
    """A function of the input, of a layer, and of whatever is a buffer."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **held: Tensor) -> None:
        super().__init__()
        self.function, self.layer = function, nn.Linear(C, C)
        for name, tensor in held.items():
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def verdict(function: Callable[[Any, Tensor], Tensor], **held: Tensor) -> tuple[str, int | None]:
    found = leadline.causality(Written(function, **held), torch.randn(2, T, C), layout=LAYOUT)
    return found.verdict.value, found.lag


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize(
    "flag",
    [
        lambda m: torch.tensor(bool(m.flag)),
        lambda m: m.flag.any(),
        lambda m: m.flag == 1,
        lambda m: bool(m.flag),
        lambda m: m.flag.sum() > 0,
    ],
    ids=["new", "any", "compared", "python", "counted"],
)
def test_cond_on_constants_is_the_branch_that_they_choose(flag: Callable[[Any], Any], seen: bool) -> None:
    def branch(model: Any, x: Tensor) -> Tensor:
        return torch.cond(flag(model), lambda a: model.layer(a.flip(1)), lambda a: model.layer(a), (x,))

    assert verdict(branch, flag=torch.tensor(seen)) == (("leak", 1 - T) if seen else ("structural", 0))
    model, x = Written(branch, flag=torch.tensor(seen)), torch.randn(2, T, C)
    assert leadline.count(model, x).macs == 2 * T * C * C
    assert leadline.memory(model, x).saved == 2 * T * C * 4


def test_cond_on_inputs_is_a_branch_on_inputs() -> None:
    with pytest.raises(TraceError, match=r"those of the input 'x'.*test_constants\.py"):
        trace(Written(lambda _, x: torch.cond(x.sum() > 0, lambda a: a * 2, lambda a: a, (x,))), torch.randn(2, T, C))


@pytest.mark.parametrize("size", [1, 7, 999])
@pytest.mark.parametrize(
    "total",
    [lambda t: sum(t.tolist()), lambda t: float(t.numpy().sum()), lambda t: sum(t.view(1, -1).tolist()[0])],
    ids=["list", "numpy", "nested list"],
)
def test_long_constants_are_read_off_whole(total: Callable[[Tensor], float], size: int) -> None:
    model, x = Written(lambda m, x: m.layer(x) * total(m.held + 1), held=torch.rand(size)), torch.randn(2, T, C)
    assert trace(model, x).verified
    with pytest.raises(TraceError, match=r"input 'x'|numpy\(\) is not supported"):
        trace(Written(lambda _, x: x[:, :1] if total(x[0, :, 0]) > 0 else x[:, :2]), x)


def test_sparse_tensors_may_lie_unused() -> None:
    held = torch.eye(3).to_sparse()
    model, x = Written(lambda m, x: m.layer(x), held=held), torch.randn(2, T, C)
    names = list(model.state_dict())
    assert leadline.count(model, x).macs == 2 * T * C * C
    assert list(model.state_dict()) == names
    assert model.held is held
    uses: list[Callable[[Any, Tensor], Tensor]] = [
        lambda m, x: x + m.held.to_dense().sum(),
        lambda m, x: torch.stack([m.held @ part[:3] for part in x]),
        lambda m, x: torch.stack([torch.sparse.mm(m.held, part[:3]) for part in x]),
        lambda m, x: x * m.held.shape[0],
    ]
    for use in uses:
        with pytest.raises(UnknownOp, match=r"held is a sparse_(coo|csr) tensor"):
            leadline.count(Written(use, held=held), x)


def test_sparse_constants_that_are_made_and_unmade() -> None:
    made = lambda m, x: torch.ones(T, T).tril().to_sparse().to_dense() @ m.layer(x)  # noqa: E731
    assert verdict(made) == ("structural", 0)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("rows", [True, False])
def test_places_among_boundaries(right: bool, rows: bool) -> None:
    """Of fixed boundaries they depend on the value alone, of computed ones on their row."""

    def found(model: Any, x: Tensor) -> Tensor:
        bounds = x.sort(-1).values if rows else torch.linspace(-1, 1, 5)
        return torch.searchsorted(bounds.contiguous(), model.layer(x).contiguous(), right=right).to(x)

    assert verdict(found) == ("structural", 0)
    x = torch.randn(2, T, C)
    assert trace(Written(found), x).verified
    along = Written(lambda _, x: torch.searchsorted(x.mT.sort(-1).values.contiguous(), x.mT.contiguous()).mT.to(x))
    assert leadline.causality(along, x, layout=LAYOUT).lag == 1 - T


def test_gradients_in_forward() -> None:
    """The gradient of an energy depends on the inputs that its second derivatives say."""

    def energy(x: Tensor) -> Tensor:
        return x.tanh().pow(2).cumsum(-2).mul(x).sum()

    model, x = Written(lambda _, x: torch.func.grad(energy)(x)), torch.randn(2, T, C)
    reading = leadline.read(model, x, layout=LAYOUT)
    seen = (torch.func.hessian(energy)(x[0]).abs() > 1e-7).any(3).any(1)
    assert torch.equal(torch.stack([reading.context(t).map for t in range(T)]), seen)
    with pytest.raises(UnknownOp, match=r"torch\.func"):
        reading.memory()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (3, 0, 2), (2, 2, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_convolutions_come_apart(
    stride: int, padding: int, dilation: int, groups: int, transposed: bool
) -> None:
    x, weight = torch.randn(2, 4, 11).double(), torch.randn(4, 4 // groups, 3).double()
    settings: Any = [stride], [padding], [dilation], transposed, [0], groups
    grad = torch.randn_like(torch.ops.aten.convolution.default(x, weight, None, *settings))
    mask = [True, False, True]
    mine = convolution_backward(grad, x, weight, [4], *settings, mask)
    theirs = torch.ops.aten.convolution_backward.default(grad, x, weight, [4], *settings, mask)
    torch.testing.assert_close(mine[0], theirs[0])
    torch.testing.assert_close(mine[2], theirs[2])
    assert mine[1] is None


def test_lazy_modules_are_read_and_stay_lazy() -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    x = torch.randn(5, C)
    assert leadline.read(model, x, layout="b c -> b v").count().macs == 5 * 3 * C
    assert all(map(torch.nn.parameter.is_lazy, (*model.parameters(), model[1].running_mean)))
