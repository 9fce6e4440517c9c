"""Depth and time beside each other: the modules, and the steps of every recurrence, each against dense Jacobians."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline import check, gradient
from leadline.document import Curve, Table
from leadline.jacobian.chains.layers import layer_by_layer
from leadline.report.audit_document import describe_audit
from leadline.report.verdicts import cards
from leadline.zoo import ZOO, build

FUSED = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELL = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
SOME = ["gru", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("lstm", "rnn"))]
MANY = 40
"""More probes than there are numbers at an end: each is then differentiated by itself, and nothing is drawn."""


def norms(chain: Any) -> list[float]:
    return [stage.gradient.value for stage in chain.stages]


def named(found: Any) -> dict[str, Any]:
    return {chain.name: chain for chain in found.chains}


@given(
    kind=st.sampled_from(sorted(FUSED)),
    layers=st.integers(1, 3),
    both=st.booleans(),
    first=st.booleans(),
    bias=st.booleans(),
    projected=st.booleans(),
    single=st.booleans(),
    given_state=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=examples(12, 100), deadline=None)
def test_layer_by_layer_is_the_fused_module(
    kind: str,
    layers: int,
    both: bool,
    first: bool,
    bias: bool,
    projected: bool,
    single: bool,
    given_state: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    more = {"proj_size": 2} if projected and kind == "lstm" else {}
    module = FUSED[kind](3, 4, layers, bias=bias, batch_first=first, bidirectional=both, **more).double()
    x = torch.randn(*((5,) if single else (2, 5) if first else (5, 2)), 3, dtype=torch.float64)
    places = layers * (1 + both)
    widths = [2 if more else 4] + [4] * (kind == "lstm")
    state = tuple(torch.randn(places, *([] if single else [2]), w, dtype=torch.float64) for w in widths)
    hx = (state if kind == "lstm" else state[0],) if given_state else ()
    seen = list[int]()
    with layer_by_layer(module, lambda layer, x: seen.append(layer) or x):  # type: ignore[func-returns-value]
        stepped, after = module(x, *hx)
    fused, ends = module(x, *hx)
    assert seen == list(range(layers))
    torch.testing.assert_close(stepped, fused)
    torch.testing.assert_close(after, ends)


def through_time(module: nn.RNNBase, layer: int, x: Tensor) -> list[float]:
    """By hand: the norm of the last state's Jacobian by that before each step, of one layer given what enters it."""
    kind = module.mode[:3].lower() if module.mode != "LSTM" else "lstm"
    states = 2 if kind == "lstm" else 1
    lower = x
    for below in range(layer):
        lower = alone(module, below)(lower)[0].detach()
    single, size = alone(module, layer), module.hidden_size
    carried = [torch.zeros(states, size, dtype=torch.float64)]

    def step(flat: Tensor, t: int) -> Tensor:
        parts = flat.reshape(states, 1, 1, size)
        after = single(lower[:, t : t + 1], tuple(parts) if states == 2 else parts[0])[1]
        return torch.stack([*after] if states == 2 else [after]).reshape(states, size)

    slopes = []
    for t in range(x.shape[1]):
        J = torch.autograd.functional.jacobian(lambda h, t=t: step(h, t), carried[-1])
        slopes.append(J.reshape(states * size, states * size))
        carried.append(step(carried[-1], t).detach())
    product, found = torch.eye(states * size, dtype=torch.float64), []
    for J in reversed(slopes):
        product = product @ J
        found.append(float(product.norm()))
    return found[::-1]


def alone(module: nn.RNNBase, layer: int) -> nn.RNNBase:
    """Return one layer of a recurrence as a module of its own."""
    held = {
        name.replace(f"_l{layer}", "_l0"): p for name, p in module.state_dict().items() if name.endswith(f"_l{layer}")
    }
    of_rnn = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
    inputs = held["weight_ih_l0"].shape[1]
    single = type(module)(inputs, module.hidden_size, batch_first=True, **of_rnn).double()  # type: ignore[call-arg]
    single.load_state_dict(held)
    return single


def by_depth(module: nn.RNNBase, x: Tensor) -> list[float]:
    """By hand: the norm of the output's Jacobian by what enters each layer."""
    entering = [x]
    for layer in range(module.num_layers):
        entering.append(alone(module, layer)(entering[-1])[0].detach())
    found = []
    for layer in range(module.num_layers):

        def above(y: Tensor, layer: int = layer) -> Tensor:
            for each in range(layer, module.num_layers):
                y = alone(module, each)(y)[0]
            return y

        found.append(float(torch.autograd.functional.jacobian(above, entering[layer]).norm()))
    return found


