"""Jacobian operators against central differences, in every way that products are made."""

import pytest
import torch
from helpers.jacobians import CASES, by_differences
from torch import nn

from leadline.errors import Diverged, NotDifferentiable
from leadline.jacobian._jacobian import jacobian
from leadline.jacobian.kernels import same_noise


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_dense_jacobian(name):
    model, x = CASES[name]()
    J = jacobian(model, x)

    def same(point):
        with same_noise(0):
            return model(point)

    dense = by_differences(same, x)
    V, U = torch.randn(J.shape[1], 3, dtype=x.dtype), torch.randn(J.shape[0], 3, dtype=x.dtype)
    torch.testing.assert_close(J @ V, dense @ V, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(J.T @ U, dense.T @ U, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(J.dense(), dense, rtol=1e-6, atol=1e-7)
    assert (U * (J @ V)).sum() == pytest.approx((V * (J.T @ U)).sum().item())


@pytest.mark.parametrize("way", ["_by_double_backward", "_by_jvp"])
@pytest.mark.parametrize("name", ["dense", "conv", "batch norm, training", "attention"])
def test_every_way_of_making_products_agrees(name, way):
    model, x = CASES[name]()
    J = jacobian(model, x)
    V = torch.randn(3, J.shape[1], dtype=x.dtype)
    torch.testing.assert_close(getattr(J, way)()(V), V @ J.dense().T, rtol=1e-9, atol=1e-11)


class OnceBackward(torch.autograd.Function):
    """A function with a forward derivative, but no second one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**2

    @staticmethod
    def setup_context(ctx, inputs, _):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * ctx.saved_tensors[0] * tangent

    @staticmethod
    def backward(ctx, grad):
        return (2 * ctx.saved_tensors[0] * grad).detach()


def test_without_a_second_derivative_columns_are_carried_forwards():
    J = jacobian(OnceBackward.apply, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(J @ torch.eye(2), torch.diag(torch.tensor([2.0, 6.0])))
    assert J.method == "jvp"


def test_several_inputs_are_concatenated_and_integers_stand():
    def f(x, index, y):
        return x[index] * y

    x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 7.0])
    J = jacobian(f, x, torch.tensor([2, 0]), y)
    torch.testing.assert_close(J.dense(), torch.tensor([[0.0, 0, 5, 3, 0], [7, 0, 0, 0, 1]]))
    torch.testing.assert_close((J @ torch.eye(5)), J.dense())


class BackwardOnly(torch.autograd.Function):
    """A function without a forward derivative or a second one."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


def test_without_forward_products_the_transpose_still_works():
    J = jacobian(BackwardOnly.apply, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(J.dense(), torch.diag(torch.tensor([2.0, 6.0])))
    with pytest.raises(NotDifferentiable, match="only those with the transpose"):
        J.matmat(torch.ones(2, 1))


def test_flags_buffers_and_noise_are_left_alone():
    flags = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    model, x = CASES["batch norm, training"]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noise = torch.random.get_rng_state()
    jacobian(model, x).matmat(torch.ones(x.numel(), 2, dtype=x.dtype))
    assert torch.equal(torch.random.get_rng_state(), noise)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()) == flags


@pytest.mark.parametrize(
    ("f", "inputs", "error", "message"),
    [
        (nn.Embedding(3, 2), (torch.tensor([1]),), NotDifferentiable, "no floating input"),
        (torch.argmax, (torch.ones(3),), NotDifferentiable, "int64"),
        (torch.neg, (torch.ones(0),), NotDifferentiable, r"shape \(0,\) has no elements"),
        (torch.log, (torch.zeros(2),), Diverged, "not finite"),
    ],
)
def test_what_has_no_jacobian_is_said_clearly(f, inputs, error, message):
    with pytest.raises(error, match=message):
        jacobian(f, *inputs)
