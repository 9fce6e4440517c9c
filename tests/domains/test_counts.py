"""Counts against the truth table by hand, published models' closed forms, and the explicit element graph."""

from __future__ import annotations

import pytest
import torch
from helpers.countable import Case, MaskedConv2d, SelfAttention, masked_taps, truth_table
from helpers.element_graph import brute_force
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.domains._count import Tally, count
from leadline.errors import UnknownOp
from leadline.results import Status


@pytest.mark.parametrize("case", truth_table(), ids=lambda case: case.name)
def test_truth_table(case: Case) -> None:
    found = count(case.model, *case.inputs)
    assert found.macs == case.macs
    assert found.connections == case.connections
    assert found.parameters == sum(p.numel() for p in case.model.parameters())
    assert found.status is Status.PROVED
    total = Tally(found.connections, found.macs, found.parameters, found.macs_masked)
    assert sum(found.by_module.values(), Tally()) == total


class Side(nn.Module):
    """Several models beside one another on the same input, so that one trace serves all."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [model(x) for model in self.models]


@st.composite
def convolutions(draw: st.DrawFn, size: int) -> nn.Module:
    """Draw a convolution, or a transposed one, from two to four channels."""
    kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    reach, transposed = dilation * (kernel - 1), draw(st.booleans())
    least = max(0, -(-(reach + 1 - size) // 2))
    padding = draw(st.integers(0, min(3, reach)) if transposed else st.integers(least, least + 3))
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    stride, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2]))
    return kind(2, 4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)


@given(models=st.lists(convolutions(size=7), min_size=8, max_size=8))
@settings(max_examples=3)
def test_convolutions_count_the_edges_that_exist(models: list[nn.Module]) -> None:
    """The Jacobian's support, whatever the stride, dilation, padding and groups."""
    model, x = Side(models), torch.zeros(2, 2, 7)
    truth = brute_force(model, x)
    found = count(model.float(), x)
    assert [found.by_module[f"models.{i}"].connections for i in range(8)] == list(truth.by_op.values())
    assert found.macs == truth.macs


@pytest.mark.parametrize("kind", ["A", "B"])
def test_masked_and_padded_convolution(kind: str) -> None:
    """Theory B2's terms, k_in · k_out · (H - |δi|)(W - |δj|) for each unmasked tap."""
    model, x = MaskedConv2d(2, 3, 3, kind), torch.zeros(1, 2, 4, 4)
    assert count(model, x).connections == 2 * 3 * masked_taps(3, 4, kind)
    assert_edges(model, x)


class Padded(nn.Module):
    """Concatenates zeros, ones, a parameter and the input before one linear map: only the last are units."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Parameter(torch.randn(2))
        self.linear = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.cat([x.new_zeros(2), x, x.new_ones(1), self.extra]))


class Products(nn.Module):
    """Data times data, data times constants, constants times constants."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4, 3))
        self.register_buffer("lower", torch.ones(4, 4).tril())

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.tanh(x @ x.transpose(-1, -2)) * self.lower
        return (scores @ x) @ (self.a.T @ self.b.T)