@pytest.mark.parametrize("kind", SOME)
def test_every_layer_has_its_steps_and_is_a_stage(kind: str) -> None:
    torch.manual_seed(1)
    module, x = FUSED[kind](3, 4, 3, batch_first=True).double(), torch.randn(1, 5, 3, dtype=torch.float64)
    found = named(gradient(module, x, probes=MANY))
    assert list(found) == [
        "the steps of the model",
        "the modules",
        *(f"the steps of the model, layer {i}" for i in range(3)),
    ]
    assert [stage.name for stage in found["the modules"].stages] == [f"[layer {i}]" for i in range(3)]
    assert norms(found["the modules"]) == pytest.approx(by_depth(module, x), rel=1e-8)
    for layer in range(3):
        assert norms(found[f"the steps of the model, layer {layer}"]) == pytest.approx(
            through_time(module, layer, x), rel=1e-8
        )


@pytest.mark.parametrize("kind", SOME)
def test_both_directions_have_steps(kind: str) -> None:
    """Backwards, it is the layer forwards on the turned sequence, with the other weights."""
    torch.manual_seed(2)
    module, x = FUSED[kind](3, 4, 1, batch_first=True, bidirectional=True).double(), torch.randn(1, 5, 3).double()
    found = named(gradient(module, x, probes=MANY))
    for turned in (False, True):
        single = FUSED[kind](3, 4, batch_first=True).double()
        ending = "_reverse" * turned
        single.load_state_dict({name: module.state_dict()[name + ending] for name in single.state_dict()})
        one = gradient(single, x.flip(1) if turned else x, probes=MANY)
        chain = found[f"the steps of the model, layer 0{' backwards' * turned}"]
        assert norms(chain) == pytest.approx(norms(one), rel=1e-8)


class Loop(nn.Module):
    """A stack of cells in a Python loop, between an encoder and a head, with the weights of a fused module."""

    def __init__(self, kind: str, fused: nn.RNNBase, around: bool) -> None:
        super().__init__()
        self.kind, self.cells = kind, nn.ModuleList()
        for layer in range(fused.num_layers):
            single = alone(fused, layer)
            cell = CELL[kind](single.input_size, fused.hidden_size).double()
            cell.load_state_dict({name.removesuffix("_l0"): p for name, p in single.state_dict().items()})
            self.cells.append(cell)
        self.enter = nn.Linear(3, 3).double() if around else nn.Identity()
        self.head = nn.Linear(fused.hidden_size, 2).double() if around else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        states: list[Any] = [None] * len(self.cells)
        outputs = []
        for t in range(x.shape[1]):
            h = self.enter(x[:, t])
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(h, states[layer])
                h = states[layer][0] if self.kind == "lstm" else states[layer]
            outputs.append(self.head(h))
        return torch.stack(outputs, 1)


class Around(nn.Module):
    """A fused recurrence between the same encoder and head."""

    def __init__(self, fused: nn.RNNBase, loop: Loop) -> None:
        super().__init__()
        self.enter, self.core, self.head = loop.enter, fused, loop.head

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.core(self.enter(x))[0])
        return out


