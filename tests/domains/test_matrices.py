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
    reading = leadline.read(model, x, layout=LAYOUT)
    seen = torch.stack([reading.context(t, longer=False).map for t in range(T)])
    shown = torch.from_numpy(dependence(model, (x,), LAYOUT))
    assert torch.equal(seen, shown)
    found = reading.causality()
    assert (found.verdict.value == "leak", found.lag) == (lag < 0, lag)


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
