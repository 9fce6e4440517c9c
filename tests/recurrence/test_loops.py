"""Recurrences written as Python loops: streamed beside the whole forward pass, counted beside the graph level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.errors import NotUniform
from leadline.likelihoods import Categorical
from leadline.recurrence._system import system
from leadline.sampling import naive_sample

C, LAYOUT = 3, "b t c -> b t v"

READS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "index": lambda x: [x[:, t] for t in range(x.shape[1])],
    "unbind": lambda x: [*x.unbind(1)],
    "slice": lambda x: [x[:, t : t + 1].squeeze(1) for t in range(x.shape[1])],
    "split": lambda x: [part[:, 0] for part in x.split(1, dim=1)],
    "time first": lambda x: [*x.transpose(0, 1)],
}


def _written(parts: list[Tensor]) -> Tensor:
    out = parts[0].new_zeros(len(parts[0]), len(parts), parts[0].shape[-1])
    for t, part in enumerate(parts):
        out[:, t] = part
    return out


JOINS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "stack": lambda parts: torch.stack(parts, 1),
    "cat": lambda parts: torch.cat([part.unsqueeze(1) for part in parts], 1),
    "time first": lambda parts: torch.stack(parts).transpose(0, 1),
    "write": _written,
}


@dataclass(frozen=True)
class Plan:
    """A loop: how it reads and joins, which states each update rests on, what it yields and when."""

    read: str
    join: str
    updates: tuple[tuple[bool, ...], ...]  # for each state: the input, and the states before it and itself
    early: bool  # the result comes before the updates
    start: float


class Loop(nn.Module):
    """A recurrence of several states, as someone would write it."""

    def __init__(self, plan: Plan, width: int = 2) -> None:
        super().__init__()
        self.plan, self.width, n = plan, width, len(plan.updates)
        sizes = [C * rests[0] + width * sum(rests[1:]) for rests in plan.updates]
        self.layers = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.gate = nn.Linear(C, width)
        self.head = nn.Linear(n * width, 4)

    def forward(self, x: Tensor) -> Tensor:
        states = [x.new_full((len(x), self.width), self.plan.start) for _ in self.layers]
        results = []
        for u in READS[self.plan.read](x):
            if self.plan.early:
                results.append(self.head(torch.cat(states, -1)))
            gate = torch.sigmoid(self.gate(u))
            for i, (layer, rests) in enumerate(zip(self.layers, self.plan.updates, strict=True)):
                parts = [part for part, used in zip([u, *states], rests, strict=True) if used]
                states[i] = gate * torch.tanh(layer(torch.cat(parts, -1))) + (1 - gate) * states[i]
            if not self.plan.early:
                results.append(self.head(torch.cat(states, -1)))
        return JOINS[self.plan.join](results)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    n = draw(st.integers(1, 3))
    some = st.lists(st.booleans(), min_size=n + 1, max_size=n + 1).filter(any)
    updates = tuple(tuple(draw(some)) for _ in range(n))
    return Plan(
        draw(st.sampled_from(sorted(READS))), draw(st.sampled_from(sorted(JOINS))), updates, draw(st.booleans()),
        draw(st.sampled_from([0.0, 1.0])),
    )  # fmt: skip


def _streams(model: nn.Module, x: Tensor, longer: Tensor, layout: str = LAYOUT, **kwargs: object) -> leadline.Stream:
    """Check that the stream computes what the model computes, at the traced length and beyond."""
    made = leadline.stream(model, x, layout=layout, backend="torch", **kwargs)
    with torch.no_grad():
        for value in (x, longer):
            torch.testing.assert_close(made.logits(value), model(value), rtol=1e-10, atol=1e-10)
    return made


@given(plans(), st.integers(3, 6))
@settings(max_examples=examples(4, 40), deadline=None)
def test_a_loop_streams_what_it_computes(plan: Plan, length: int) -> None:
    torch.manual_seed(0)
    model = Loop(plan).double().eval()
    made = _streams(model, torch.randn(2, length, C).double(), torch.randn(2, 11, C).double())
    x = torch.randn(1, 9, C).double()
    made.reset()
    parts = [made.step(chunk) for chunk in x.split([1, 5, 3], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(x), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@given(plans())
@settings(max_examples=examples(4, 8), deadline=None)
def test_its_laws_are_the_counts_of_the_graph(plan: Plan) -> None:
    def build(T: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
        return Loop(plan).eval(), (torch.randn(1, T, C),)

    found = leadline.law(build, T=range(4, 7), layout=LAYOUT)
    model, inputs = build(9)
    whole = leadline.read(model, *inputs)
    assert found.connections.at(T=9) == whole.count().connections
    assert found.training_steps.at(T=9) == whole.span().steps


class Cells(nn.Module):
    """Two layers of torch's cells, in one loop."""

    def __init__(self, kind: type[nn.Module], bias: bool, given: bool) -> None:
        super().__init__()
        self.first, self.second, self.given = kind(C, 4, bias=bias), kind(4, 4, bias=bias), given

    def forward(self, x: Tensor) -> Tensor:
        lower = upper = x.new_zeros(len(x), 4) if self.given else None
        if self.given and isinstance(self.first, nn.LSTMCell):
            lower = upper = (lower, lower)
        results = []
        for t in range(x.shape[1]):
            lower = self.first(x[:, t], lower)
            upper = self.second(lower[0] if isinstance(lower, tuple) else lower, upper)
            results.append(upper[0] if isinstance(upper, tuple) else upper)
        return torch.stack(results, 1)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells_in_a_loop_are_layers(kind: type[nn.Module], bias: bool, given: bool) -> None:
    torch.manual_seed(0)
    model, x = Cells(kind, bias, given).double().eval(), torch.randn(2, 5, C).double()
    _streams(model, x, torch.randn(2, 12, C).double())
    assert leadline.span(model, x).steps == 5 + 1


