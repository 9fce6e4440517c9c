"""Every rewriting of equations keeps their values, and is done where, and only where, its conditions hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from leadline.recurrence._system import system as derive
from leadline.sampling import stream
from leadline.sampling.fusion import FusedContraction, FusedPointwise, fused


class Net(nn.Module):
    """A function of two causal convolutions and an input of four channels."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor], groups: int = 1) -> None:
        super().__init__()
        self.function = function
        self.a = nn.Conv1d(4, 4, 2, groups=groups, padding=1)
        self.b = nn.Conv1d(4, 4, 3, dilation=2, padding=4, bias=False)
        self.c = nn.Conv1d(4, 8, 1)

    def first(self, x: Tensor) -> Tensor:
        return self.a(x)[..., : x.shape[-1]]

    def second(self, x: Tensor) -> Tensor:
        return self.b(x)[..., : x.shape[-1]]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def late(x: Tensor) -> Tensor:
    return functional.pad(x, (2, -2))


def gated(net: Net, x: Tensor) -> Tensor:
    value, gate = net.c(x).chunk(2, 1)
    return torch.tanh(value) * torch.sigmoid(gate)


def twice(net: Net, x: Tensor) -> Tensor:
    y = net.first(x)
    return torch.relu(y) + torch.sigmoid(y)


# A model, and how many variables are left of its equations beside the input.
PATTERNS: dict[str, tuple[Callable[[Net, Tensor], Tensor], int]] = {
    "a function after a product": (lambda net, x: torch.relu(net.first(x)), 1),
    "a residual": (lambda net, x: x + net.first(x), 1),
    "a residual from earlier": (lambda net, x: net.first(x) + late(x), 1),
    "a sum of products": (lambda net, x: torch.sigmoid(net.first(x) + net.second(x)), 1),
    "a sum of products and more": (lambda net, x: late(x) + (net.second(x) + (x + net.first(x))), 1),
    "a stacked sum": (lambda net, x: torch.stack([net.first(x), x, net.second(x)]).sum(0), 1),
    "a gate": (gated, 2),
    "functions of operands": (lambda net, x: torch.exp(x) * torch.tanh(net.second(x)), 2),
    "two readers": (twice, 2),
    "a sum with itself": (lambda net, x: (lambda y: y + y)(net.first(x)), 2),
    "a product that is read later": (lambda net, x: torch.relu(late(net.first(x))), 2),
    "a product of which a part is read": (lambda net, x: torch.relu(net.c(x)[:, 2:6]), 2),
    "a difference": (lambda net, x: net.first(x) - net.second(x), 3),
    "scattered channels": (lambda net, x: net.first(x) + net.c(x)[:, ::2], 3),
    "a stacked mean": (lambda net, x: torch.stack([net.first(x), net.second(x)]).mean(0), 4),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_become_few_equations_with_the_same_values(name: str) -> None:
    function, left = PATTERNS[name]
    net = Net(function).double().eval()
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    assert len(fused(derive(net, x, layout="b c t -> b v t")).variables) - 1 == left
    made = stream(net, x, layout="b c t -> b v t")
    assert torch.allclose(made.logits(x), net(x), rtol=0, atol=1e-12)


def test_grouped_products_are_not_summed_into_one() -> None:
    net = Net(lambda net, x: torch.relu(net.first(x) + net.second(x)), groups=2).double().eval()
    x = torch.randn(3, 4, 7, dtype=torch.float64)
    (last,) = (v for v in fused(derive(net, x, layout="b c t -> b v t")).variables if v.name.startswith("relu"))
    assert isinstance(last.equation, FusedContraction)
    assert (len(last.equation.weights), len(last.equation.addends)) == (3, 1)
    made = stream(net, x, layout="b c t -> b v t")
    assert torch.allclose(made.logits(x), net(x), rtol=0, atol=1e-12)


def test_a_fused_function_computes_what_its_parts_compute() -> None:
    net = Net(lambda net, x: torch.exp(x) * torch.tanh(net.second(x)))
    system = derive(net, torch.randn(1, 4, 9), layout="b c t -> b v t")
    (made,) = (v.equation for v in fused(system).variables if isinstance(v.equation, FusedPointwise))
    assert made.before == ("exp", "copy")  # the tanh went into the product
    a, b = torch.randn(2, 5)
    assert torch.equal(made.call(a, b), a.exp() * b)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.tanh(x) ** 3,  # the cube is a product, whose factors pass through functions of their own
        lambda x: 1 - torch.exp(x),
        lambda x: functional.gelu(x.mul(2.0), approximate="tanh"),
        lambda x: functional.leaky_relu(torch.relu(x) - 0.5, 0.3) / 2,
    ],
)
def test_functions_of_functions_with_literals(function: Callable[[Tensor], Tensor]) -> None:
    net, x = Net(lambda _, x: function(x)), torch.randn(1, 4, 9, dtype=torch.float64)
    found = stream(net, x, layout="b c t -> b v t").logits(x)
    assert torch.allclose(found, net(x), rtol=0, atol=1e-12)


def test_a_tensor_that_is_written_over_is_what_was_written() -> None:
    class Overwritten(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.clone()
            y.copy_(torch.relu(x))
            return y - x

    x = torch.randn(1, 9, 4, dtype=torch.float64)
    found = stream(Overwritten(), x, layout="b t c -> b t v").logits(x)
    assert torch.allclose(found, torch.relu(x) - x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [5, 16, 40, 70, 300])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_any_width(width: int, batch: int, dtype: torch.dtype) -> None:
    class Cropped(nn.Conv1d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[..., : x.shape[-1]]

    net, x = Cropped(width, width + 3, 2, padding=1).to(dtype), torch.randn(batch, width, 5, dtype=dtype)
    found = stream(net, x, layout="b c t -> b v t").logits(x)
    assert torch.allclose(found, net(x), rtol=0, atol=1e-12 if dtype is torch.float64 else 1e-5)


FUNCTIONS = [
    "relu",
    "tanh",
    "sigmoid",
    "silu",
    "gelu",
    "elu",
    "leaky_relu",
    "exp",
    "square",
    "neg",
    "sqrt",
    "rsqrt",
    "log",
    "softplus",
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_of_numbers_and_of_what_is_none(function: str) -> None:
    call: Any = getattr(torch, function, None) or getattr(functional, function)

    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return call(x)

    x = torch.randn(1, 3, 11, dtype=torch.float64) * 3
    x[0, 0, 4], x[0, 1, 5], x[0, 2, 6] = torch.nan, torch.inf, -torch.inf
    found = stream(Function(), x, layout="b c t -> b v t").logits(x)
    assert torch.allclose(found, call(x), rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("call", [torch.maximum, torch.minimum])
def test_extremes_of_numbers_and_of_what_is_none(call: Any) -> None:
    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return call(x[..., :2], x[..., 2:])

    x = torch.randn(1, 9, 4, dtype=torch.float64)
    x[0, 0, 0], x[0, 1, 2], x[0, 2, 1], x[0, 3, 3] = torch.nan, torch.nan, torch.inf, -torch.inf
    found = stream(Function(), x, layout="b t c -> b t v").logits(x)
    assert torch.equal(found.nan_to_num(), call(x[..., :2], x[..., 2:]).nan_to_num())
    assert found.isnan().sum() == 2


@pytest.mark.parametrize("power", [2, 3, 0.5, -0.5])
def test_powers(power: float) -> None:
    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x**power

    x = torch.rand(1, 9, 4, dtype=torch.float64) + 0.1
    assert torch.allclose(stream(Function(), x, layout="b t c -> b t v").logits(x), x**power, rtol=1e-12)