class Cropped(nn.Module):
    """Computes more than it returns: rows, channels, positions and queries that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, (2, 3), padding=1, groups=2)
        self.transposed = nn.ConvTranspose2d(2, 2, 3, stride=2)
        self.linear, self.attention = nn.Linear(3, 4), SelfAttention(causal=True, width=4, heads=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        above = torch.tanh(self.conv(x))[:, :3, :2, 1:]
        every_second = torch.tanh(self.transposed(x))[:, :, 1:5:2, :3]
        row = torch.tanh(x @ x.transpose(-1, -2))[:, :, 0] @ x.new_ones(3, 2)
        return [above, every_second, row, self.linear(x)[..., :2], self.attention(self.linear(x[:, 0]))[:, 1:2]]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Padded(), (2,)),
        (Cropped(), (2, 2, 3, 3)),
        (Products(), (2, 4, 4)),
        (SelfAttention(causal=True, width=4, heads=2), (1, 5, 4)),
        (SelfAttention(width=4, heads=2), (2, 3, 4)),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Unflatten(1, (3, 1)), nn.Linear(1, 2)), (2, 2, 2)),
        (nn.Sequential(nn.ZeroPad2d((2, 0, 1, 0)), nn.Conv2d(1, 2, (2, 3)), nn.Tanh(), nn.AvgPool2d(2)), (1, 1, 4, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "x",
)
def test_edges_equal_brute_force(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert_edges(model, torch.zeros(shape))


class GivenState(nn.Module):
    """A recurrence whose initial state is an input, so that the oracle calls it a unit too."""

    def __init__(self, recurrence: nn.Module, states: int) -> None:
        super().__init__()
        self.recurrence, self.states = recurrence, states

    def forward(self, x: Tensor, *states: Tensor) -> Tensor:
        return self.recurrence(x, states if self.states == 2 else states[0])[0]


@pytest.mark.parametrize(("kind", "bidirectional"), [(nn.RNN, False), (nn.GRU, True), (nn.LSTM, True)])
def test_recurrences_count_their_initial_states(kind: type[nn.RNNBase], bidirectional: bool) -> None:
    """Gates · k (k_in + k) a step and direction; the state that starts is a unit, given or not."""
    model = kind(3, 2, 2, batch_first=True, bidirectional=bidirectional)
    x, state = torch.zeros(2, 4, 3), torch.zeros(2 * (1 + bidirectional), 2, 2)
    given = GivenState(model, 2 if kind is nn.LSTM else 1)
    states = [state.clone() for _ in range(given.states)]
    found, truth = count(model, x), brute_force(given, x, *states)
    assert found.connections == truth.connections == count(given.float(), x, *states).connections
    assert found.connections == found.macs == truth.macs


class Eigenvalues(nn.Module):
    """A product, and an operation that no rule knows."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x @ x.transpose(-1, -2))


def test_an_unknown_operation_is_never_zero() -> None:
    model, x = nn.Sequential(nn.Linear(3, 3), Eigenvalues()), torch.randn(2, 3, 3)
    with pytest.raises(UnknownOp, match=r"eigh.* at 1 \(.*test_counts\.py:\d+\)"):
        count(model, x)
    found = count(model, x, on_unknown="top")
    assert found.macs == 2 * 27 + 2 * 27
    assert found.status is Status.BOUND
    assert [gap.place.module for gap in found.coverage.gaps] == ["1"]


class Unread(nn.Module):
    """Computes more than it returns: for nobody, in one of two ways, and for a buffer."""

    def __init__(self, written: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 4)
        self.written = written
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.c(self.b(x))
        if self.written:
            self.mean.mul_(0.9).add_((x.T @ x).sum())
            with_windows = torch.nn.functional.interpolate(x[None, None], scale_factor=2.0, mode="bicubic")
            return self.a(x) + with_windows.mean()
        return self.a(x)


@pytest.mark.parametrize("written", [False, True])
def test_what_no_output_rests_on_is_named(written: bool) -> None:
    """Neither what nobody reads, nor what goes into a buffer alone, whether the trace drops it or not."""
    found = count(Unread(written), torch.zeros(2, 3))
    assert found.macs == found.by_module["a"].macs == 24
    assert sorted(gap.place.module for gap in found.unread) == ["", "b", "c"][1 - written :]


class Asking(nn.Module):
    """Takes another way to the same result while it is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.compiler.is_compiling():
            return self.layer(x)
        return torch.cat([self.layer(row) for row in (x[:1], x)])[1:]


def test_the_way_that_is_traced_is_counted() -> None:
    assert count(Asking(), torch.zeros(2, 3)).macs == 24


def test_a_projected_lstm() -> None:
    """Gates 4 · h (k_in + p) and the projection h · p, a step."""
    found = count(nn.LSTM(3, 5, proj_size=2, batch_first=True), torch.zeros(2, 4, 3))
    assert found.macs == found.connections == 2 * 4 * (4 * 5 * (3 + 2) + 5 * 2)


def assert_edges(model: nn.Module, *inputs: Tensor) -> None:
    truth = brute_force(model, *inputs)
    found = count(model.float(), *inputs)
    assert (found.connections, found.macs) == (truth.connections, truth.macs)