class Tokens(nn.Module):
    """A density model: the distribution of every symbol is said before the symbol is read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(5, 4), nn.GRUCell(4, 6), nn.Linear(6, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        h = torch.zeros(len(tokens), 6, dtype=self.head.weight.dtype)
        logits = []
        for t in range(tokens.shape[1]):
            logits.append(self.head(h))
            h = self.cell(self.embed(tokens[:, t]), h)
        return torch.stack(logits, 1)


def test_samples_of_a_loop_are_the_naive_ones_on_both_backends() -> None:
    torch.manual_seed(0)
    model, tokens = Tokens().double().eval(), torch.randint(5, (1, 8))
    made = leadline.stream(model, tokens, layout="b t -> b t v")
    assert made.lag == 1
    wanted = naive_sample(model, tokens, layout="b t -> b t v", likelihood=Categorical(5), n=3, seed=4)
    assert torch.equal(made.generate(3, seed=4), wanted)
    assert torch.equal(made.using("torch").generate(3, seed=4), wanted)


class StateSpace(nn.Module):
    """A selective state space: a matrix of states for every sample, read by a computed vector."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.into, self.out = nn.Linear(C, C), nn.Linear(C, 2), nn.Linear(C, 2)
        self.rates = nn.Parameter(torch.rand(C, 2))

    def forward(self, x: Tensor) -> Tensor:
        delta = torch.sigmoid(self.step(x))
        decay = torch.exp(-delta.unsqueeze(-1) * self.rates)
        drive = (delta * x).unsqueeze(-1) * self.into(x).unsqueeze(-2)
        h, out = x.new_zeros(len(x), C, 2), torch.empty_like(x)
        for t in range(x.shape[1]):
            h = decay[:, t] * h + drive[:, t]
            out[:, t] = (h @ self.out(x)[:, t].unsqueeze(-1)).squeeze(-1)
        return out


