"""Backward passes of custom autograd functions, against torch's own counter over a real forward and backward pass."""
# ruff: noqa: ARG004 - signatures are those of autograd's

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.training_counts import assert_as_torch, counted_by_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from leadline.audit.architecture import find_architecture
from leadline.domains._count import Backward, count
from leadline.errors import UnknownOp

WIDTH = 3


class Product(Function):
    """A product that multiplies more often backwards, and only where it is asked to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, times: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.times = times
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        of_x = grads[0] @ weight.T if ctx.needs_input_grad[0] else None
        for _ in range(ctx.times if ctx.needs_input_grad[0] else 0):
            of_x = of_x @ weight.T
        of_weight = torch.einsum("bi,bo->io", x, grads[0]) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None


class Parts(Function):
    """Two outputs, of which one has no gradient, with a context of its own; its backward pass forgets the weight."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, times: int) -> tuple[Tensor, Tensor, Tensor]:
        found = x @ weight
        return found, found * 2, found.argmax(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.mark_non_differentiable(output[1], output[2])
        ctx.set_materialize_grads(inputs[2] > 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        (weight,) = ctx.saved_tensors
        assert grads[0] is not None
        return grads[0].mm(weight.T), None, None


class Again(Function):
    """Computes its forward pass again, with gradients, and differentiates it by autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, times: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.times = times
        return Again.run(x, weight, times)

    @staticmethod
    def run(x: Tensor, weight: Tensor, times: int) -> Tensor:
        for _ in range(times + 1):
            x = nn.functional.linear(x, weight).tanh()
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inputs = [saved.detach().requires_grad_() for saved in ctx.saved_tensors]
        with torch.enable_grad():
            found = Again.run(*inputs, ctx.times)
        return *torch.autograd.grad(found, inputs, grads[0]), None


class Nested(Function):
    """Calls another function of its own forwards, and differentiates it backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, times: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.times = times
        return Product.apply(x, weight, times).tanh()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inputs = [saved.detach().requires_grad_() for saved in ctx.saved_tensors]
        with torch.enable_grad():
            found = Product.apply(*inputs, ctx.times).tanh()
            return *torch.autograd.grad(found, inputs, grads[0]), None


class InPlace(Function):
    """Writes into its argument, and hands a gradient to nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, times: int) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(weight)
        return x.mul_(2).add_(times)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        return (grads[0] @ weight) if ctx.needs_input_grad[0] else None, None, None


class Layer(nn.Module):
    """A custom function behind a layer, which may be left out, and before something that reads one of its results."""

    def __init__(self, function: type[Function], times: int, before: bool, how: str) -> None:
        super().__init__()
        self.function, self.times, self.how = function, times, how
        self.before = nn.Linear(WIDTH, WIDTH) if before else nn.Identity()
        self.weight = nn.Parameter(torch.eye(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "plain":
            return self.run(x)
        if self.how == "frozen":
            with torch.no_grad():
                return self.run(x)
        return checkpoint(self.run, x, use_reentrant=self.how == "reentrant")

    def run(self, x: Tensor) -> Tensor:
        taken = self.before(x) * 1
        found = self.function.apply(taken, self.weight, self.times)
        return taken if isinstance(found, Tensor) and self.function is InPlace else (
            found if isinstance(found, Tensor) else found[self.times % 2])  # fmt: skip


def stack(draw: st.DrawFn, hows: list[str]) -> tuple[nn.Sequential, Tensor]:
    functions = [Product, Parts, Again, Nested, InPlace]
    layers = [
        Layer(
            draw(st.sampled_from(functions)), draw(st.integers(0, 2)), draw(st.booleans()), draw(st.sampled_from(hows))
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 2))
    for parameter in model.parameters():
        parameter.requires_grad_(draw(st.sampled_from([True, True, False])))
    return model, torch.ones(4, WIDTH).requires_grad_(draw(st.booleans()))


@given(st.data())
@settings(max_examples=3, deadline=None)
def test_generated_functions(data: st.DataObject) -> None:
    """Products asked for or not, gradients handed on or not, several outputs, functions within functions."""
    model, x = stack(data.draw, ["plain", "plain", "frozen"])
    assert_as_torch(model, x)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_many_generated_functions(data: st.DataObject) -> None:
    model, x = stack(data.draw, ["plain", "plain", "frozen"])
    assert_as_torch(model, x)


@given(st.data())
@settings(max_examples=3, deadline=None)
def test_within_checkpoints(data: st.DataObject) -> None:
    """As without checkpoints, which do again what a function does forwards."""
    model, x = stack(data.draw, ["plain", "reentrant", "not reentrant"])
    x.requires_grad_()
    found = count(model, x, backward=True)
    for layer in model:
        if isinstance(layer, Layer):
            layer.how = "plain"
    assert found.backward is not None
    assert (found.macs, found.backward.macs) == counted_by_torch(model, x)


class Blocks(Function):
    """Runs modules forwards without gradients, and again with them, as diffusion models do to save memory."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor], count_inputs: int, *args: Tensor) -> Tensor:
        ctx.run, ctx.inputs, ctx.weights = run, list(args[:count_inputs]), list(args[count_inputs:])
        with torch.no_grad():
            return run(*ctx.inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inputs = [x.detach().requires_grad_() for x in ctx.inputs]
        with torch.enable_grad():
            found = ctx.run(*(x.view_as(x) for x in inputs))
        asked = [*inputs, *ctx.weights]
        return None, None, *torch.autograd.grad(found, asked, grads, allow_unused=True)


class Reversible(Function):
    """Collects the gradients of a module's weights by a backward pass within its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(x)
        return x + module(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            found = x + ctx.module(x)
        torch.autograd.backward(found, grads[0])
        return x.grad, None


class Saving(nn.Module):
    def __init__(self, reversible: bool) -> None:
        super().__init__()
        self.first, self.reversible = nn.Linear(3, 3), reversible
        self.inner = nn.Sequential(nn.Conv1d(3, 6, 3, padding=1, groups=3), nn.GELU(), nn.ConvTranspose1d(6, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).mT
        if self.reversible:
            return Reversible.apply(x, self.inner)  # type: ignore[no-any-return]
        return Blocks.apply(self.inner, 1, x, *self.inner.parameters())  # type: ignore[no-any-return]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("reversible", [False, True])
def test_functions_that_run_modules_again(reversible: bool, device: str) -> None:
    """The counter takes the gradient of a grouped weight for that of a whole one, three times too large."""
    model, x = Saving(reversible), torch.ones(2, 5, 3)
    own = 2 * 5 * 6 * 3
    forward, backward = counted_by_torch(Saving(reversible), x)
    found = count(model.to(device), x.to(device), backward=True)
    assert found.backward is not None
    assert (found.macs, found.backward.macs) == (forward, backward - 2 * own)
    assert all(parameter.grad is None for parameter in model.parameters())


class Instead(Function):
    """Gives one tensor, and hands the gradient to another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, grads[0]


class Fails(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise ValueError("no gradient today")


class Distances(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return x + y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, _ = ctx.saved_tensors
        return grads[0] + torch.linalg.inv(torch.eye(3)) @ x.mT @ x, grads[0]


class Two(nn.Module):
    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function, self.left, self.right = function, nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(self.left(x), self.right(x))  # type: ignore[no-any-return]


def test_what_cannot_be_read_is_refused_in_a_sentence() -> None:
    x = torch.ones(3, 3)
    with pytest.raises(UnknownOp, match=r"Instead at the model itself \(.*:\d+\) hands a gradient to its argument 1"):
        count(Two(Instead), x, backward=True)
    with pytest.raises(UnknownOp, match=r"backward pass of Fails cannot be read \(ValueError: no gradient today\)"):
        count(Two(Fails), x, backward=True)
    with pytest.raises(UnknownOp, match=r"no rule for aten.*inv.* in the backward pass of Distances at the model"):
        count(Two(Distances), x, backward=True)
    found = count(Two(Distances), x, backward=True, on_unknown="top")
    assert (found.backward, found.status.value) == (Backward(2 * 27 + 2 * 27, 2 * 27 + 2 * 27), "bound")
    assert [gap.place.source is not None for gap in found.coverage.gaps] == [True]


def test_nothing_is_run_backwards_where_nothing_asks_for_a_gradient() -> None:
    model, x = Two(Fails).requires_grad_(False), torch.ones(3, 3)
    assert count(model, x, backward=True).backward == Backward()
    assert count(Two(Fails), x).macs == 54


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
    "recurrence": lambda: Output(nn.GRU(4, 4, 2, batch_first=True)),
    "another function": lambda: Ran(nn.Linear(4, 4)),
    "a checkpoint": lambda: Checkpointed(nn.Linear(4, 4)),
    "noise": lambda: nn.Sequential(nn.LayerNorm(4), nn.Dropout(0.1), nn.Linear(4, 4), nn.BatchNorm1d(5)),
}


class Anew(Function):
    """Runs a module again, and hands a gradient to its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(x)
        return module(x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            found = ctx.module(x)
        return torch.autograd.grad(found, x, grads)[0], None


class Ran(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(4, 4), inner

    def forward(self, x: Tensor) -> Tensor:
        return Anew.apply(self.first(x), self.inner)  # type: ignore[no-any-return]


class Output(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]  # type: ignore[no-any-return]


class Checkpointed(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layer, x, use_reentrant=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_backward_pass_may_run(name: str) -> None:
    assert_as_torch(Ran(LAYERS[name]()), torch.randn(2, 5, 4))


@pytest.mark.parametrize("cell", ["mdrnn", "grid-rnn"])
def test_the_grid_recurrence_has_a_rule_of_its_own(cell: str) -> None:
    """Each product twice more, but for the gradient of an input that asks for none."""
    architecture = find_architecture(cell, [])
    made = architecture.make(**{name: values[0] for name, values in architecture.sizes.items()})
    inputs = [x.requires_grad_() if x.is_floating_point() else x for x in made.inputs]
    found = count(made.model, *inputs, backward=True)
    assert found.backward is not None
    assert found.backward.macs == 2 * found.macs