@pytest.mark.parametrize("kind", SOME)
@pytest.mark.parametrize("layers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_loop_over_cells_has_the_chains_of_the_fused_module(kind: str, layers: int) -> None:
    torch.manual_seed(3)
    fused, x = FUSED[kind](3, 4, layers, batch_first=True).double(), torch.randn(1, 5, 3, dtype=torch.float64)
    loop = Loop(kind, fused, around=True)
    one, other = gradient(loop, x, probes=MANY), gradient(Around(fused, loop), x, probes=MANY)
    looped, whole = named(one), named(other)
    assert [stage.name for stage in looped["the modules"].stages] == [
        "enter",
        *(f"cells.{i}" for i in range(layers)),
        "head",
    ]
    assert norms(looped["the modules"]) == pytest.approx(norms(whole["the modules"]), rel=1e-8)
    for layer in range(layers):
        steps = whole[f"the steps of core{f', layer {layer}' if layers > 1 else ''}"]
        mine = norms(looped[f"the steps of cells.{layer}"])
        assert mine == pytest.approx(norms(steps)[-len(mine) :], rel=1e-8)  # a cell makes its first state itself
        assert len(mine) >= len(steps.stages) - 1


class GatesByHand(nn.Module):
    """A GRU of three linear layers: all take the state, one of them a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reset, self.keep, self.new = (nn.Linear(5, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 2)
        for t in range(x.shape[1]):
            both = torch.cat([x[:, t], h], -1)
            r, z = torch.sigmoid(self.reset(both)), torch.sigmoid(self.keep(both))
            h = z * h + (1 - z) * torch.tanh(self.new(torch.cat([x[:, t], r * h], -1)))
        return h


def test_of_several_modules_that_take_one_state_there_is_one_chain_at_most() -> None:
    found = gradient(GatesByHand(), torch.randn(1, 7, 3))
    assert sum(chain.along == "steps" for chain in found.chains) <= 1


def test_every_grid_has_its_fronts() -> None:
    torch.manual_seed(0)
    grids = [build("grid-rnn", inputs=3, hidden=3, height=3, width=4).model.double() for _ in range(2)]
    x = torch.randn(1, 3, 4, 3, dtype=torch.float64)
    found = named(gradient(nn.Sequential(*grids), x, probes=MANY))
    assert list(found) == ["the fronts of 0", "the modules", "the fronts of 1"]
    assert len(found["the modules"].stages) == 2
    for place, grid in enumerate(grids):
        given_to = x if not place else grids[0](x).detach()
        J = torch.autograd.functional.jacobian(lambda x, grid=grid: grid(x)[:, -1, -1], given_to)
        squares = J.square().sum((0, 1, 2, 5))
        fronts = torch.arange(3)[:, None] + torch.arange(4)
        dense = [math.sqrt(float(squares[fronts == front].sum())) for front in range(6)]
        assert norms(found[f"the fronts of {place}"]) == pytest.approx(dense, rel=1e-8)


def test_parts_before_and_after_do_not_spoil_the_law_of_stacked_recurrences() -> None:
    torch.manual_seed(0)
    model = Deep(layers=7)
    found = named(gradient(model, torch.randn(2, 5, 3)))
    modules = found["the modules"]
    assert [stage.name for stage in modules.stages] == ["enter", *(f"stack.{i}" for i in range(7)), "head"]
    inner = [math.log(stage.backward.value) for stage in modules.stages[1:-1]]
    assert modules.rate.value == pytest.approx(sum(inner) / len(inner), abs=1e-9)
    assert len([name for name in found if name.startswith("the steps of stack.")]) == 7


class Deep(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(3, 4), nn.Linear(4, 40)
        self.stack = nn.ModuleList(nn.GRU(4, 4, batch_first=True) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.stack:
            x = layer(x)[0]
        out: Tensor = self.head(x)
        return out


class Own(nn.LSTM):
    """What it makes of its layers is its own."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:  # type: ignore[override]
        return super().forward(2 * x, hx)


def test_layers_of_a_users_own_class_are_not_taken_apart() -> None:
    found = gradient(Own(3, 4, 2), torch.randn(5, 1, 3))
    assert [chain.name for chain in found.chains] == ["the steps of the model"]


def test_a_model_without_a_recurrence_has_one_chain() -> None:
    found = gradient(nn.Sequential(*[nn.Linear(3, 3) for _ in range(5)]), torch.randn(2, 3))
    assert [(chain.name, chain.along) for chain in found.chains] == [("the modules", "modules")]
    assert found.beside == ()
    assert "through" not in cards(found)[0].text


def test_check_shows_every_chain() -> None:
    torch.manual_seed(0)
    audit = check(Deep(2), torch.randn(1, 5, 3), layout="b t c -> b t v", only=["gradient"])
    shown = [card.text for card in cards(audit) if card.subject == "gradient"]
    assert [next(n for n in ("stack.0", "stack.1", "the modules") if n in text) for text in shown] == [
        "stack.0", "the modules", "stack.1",
    ]  # fmt: skip
    (section,) = (each for each in describe_audit(audit).sections if "radient" in each.heading)
    tables = [block.caption for block in section.blocks if isinstance(block, Table)]
    assert tables == ["Through the steps of stack.0", "Through the modules", "Through the steps of stack.1"]
    assert sum(isinstance(block, Curve) for block in section.blocks) == 3
    record = audit.to_dict()["gradient"]
    assert [chain["name"] for chain in record["beside"]] == ["the modules", "the steps of stack.1"]
    assert all(chain["verdict"] for chain in record["beside"])
    quantities = set(audit.to_pandas()["quantity"])
    assert {"gradient", "gradient, the modules", "log rate a stage, the steps of stack.1"} <= quantities


QUICK = ("rnn", "lstm", "mlp")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(ZOO)])
def test_no_chain_of_the_zoo_is_left_without_a_verdict(name: str) -> None:
    specimen = build(name)
    found = gradient(specimen.model, *specimen.inputs)
    assert not found.not_measured
    for chain in found.chains:
        assert chain.kind != "unknown", chain.verdict