class Rows(nn.Module):
    """A loop over the rows of a picture, each read whole."""

    def __init__(self) -> None:
        super().__init__()
        self.new, self.old = nn.Linear(C, C), nn.Linear(C, C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h, rows = torch.zeros_like(x[:, 0]), []
        for row in x.unbind(1):
            h = torch.tanh(self.new(row) + self.old(h))
            rows.append(h)
        return torch.stack(rows, 1)


class Largest(nn.Module):
    """The largest number so far, which begins below all."""

    def forward(self, x: Tensor) -> Tensor:
        top, out = x.new_full((len(x), C), -torch.inf), []
        for u in x.unbind(1):
            top = torch.maximum(top, u)
            out.append(top)
        return torch.stack(out, 1)


class Chained(nn.Module):
    """Two loops, the second one over what the first one gives."""

    def forward(self, x: Tensor) -> Tensor:
        for decay in (0.5, 0.25):
            h, out = torch.zeros_like(x[:, 0]), []
            for u in x.unbind(1):
                h = decay * h + torch.sin(u)
                out.append(h)
            x = torch.stack(out, 1)
        return x


class Heads(nn.Module):
    """A loop over features, which is none over positions."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.sin(x[..., i]) * 2 for i in range(C)], -1)


@pytest.mark.parametrize("make", [StateSpace, Largest, Chained, Heads])
def test_other_loops_stream(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    _streams(make().double().eval(), torch.randn(2, 5, C).double(), torch.randn(2, 9, C).double())


@pytest.mark.slow
def test_a_state_space_has_the_counts_of_its_graph() -> None:
    found = leadline.law(lambda T: (StateSpace().eval(), (torch.randn(1, T, C),)), T=range(4, 7), layout=LAYOUT)
    whole = leadline.read(StateSpace(), torch.randn(1, 6, C))
    assert found.connections.at(T=6) == whole.count().connections == 6 * (9 + 6 + 6 + 6)
    assert found.training_steps.at(T=6) == whole.span().steps == 2


def test_a_loop_over_rows_recurs_along_one_axis() -> None:
    torch.manual_seed(0)
    model, x = Rows().double().eval(), torch.randn(2, 4, 3, C).double()
    made = leadline.stream(model, x, layout="b h w c -> b h w v", backend="torch")
    torch.testing.assert_close(made.logits(x), model(x), rtol=1e-10, atol=1e-10)


class Uneven(nn.Module):
    """Loops whose iterations differ, by what they are told to do."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.start = kind, nn.Parameter(torch.randn(C))

    def forward(self, x: Tensor) -> Tensor:
        h, out, length = torch.zeros_like(x[:, 0]), [], x.shape[1]
        if self.kind.startswith("a learned start"):
            h = self.start.expand(len(x), C)
        if self.kind == "a computed start":
            h = x.sum(1)
        for t in range(length):
            u = x[:, length - 1 - t] if self.kind == "backwards" else x[:, t]
            if self.kind == "every other one" and t % 2:
                u = -u
            before, h = h, torch.tanh(h) + u * (t if self.kind == "its number" else 1)
            out.append(before if self.kind.endswith("yielded") else h)
        return torch.stack(out, 1)


@pytest.mark.parametrize("kind", ["a learned start", "a learned start that is yielded"])
def test_a_learned_start_is_read_where_there_is_nothing_before(kind: str) -> None:
    torch.manual_seed(0)
    model, x = Uneven(kind).double().eval(), torch.randn(2, 5, C).double()
    made = _streams(model, x, torch.randn(2, 9, C).double())
    assert torch.equal(made.using("numba").logits(x).argmax(-1), model(x).argmax(-1))


@pytest.mark.parametrize("kind", ["a computed start", "backwards", "every other one", "its number"])
def test_a_loop_whose_iterations_differ_is_refused(kind: str) -> None:
    with pytest.raises(NotUniform, match=r"position|begins with a state"):
        system(Uneven(kind).eval(), torch.randn(2, 5, C), layout=LAYOUT)
