"""Matrices as a whole, distances and places in memory: what each output sees, beside a perturbation in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.perturbation import dependence
from torch import Tensor, nn

import leadline

T, C = 4, 3
LAYOUT = "b t c -> b t v"
Way = Callable[[Tensor, Tensor], Tensor]
"""From a matrix of C × C at each place, far from singular, and the input, to an output of each place."""


def _gram(x: Tensor) -> Tensor:
    return x @ x.mT + 5 * torch.eye(T, dtype=x.dtype)


def _causal(x: Tensor) -> Tensor:
    return (x @ x.mT).tril(-1) + torch.eye(T, dtype=x.dtype)


def _padded(x: Tensor) -> Tensor:
    return nn.functional.pad(x, (0, 0, 2, 0)).contiguous()


EACH_PLACE: dict[str, Way] = {
    "inverse": lambda m, x: torch.linalg.inv(m).sum(-1) + x,
    "solve": lambda m, x: torch.linalg.solve(m, x.unsqueeze(-1)).squeeze(-1),
    "solve a vector": torch.linalg.solve,
    "solve from the right": lambda m, x: torch.linalg.solve(m, x.unsqueeze(-2), left=False).squeeze(-2),
    "lu": lambda m, x: torch.linalg.lu_solve(*torch.linalg.lu_factor(m), x.unsqueeze(-1)).squeeze(-1),
    "cholesky_solve": lambda m, x: torch.cholesky_solve(x.unsqueeze(-1), torch.linalg.cholesky(m @ m.mT)).squeeze(-1),
    "determinant": lambda m, x: torch.linalg.det(m).unsqueeze(-1) + x,
    "log of it": lambda m, x: torch.slogdet(m)[1].unsqueeze(-1) + x,
    "qr": lambda m, x: torch.linalg.qr(m)[1].sum(-1) + x,
    "singular values": lambda m, x: torch.linalg.svdvals(m) + x,
    "eigenvalues": lambda m, x: torch.linalg.eigvalsh(m + m.mT) + x,
    "exponential": lambda m, x: torch.matrix_exp(m * 0.1).sum(-1) + x,
    "pseudoinverse": lambda m, x: torch.linalg.pinv(m).sum(-1) + x,
    "distances to a codebook": lambda _, x: (-torch.cdist(x, torch.eye(2, C).to(x))).softmax(-1),
    "in the largest norm": lambda _, x: torch.cdist(x, torch.ones(1, 2, C).to(x), p=float("inf")),
}
ALONG_TIME: dict[str, tuple[Way, int]] = {
    "a causal triangle": (lambda _, x: torch.linalg.solve_triangular(_causal(x), x, upper=False), 0),
    "a triangle from below": (lambda _, x: torch.linalg.solve_triangular(_causal(x).mT, x, upper=True), 1 - T),
    "a Cholesky factor": (lambda _, x: torch.linalg.cholesky(_gram(x)) @ torch.ones(T, 2).to(x), 0),
    "whitening": (lambda _, x: torch.linalg.solve_triangular(torch.linalg.cholesky(_gram(x)), x, upper=False), 0),
    "a whole solve": (lambda _, x: torch.linalg.solve(_gram(x), x), 1 - T),
    "distances": (lambda _, x: torch.cdist(x, x).sum(-1, keepdim=True), 1 - T),
    "windows": (lambda _, x: _padded(x).as_strided((2, T, 3, C), (C * (T + 2), C, C, 1)).mean(2), 0),
    "a shift": (lambda _, x: torch.as_strided(_padded(x), (2, T, C), (C * (T + 2), C, 1), C), 1),
}


KNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "lower": torch.tril,
    "upper": torch.triu,
    "diagonal": lambda a: torch.diag_embed(a.diagonal()),
    "blocks": lambda a: a * torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).to(a),
    "block triangle": lambda a: a * torch.ones(2, 2).tril().kron(torch.ones(2, 2)).to(a),
    "backwards": lambda a: a.tril().flip(0),
    "sums": lambda a: a.tril(-1) + torch.eye(T).to(a),
    "product": lambda a: a.tril() @ a.tril(),
    "dense": lambda a: a,
}
"""Matrices over positions of which some elements are zero, whatever the others are."""
USES: dict[str, Way] = {
    "solve": torch.linalg.solve,
    "solve from the right": lambda a, x: torch.linalg.solve(a, x.mT, left=False).mT,
    "inverse": lambda a, x: torch.linalg.inv(a) @ x,
    "exponential": lambda a, x: torch.linalg.matrix_exp(a) @ x,
    "triangle from the right": lambda a, x: (
        torch.linalg.solve_triangular(a.triu() + torch.eye(T).to(a), x.mT, upper=True, left=False).mT
    ),
    "of inputs": lambda a, x: torch.linalg.solve(a * (1 + (x[..., :1] @ x[..., :1].mT).sigmoid()), x),
    "inverse of inputs": lambda a, x: torch.linalg.inv(a * (1 + (x @ x.mT).sigmoid())),
    "lu": lambda a, x: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), x),
    "lu, turned": lambda a, x: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), x, adjoint=True),
    "lu from the right": lambda a, x: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), x.mT, left=False).mT,
    "lu of inputs": lambda a, x: torch.linalg.lu_solve(*torch.linalg.lu_factor(a * (2 + x[..., :1].sin())), x),
    "power": lambda a, x: torch.linalg.matrix_power(a, 3) @ x,
    "power of the inverse": lambda a, x: torch.linalg.matrix_power(a, -2) @ x,
    "upper factor": lambda _, x: torch.linalg.cholesky(_gram(x), upper=True).mT,
    "factor of a parameter": lambda a, x: torch.linalg.cholesky(a @ a.mT + torch.eye(T).to(a)) @ x,
}
MASKS = (torch.tensor([[1], [0], [1], [1]]), torch.ones(T, C).tril(), torch.zeros(T, 1), torch.ones(T, C))


class OfKnown(nn.Module):
    """A matrix over positions, a buffer or a parameter, with known zeros, and what uses it."""

    def __init__(self, zeros: str, use: str, *, buffer: bool) -> None:
        super().__init__()
        self.zeros, self.use, value = zeros, use, torch.randn(T, T)
        self.register_buffer("a", value) if buffer else setattr(self, "a", nn.Parameter(value))

    def forward(self, x: Tensor) -> Tensor:
        return USES[self.use](KNOWN[self.zeros](self.a), x)


class Whole(nn.Module):
    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way, self.a, self.b = way, nn.Linear(C, C), nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        m = 3 * torch.eye(C, dtype=x.dtype) + torch.tanh(self.a(x)).unsqueeze(-1) * torch.tanh(self.b(x)).unsqueeze(-2)
        return self.way(m, x)


def _judge(way: Way, lag: int) -> None:
    torch.manual_seed(0)
    model, x = Whole(way).double().eval(), torch.randn(2, T, C, dtype=torch.float64)
    found = leadline.causality(model, x, layout=LAYOUT)
    assert torch.equal(_seen(model, x), torch.from_numpy(dependence(model, (x,), LAYOUT)))
    assert (found.verdict.value == "leak", found.lag) == (lag < 0, lag)


def _seen(model: nn.Module, x: Tensor) -> Tensor:
    reading = leadline.read(model, x, layout=LAYOUT)
    return torch.stack([reading.context(t, longer=False).map for t in range(T)])


def _moved(model: nn.Module, x: Tensor) -> Tensor:
    """Say which places change which, beyond rounding: elimination leaves some of it beside a triangle."""
    jacobian = torch.autograd.functional.jacobian(model, x)
    return (jacobian[0, ..., 0, :, :].abs() > 1e-9).any(1).any(-1)


@pytest.mark.slow
@pytest.mark.parametrize("buffer", [True, False])
@pytest.mark.parametrize("zeros", KNOWN)
@pytest.mark.parametrize("use", USES)
def test_every_pattern_of_zeros(use: str, zeros: str, buffer: bool) -> None:
    test_zeros_of_a_matrix_are_zeros_of_its_inverse(use, zeros, buffer)


@pytest.mark.parametrize(
    ("use", "zeros", "buffer"),
    [(use, ("backwards", "block triangle", "lower")[i % 3], i % 2 == 0) for i, use in enumerate(USES)],
)
def test_zeros_of_a_matrix_are_zeros_of_its_inverse(use: str, zeros: str, buffer: bool) -> None:
    torch.manual_seed(1)
    model, x = OfKnown(zeros, use, buffer=buffer).double().eval(), torch.randn(2, T, C, dtype=torch.float64)
    seen, moved = _seen(model, x), _moved(model, x)
    if use == "power of the inverse" and buffer:  # a constant that torch works out at once, with its rounding
        assert not bool((moved & ~seen).any())
    else:
        assert torch.equal(seen, moved)


CONSTANT: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "lu": lambda a: torch.linalg.lu_factor(a),
    "pseudoinverse": lambda a: (a,),
    "cholesky": lambda a: (torch.linalg.cholesky(a @ a.mT + torch.eye(T).to(a)),),
    "cholesky, upper": lambda a: (torch.linalg.cholesky(a @ a.mT + torch.eye(T).to(a), upper=True),),
    "inverse of it": lambda a: (torch.linalg.cholesky(a @ a.mT + torch.eye(T).to(a)),),
}
"""What is made of a matrix before the model runs."""
OF_CONSTANT: dict[str, Callable[..., Tensor]] = {
    "lu": lambda x, factors, pivots: torch.linalg.lu_solve(factors, pivots, x),
    "pseudoinverse": lambda x, a: torch.linalg.pinv(a) @ x,
    "cholesky": lambda x, factor: torch.cholesky_solve(x, factor),
    "cholesky, upper": lambda x, factor: torch.cholesky_solve(x, factor, upper=True),
    "inverse of it": lambda x, factor: torch.cholesky_inverse(factor) @ x,
}


class OfConstant(nn.Module):
    def __init__(self, zeros: str, use: str) -> None:
        super().__init__()
        self.use = use
        for i, part in enumerate(CONSTANT[use](KNOWN[zeros](torch.randn(T, T, dtype=torch.float64)))):
            self.register_buffer(f"part{i}", part)

    def forward(self, x: Tensor) -> Tensor:
        return OF_CONSTANT[self.use](x, *self.buffers())


@pytest.mark.slow
@pytest.mark.parametrize("zeros", KNOWN)
@pytest.mark.parametrize("use", CONSTANT)
def test_every_constant(use: str, zeros: str) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        model, x = OfConstant(zeros, use), torch.randn(2, T, C, dtype=torch.float64)
        assert torch.equal(_seen(model, x), _moved(model, x))


@pytest.mark.parametrize(("use", "zeros"), [("lu", "lower"), ("lu", "backwards"), ("pseudoinverse", "lower")])
def test_zeros_of_constants_come_through_elimination(use: str, zeros: str) -> None:
    torch.manual_seed(2)
    model, x = OfConstant(zeros, use), torch.randn(2, T, C, dtype=torch.float64)
    assert torch.equal(_seen(model, x), _moved(model, x))


def test_a_pseudoinverse_of_a_singular_triangle_is_dense() -> None:
    """Nothing is said of one that has no inverse but that it falls into the blocks of the matrix."""
    model, x = OfConstant("lower", "pseudoinverse"), torch.randn(2, T, C, dtype=torch.float64)
    model.part0[1, 1] = model.part0[3, :3] = 0
    seen = _seen(model, x)
    assert not bool((_moved(model, x) & ~seen).any())
    assert seen.int().tolist() == [[1, 1, 1, 0]] * 3 + [[0, 0, 0, 1]]


@pytest.mark.parametrize("mask", MASKS)
def test_elements_put_down_under_a_constant_mask_come_in_order(mask: Tensor) -> None:
    class Put(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (2 * x).masked_scatter(mask.bool(), x.sin())

    x = torch.randn(2, T, C, dtype=torch.float64)
    assert torch.equal(_seen(Put(), x), _moved(Put(), x))


@pytest.mark.parametrize("way", sorted(EACH_PLACE))
def test_matrices_of_a_place_see_that_place(way: str) -> None:
    _judge(EACH_PLACE[way], 0)


@pytest.mark.parametrize("way", sorted(ALONG_TIME))
def test_matrices_over_all_places(way: str) -> None:
    _judge(*ALONG_TIME[way])


def test_what_solutions_multiply_is_unknown_and_so_are_their_steps() -> None:
    reading = leadline.read(Whole(torch.linalg.solve), torch.zeros(2, T, C))
    for ask in (reading.count, reading.span):
        with pytest.raises(leadline.errors.UnknownOp, match="linalg_solve"):
            ask()
    found = reading.count(on_unknown="top")
    assert (found.macs, found.status.value) == (2 * 2 * T * C * C, "bound")
    assert reading.span(costs={"matrices": 5}).steps == 6


@pytest.mark.parametrize("product", [torch.dot, torch.vdot])
def test_a_product_of_two_vectors_is_one_number(product: Callable[[Tensor, Tensor], Tensor]) -> None:
    found = leadline.count(Whole(lambda _, x: product(x[0, 0], x[0, 1])), torch.zeros(2, T, C))
    assert (found.macs, found.connections) == (C, C)


def test_places_in_the_memory_of_another_tensor_are_not_read() -> None:
    with pytest.raises(leadline.errors.UnknownOp, match="as_strided"):
        leadline.count(Whole(lambda _, x: x[:, 1:].as_strided((2, C), (1, 1))), torch.zeros(2, T, C))


@pytest.mark.parametrize("value", [0.0, torch.tensor(2.0)])
def test_what_one_number_fills_is_not_seen(value: float | Tensor) -> None:
    model, x = Whole(lambda _, x: x.index_fill(1, torch.tensor([3, 0]), value)), torch.zeros(2, T, C)  # type: ignore[arg-type]
    seen = [leadline.context(model, x, layout=LAYOUT, position=t, longer=False).map.tolist() for t in range(T)]
    assert seen == [[False] * T, [False, True, False, False], [False, False, True, False], [False] * T]
