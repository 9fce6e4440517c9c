"""The wavefront equals the cell-by-cell oracle: values, gradients, every transform and every nesting of two."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.grid_cases import CASES, NAMES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor, nn
from torch.func import jacfwd, jacrev, jvp, linearize, vjp, vmap

from leadline.errors import LayoutError
from leadline.grid import grid_lstm, grid_rnn

# torch's own warnings, in `linearize` and in `export`
pytestmark = [
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
]
EACH_CELL = pytest.mark.parametrize("case", [Case("tanh", 2, 2, 3, 2), Case("lstm", 2, 2, 3, 2)], ids=lambda c: c.cell)


def close(ours: object, oracle: object, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(ours, oracle, rtol=0, atol=tolerance)


@settings(max_examples=40)
@given(CASES)
def test_values_and_all_gradients(case: Case) -> None:
    arguments = [value.requires_grad_() for value in case.arguments()]
    ours, oracle = case.op(*arguments), case.oracle(*arguments)
    close(ours, oracle)
    g = torch.randn_like(ours)
    grads = [torch.autograd.grad(y, arguments, g, allow_unused=True, materialize_grads=True) for y in (ours, oracle)]
    close(*grads)


@settings(max_examples=20)
@given(CASES)
def test_jvp_and_vjp(case: Case) -> None:
    arguments = case.arguments()
    tangents = tuple(torch.randn_like(value) for value in arguments)
    (ours, d_ours), (oracle, d_oracle) = (jvp(f, arguments, tangents) for f in (case.op, case.oracle))
    close((ours, d_ours), (oracle, d_oracle))
    g = torch.randn_like(ours)
    close(vjp(case.op, *arguments)[1](g), vjp(case.oracle, *arguments)[1](g))


@EACH_CELL
@pytest.mark.parametrize("name", NAMES)
def test_tangents_and_jacobians_of_each_argument(case: Case, name: str) -> None:
    """A bare custom op would give zeros under jvp, and so in every column of jacfwd."""
    arguments, at = case.arguments(), NAMES.index(name)
    oracle = jacrev(case.oracle, at)(*arguments)
    assert oracle.abs().max() > 1e-3
    close(jacrev(case.op, at)(*arguments), oracle)
    close(jacfwd(case.op, at)(*arguments), oracle)


@settings(max_examples=20)
@given(CASES, st.lists(st.booleans(), min_size=6, max_size=6).filter(any), st.data())
def test_vmap_over_any_arguments(case: Case, mapped: list[bool], data: st.DataObject) -> None:
    arguments = list(case.arguments())
    in_dims: list[int | None] = [None] * 6
    for at in range(6):
        if mapped[at]:
            dim = in_dims[at] = data.draw(st.integers(0, arguments[at].ndim))
            arguments[at] = torch.stack([arguments[at], 0.5 * arguments[at], -arguments[at]], dim)
    ours, oracle = (vmap(f, tuple(in_dims))(*arguments) for f in (case.op, case.oracle))
    close(ours, oracle)


@EACH_CELL
def test_vmap_of_gradients_and_of_tangents(case: Case) -> None:
    arguments = case.arguments()
    x, weights = torch.stack([arguments[0], -arguments[0]]), arguments[1:]

    def per_sample(f: object, x: Tensor) -> Tensor:
        return torch.func.grad(lambda *inputs: f(*inputs).sin().sum(), argnums=(0, 1, 3))(x, *weights)

    def pushed(f: object, x: Tensor) -> Tensor:
        return jvp(lambda x: f(x, *weights), (x,), (x.cos(),))[1]

    for transform in (per_sample, pushed):
        close(*(vmap(lambda x, f=f, t=transform: t(f, x))(x) for f in (case.op, case.oracle)))


@EACH_CELL
def test_linearize(case: Case) -> None:
    arguments = case.arguments()
    tangents = tuple(torch.randn_like(value) for value in arguments)
    ours, push = linearize(case.op, *arguments)
    close((ours, push(*tangents)), jvp(case.oracle, arguments, tangents))


@EACH_CELL
@pytest.mark.parametrize("outer", [jacfwd, jacrev])
@pytest.mark.parametrize("inner", [jacfwd, jacrev])
@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 3), (4, 2), (5, 1)])
def test_second_derivatives(case: Case, outer: object, inner: object, first: int, second: int) -> None:
    arguments = case.arguments()

    def loss(f: object) -> object:
        return lambda *inputs: f(*inputs).sin().sum()

    oracle = jacrev(jacrev(loss(case.oracle), first), second)(*arguments)
    assert oracle.abs().max() > 1e-3
    close(outer(inner(loss(case.op), first), second)(*arguments), oracle)


@EACH_CELL
def test_third_derivative_along_a_line(case: Case) -> None:
    x, *weights = case.arguments()

    def along(f: object) -> object:
        return lambda t: f(t * x, *weights).sum()

    def third(f: object, d: object, e: object, g: object) -> Tensor:
        return d(e(g(f)))(torch.tensor(0.8, dtype=x.dtype))

    oracle = third(along(case.oracle), jacrev, jacrev, jacrev)
    for transforms in [(jacfwd, jacfwd, jacfwd), (jacfwd, jacrev, jacfwd), (jacrev, jacfwd, jacfwd)]:
        close(third(along(case.op), *transforms), oracle)


@EACH_CELL
def test_forward_mode_outside_of_torch_func(case: Case) -> None:
    arguments, tangent = case.arguments(), torch.randn(2, 3, 2, 2, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(arguments[0], tangent)
        out = torch.autograd.forward_ad.unpack_dual(case.op(dual, *arguments[1:]))
    oracle = jvp(lambda x: case.oracle(x, *arguments[1:]), (arguments[0],), (tangent,))
    close((out.primal, out.tangent), oracle)


@EACH_CELL
def test_gradcheck_both_modes_and_twice(case: Case) -> None:
    case = replace(case, batch=1, height=2, units=2, inputs=1)
    arguments = tuple(value.requires_grad_() for value in case.arguments())
    assert torch.autograd.gradcheck(case.op, arguments, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(case.op, arguments, fast_mode=True)


@EACH_CELL
def test_opcheck(case: Case) -> None:
    op = {"tanh": torch.ops.leadline.grid_rnn, "lstm": torch.ops.leadline.grid_lstm}[case.cell].default
    results = torch.library.opcheck(op, case.arguments())
    assert set(results.values()) == {"SUCCESS"}


class Stack(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.op = case.op
        self.weights = nn.ParameterList(case.arguments(torch.float32)[1:])

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x, *self.weights)


@EACH_CELL
def test_exports_as_one_node_that_replays(case: Case) -> None:
    model, x = Stack(case), case.arguments(torch.float32)[0]
    program = torch.export.export(model, (x,), strict=False).run_decompositions({})
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    name = {"tanh": "leadline.grid_rnn.default", "lstm": "leadline.grid_lstm.default"}[case.cell]
    assert [str(node.target) for node in calls[:1]] == [name]
    assert [node.target.__name__ for node in calls[1:]] == ["getitem"]
    close(program.module()(x), model(x), 0)


@EACH_CELL
def test_meta_tensors_have_the_shapes_of_real_ones(case: Case) -> None:
    arguments = [value.to("meta").requires_grad_() for value in case.arguments()]
    out = case.op(*arguments)
    out.sum().backward()
    assert out.shape == case.op(*case.arguments()).shape
    assert all(value.grad.shape == value.shape for value in arguments)


@EACH_CELL
def test_float32_stays_within_its_rounding(case: Case) -> None:
    arguments = case.arguments()
    ours = case.op(*(value.float() for value in arguments))
    assert ours.dtype == torch.float32
    close(ours.double(), case.oracle(*arguments), 1e-5)


def test_saturated_cells_keep_finite_gradients() -> None:
    for case in (Case("tanh", 2, 1, 4, 4), Case("lstm", 2, 1, 4, 4)):
        arguments = [(1e3 * value).requires_grad_() for value in case.arguments(torch.float32)]
        case.op(*arguments).sum().backward()
        assert all(value.grad.isfinite().all() for value in arguments)


def test_an_empty_batch_is_no_special_case() -> None:
    case = Case("lstm", 2, 0, 3, 2)
    arguments = [value.requires_grad_() for value in case.arguments()]
    out = case.op(*arguments)
    out.sum().backward()
    assert out.shape == (0, 3, 2, 3)
    assert arguments[3].grad.abs().max() == 0


@pytest.mark.parametrize("at", range(1, 6))
def test_weights_that_do_not_fit_are_named(at: int) -> None:
    arguments = list(Case("tanh", 3, 2, 3, 3).arguments())
    arguments[at] = arguments[at][1:]
    with pytest.raises((LayoutError, TypeCheckError), match=None if at == 3 else NAMES[at]):
        grid_rnn(*arguments)


def test_a_cell_with_the_wrong_number_of_gates_and_an_empty_grid_are_refused() -> None:
    with pytest.raises(LayoutError, match="5 gates"):
        grid_lstm(*Case("tanh", 1, 2, 3, 3).arguments())
    with pytest.raises(LayoutError, match="empty"):
        grid_rnn(*Case("tanh", 1, 2, 0, 3).arguments())
