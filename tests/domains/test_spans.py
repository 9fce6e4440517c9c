"""Span against brute force on the explicit element graph, and against the laws of recurrences and stacks."""

from __future__ import annotations

import pytest
import torch
from helpers.countable import MaskedConv2d, SelfAttention
from helpers.element_graph import brute_force
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.domains._span import span
from leadline.errors import UnknownOp, UsageError
from leadline.results import Status
from leadline.zoo import build


class Output(nn.Module):
    """The outputs of a recurrence, without its final states."""

    def __init__(self, recurrence: nn.Module) -> None:
        super().__init__()
        self.recurrence = recurrence

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrence(x)[0]


class Cells(nn.Module):
    """A two-dimensional recurrence as a Python loop over layers and cells."""

    def __init__(self, layers: int, k: int) -> None:
        super().__init__()
        self.below, self.north, self.west = (
            nn.ModuleList(nn.Linear(k, k, bias=False) for _ in range(layers)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        for below, north, west in zip(self.below, self.north, self.west, strict=True):
            h: dict[tuple[int, int], Tensor] = {}
            for i in range(height):
                for j in range(width):
                    cell = below(x[:, i, j])
                    if i:
                        cell = cell + north(h[i - 1, j])
                    if j:
                        cell = cell + west(h[i, j - 1])
                    h[i, j] = torch.tanh(cell)
            x = torch.stack([torch.stack([h[i, j] for j in range(width)], 1) for i in range(height)], 1)
        return x


class Residual(nn.Module):
    """A normalised branch beside the identity, and a low-rank weight that depends on no input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.a, self.b = nn.Parameter(torch.randn(width, 1)), nn.Parameter(torch.randn(1, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.second(torch.tanh(self.first(self.norm(x))))
        return torch.softmax(x @ (self.a @ self.b), -1).cumsum(0)


class Halves(nn.Module):
    """Coupling: half of the features passes untouched, so chains run through the other half only."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        for layer in self.layers:
            b = b + torch.tanh(layer(a))
        return torch.cat([a, b], -1)


class Strict(nn.Module):
    """A chain through a strictly triangular mask: only as many products follow one another as the mask lets through."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(width, width) for _ in range(layers))
        self.register_buffer("lower", torch.ones(width, width).tril(-1))

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights:
            x = x + torch.tanh(x @ (weight * self.lower).T)
        return x


BRUTE = {
    "lstm stack": (Output(nn.LSTM(2, 3, 3, batch_first=True)), (1, 4, 2)),
    "gru both ways": (Output(nn.GRU(2, 2, 2, batch_first=True, bidirectional=True)), (2, 3, 2)),
    "projected lstm": (Output(nn.LSTM(2, 4, 2, proj_size=3)), (3, 1, 2)),
    "causal attention": (SelfAttention(causal=True, width=4, heads=2), (1, 4, 4)),
    "masked convolutions": (
        nn.Sequential(MaskedConv2d(1, 2, 3, "A"), nn.Tanh(), MaskedConv2d(2, 2, 3, "B"), nn.Tanh()),
        (1, 1, 4, 3),
    ),
    "one pixel": (nn.Sequential(*[MaskedConv2d(1, 1, 3, "A") for _ in range(4)]), (1, 1, 1, 3)),
    "grid by hand": (Cells(2, 2), (1, 3, 4, 2)),
    "residual": (Residual(3), (2, 3)),
    "halves": (Halves(2, 3), (1, 4)),
    "strictly triangular": (Strict(3, 4), (1, 3)),
    "transposed": (nn.Sequential(nn.ConvTranspose1d(2, 2, 3, stride=2), nn.Tanh(), nn.Conv1d(2, 1, 2)), (1, 2, 3)),
}


@pytest.mark.parametrize("name", BRUTE)
def test_steps_equal_the_longest_path(name: str) -> None:
    model, shape = BRUTE[name]
    x = torch.zeros(shape)
    truth = brute_force(model, x)
    found = span(model.float(), x)
    assert found.steps == truth.steps
    assert found.op_steps >= found.steps
    assert sum(step.steps for step in found.critical_path) == found.steps
    assert found.status is Status.PROVED


@pytest.mark.parametrize(("height", "width", "layers"), [(1, 1, 1), (3, 4, 1), (4, 3, 2), (2, 5, 3)])
def test_mdrnn_is_a_wavefront(height: int, width: int, layers: int) -> None:
    """Theory B5: H + W - 1 + (d - 1), for the grid operation and for a loop over its cells."""
    law = height + width - 1 + (layers - 1)
    op = build("grid-rnn", height=height, width=width, layers=layers, hidden=3, inputs=3)
    found = span(op.model, *op.inputs)
    assert (found.steps, found.op_steps) == (law, law)
    by_hand = span(Cells(layers, 2), torch.zeros(1, height, width, 2))
    assert by_hand.steps == law
    assert by_hand.op_steps == layers * (height + width - 1)


@pytest.mark.parametrize("layers", [1, 3])
def test_convolutional_stacks_are_as_long_as_they_are_deep(layers: int) -> None:
    for name in ("masked-stack", "dilated-stack"):
        specimen = build(name, layers=layers, channels=3)
        assert span(specimen.model, *specimen.inputs).steps == layers


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_stacks_are_pipelines(cell: str, explicit: bool) -> None:
    """T + L - 1, fused or as a loop over layers and time; as written, T · L one after the other."""
    specimen = build(cell, layers=3, length=5, inputs=2, hidden=2, explicit=explicit)
    found = span(specimen.model, *specimen.inputs)
    assert found.steps == 5 + 3 - 1
    assert found.op_steps == 5 * 3
    assert found.critical_path[0].place.source is not None


@given(steps=st.integers(1, 7), layers=st.integers(1, 3), late=st.integers(0, 3))
@settings(max_examples=4)
def test_a_padded_sequence_starts_late(steps: int, layers: int, late: int) -> None:
    """Zeros in front are no units: the chain begins with the first real input."""
    model = nn.Sequential(nn.ZeroPad2d((0, 0, late, 0)), Output(nn.GRU(2, 2, layers, batch_first=True)))
    assert span(model, torch.zeros(1, steps, 2)).steps == steps + layers - 1


def test_the_critical_path_names_modules_and_lines() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), SelfAttention(width=3, heads=1))
    path = span(model, torch.zeros(1, 4, 3)).critical_path
    assert [(step.place.module, step.steps) for step in path] == [
        ("0", 1),
        ("2.attention", 1),
        ("2.attention", 2),
        ("2.attention", 1),
    ]
    assert all(step.place.source and ".py:" in step.place.source for step in path)


def test_costs_override() -> None:
    model, x = SelfAttention(width=4, heads=2), torch.zeros(1, 3, 4)
    assert span(model, x).steps == 4
    assert span(model, x, costs={"attention": 3}).steps == 8
    assert span(model, x, costs={"contraction": 0}).steps == 2
    assert span(nn.Softmax(-1), torch.zeros(1, 3), costs={"softmax": 2}).steps == 2
    with pytest.raises(UsageError, match="did you mean 'softmax'"):
        span(model, x, costs={"sofmax": 1})
    with pytest.raises(UsageError, match="negative"):
        span(model, x, costs={"softmax": -1})


class Eigenvalues(nn.Module):
    """An operation that no rule knows."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x @ x.transpose(-1, -2))


def test_an_unknown_operation_raises_or_shows() -> None:
    model, x = nn.Sequential(nn.Linear(3, 3), Eigenvalues()), torch.randn(2, 3, 3)
    with pytest.raises(UnknownOp, match=r"eigh"):
        span(model, x)
    found = span(model, x, on_unknown="top")
    assert found.steps == 2
    assert found.status is Status.UNKNOWN
    assert not found.coverage.complete


def test_what_depends_on_no_input_takes_no_step() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.randn(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.a @ self.b @ self.a + 0 * x.sum()

    assert span(Constant(), torch.zeros(2)).steps == 0
