"""Reach: equal to dense Jacobians, within the structural context, and of the rate that the theory says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline import lyapunov, reach, read
from leadline.errors import LayoutError, NotDifferentiable, UsageError
from leadline.jacobian import Reach
from leadline.zoo import ZOO, build
from leadline.zoo.layers.masked_conv import MaskedConv2d
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig


class Looped(nn.Module):
    """A recurrence as a loop over cells, with a residual around it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(2, 3), nn.Linear(3, 2)

    def forward(self, x):
        state, outputs = x.new_zeros(x.shape[0], 3), []
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
            outputs.append(self.head(state))
        return torch.stack(outputs, 1) + x


class Named(nn.Module):
    """Channels last, around layers that take them first."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.mT).mT


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(2, 1, 4, batch_first=True, dropout=0.0)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class First(nn.Module):
    """What a recurrent layer returns first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


MODELS = {
    "loop": Looped,
    "rnn": lambda: First(nn.RNN(2, 3, batch_first=True)),
    "lstm": lambda: First(nn.LSTM(2, 3, 2, batch_first=True)),
    "two ways": lambda: First(nn.GRU(2, 3, batch_first=True, bidirectional=True)),
    "convolutions": lambda: Named(nn.Conv1d(2, 3, 3, padding=2, dilation=2), nn.Tanh(), nn.Conv1d(3, 2, 3, padding=1)),
    "attention": attention,
    "mixed samples": lambda: Named(nn.BatchNorm1d(2), nn.Conv1d(2, 2, 3, padding=1)),
    "by itself": lambda: nn.Sequential(nn.Linear(2, 5), nn.GELU(), nn.Linear(5, 2)),
}


def dense(model: nn.Module, x: torch.Tensor, place: int) -> torch.Tensor:
    """Return root mean squares at all positions, of the whole Jacobian of one output position."""
    J = torch.autograd.functional.jacobian(lambda x: model(x)[:, place], x)  # samples, out, samples, positions, in
    return (J.square().sum(2).mean((0, 1, 3))).sqrt()


SLOW = [
    "gated-pixelcnn",
    "pixelcnn",
    "pixelcnn-plus",
    "pixelsnail",
    "wavenet",
    "transformer",
    "mdrnn",
    "rnn",
    "gru",
    "lstm",
    "dilated-stack",
]
QUICK = ["masked-stack", "grid-rnn"]


class Grid(nn.Module):
    """Channels last, around layers over a grid or a video that take them first."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.movedim(-1, 1)).movedim(1, -1)


GRIDS = {
    "tanh cells": (2, lambda: GridRNN(GridRNNConfig(2, 3, 2))),
    "lstm cells": (2, lambda: GridRNN(GridRNNConfig(2, 2, cell="lstm"))),
    "masks": (2, lambda: Grid(MaskedConv2d(2, 3, 3, "A", bias=True), nn.Tanh(), MaskedConv2d(3, 2, 3, "B", bias=True))),
    "wide": (2, lambda: Grid(nn.Conv2d(2, 3, (1, 5), padding=(0, 2)), nn.ELU(), nn.Conv2d(3, 2, 3, padding=1))),
    "mixed samples": (2, lambda: Grid(nn.BatchNorm2d(2), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2, 2, 2))),
    "video": (3, lambda: Grid(nn.ZeroPad3d((0, 1, 0, 1, 0, 1)), nn.Conv3d(2, 2, 2), nn.SiLU())),
}


@given(name=st.sampled_from(sorted(GRIDS)), seed=st.integers(0, 2**16), data=st.data())
@settings(max_examples=8)
def test_over_a_grid_it_is_the_dense_jacobian(name, seed, data):
    axes, make = GRIDS[name]
    sizes = data.draw(st.tuples(*[st.integers(1, 4)] * axes))
    place = data.draw(st.tuples(*[st.integers(0, size - 1) for size in sizes]))
    torch.manual_seed(seed)
    model, x = make().double(), torch.randn(2, *sizes, 2, dtype=torch.float64)
    names = " ".join("thw"[-axes:])
    J = torch.autograd.functional.jacobian(lambda x: model(x)[(slice(None), *place)], x)  # samples, out, then as x
    true = J.square().sum(2).mean((0, 1, -1)).sqrt()
    layout = f"b {names} c -> b {names} v"
    if not true.any():  # the first pixel of a mask
        with pytest.raises(NotDifferentiable, match="no gradient"):
            reach(model, x, layout=layout, positions=[place])
        return
    found = reach(model, x, layout=layout, positions=[place])
    assert {tuple(p - o for p, o in zip(place, offset, strict=True)) for offset in found.offsets.tolist()} >= {
        tuple(at) for at in true.nonzero().tolist()
    }
    for offset, rms in zip(found.offsets.tolist(), found.rms.tolist(), strict=True):
        at = tuple(p - o for p, o in zip(place, offset, strict=True))
        inside = all(0 <= a < size for a, size in zip(at, sizes, strict=True))
        assert rms == pytest.approx(float(true[at]) if inside else 0.0, rel=1e-8, abs=1e-12)


class Residual(nn.Module):
    """A part around which its input goes."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x):
        return x + self.part(x)


PARTS = {
    "linear": lambda: nn.Linear(2, 2),
    "norm": lambda: nn.LayerNorm(2),
    "tanh": nn.Tanh,
    "convolution": lambda: Named(nn.Conv1d(2, 2, 3, padding=1)),
    "dilated": lambda: Named(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 2, 2, dilation=2)),
    "recurrence": lambda: First(nn.RNN(2, 2, batch_first=True)),
    "gates": lambda: First(nn.GRU(2, 2, batch_first=True)),
    "cells": lambda: First(nn.LSTM(2, 2, batch_first=True)),
    "loop": Looped,
    "attention": attention,
}


@given(
    parts=st.lists(st.tuples(st.sampled_from(sorted(PARTS)), st.booleans()), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
    length=st.integers(1, 7),
)
@settings(max_examples=12)
def test_of_generated_chains_it_is_the_dense_jacobian(parts, seed, length):
    torch.manual_seed(seed)
    model = nn.Sequential(*(Residual(PARTS[name]()) if around else PARTS[name]() for name, around in parts)).double()
    x = torch.randn(2, length, 2, dtype=torch.float64)
    found = reach(model, x, layout="b t c -> b t v", positions=[length - 1])
    true = dict(enumerate(dense(model, x, length - 1).flip(0).tolist()))
    assert {offset: rms for (offset,), rms in zip(found.offsets.tolist(), found.rms.tolist(), strict=True)} == {
        offset: pytest.approx(true[offset], rel=1e-8, abs=1e-12) for (offset,) in found.offsets.tolist()
    }
    assert len(found.offsets) == length


@given(name=st.sampled_from(sorted(MODELS)), seed=st.integers(0, 2**16), length=st.integers(1, 9), data=st.data())
@settings(max_examples=10)
def test_it_is_the_dense_jacobian(name, seed, length, data):
    torch.manual_seed(seed)
    model, x = MODELS[name]().double(), torch.randn(2, length, 2, dtype=torch.float64)
    places = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=3))
    found = reach(model, x, layout="b t c -> b t v", positions=places)
    offsets = found.offsets.flatten().tolist()
    assert offsets == list(range(min(places) - length + 1, max(places) + 1))
    maps = [dense(model, x, place) for place in places]
    for offset, rms in zip(offsets, found.rms.tolist(), strict=True):
        squares = [float(m[p - offset]) ** 2 for p, m in zip(places, maps, strict=True) if 0 <= p - offset < length]
        assert rms == pytest.approx(math.sqrt(sum(squares) / len(squares)), rel=1e-8, abs=1e-12)
    assert not found.sem.any()


@pytest.mark.parametrize("name", ["loop", "convolutions", "attention"])
def test_random_directions_give_it_within_their_error(name):
    torch.manual_seed(0)
    model, x = MODELS[name]().double(), torch.randn(40, 6, 2, dtype=torch.float64)
    found = reach(model, x, layout="b t c -> b t v", positions=[5], probes=60)  # 80 numbers at the position
    gap = (found.rms - dense(model, x, 5).flip(0)).abs()
    assert bool((gap <= 5 * found.sem + 1e-12).all())
    assert bool((found.sem <= 0.2 * found.rms + 1e-12).all())


def test_every_architecture_of_the_zoo_with_positions_is_asked_below():
    """Those without have no distances, and say so."""
    without = sorted(set(ZOO) - {*QUICK, *SLOW})
    assert without == ["batchnorm", "chain", "mlp", "residual"]
    for name in without:
        specimen = build(name, layers=2)
        with pytest.raises(LayoutError, match="position axes"):
            reach(specimen.model, *specimen.inputs, layout=specimen.layout)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_it_lies_within_the_context(name):
    specimen = build(name)
    found = reach(specimen.model, *specimen.inputs, layout=specimen.layout)
    reading = read(specimen.model, *specimen.inputs, layout=specimen.layout)
    maps = [reading.context(place, longer=False).map for place in found.positions]
    seen = [(torch.tensor(p) - m.nonzero()).tolist() for p, m in zip(found.positions, maps, strict=True)]
    offsets = {tuple(offset) for offsets in seen for offset in offsets}
    assert {tuple(offset) for offset in found.offsets[found.rms > 0].tolist()} <= offsets
    assert found.seen == max(int(m.sum()) for m in maps)
    assert 0 < found.used <= 1
    assert found.law.kind != "unknown"


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_recurrence_fades_at_its_lyapunov_exponent(kind):
    torch.manual_seed(1)
    layer, x = kind(4, 16, batch_first=True).double(), torch.randn(1, 120, 4, dtype=torch.float64)
    found = reach(layer, x, layout="b t c -> b t v", output="[0]", positions=[119])
    cell = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}[kind](4, 16).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    start = torch.zeros(1, 16, dtype=torch.float64)
    state = (start, start) if kind is nn.LSTM else start
    exponent = lyapunov(lambda state, x: cell(x, state), state, inputs=x[0, :, None], k=1).exponents[0]
    assert found.law.kind == "exponential"
    low, high = found.law.interval
    margin = 3 * exponent.sem + 0.02
    assert low - margin <= exponent.value <= high + margin
    assert found.half_life == pytest.approx(math.log(2) / -found.law.parameter)


@pytest.mark.parametrize(("size", "layers"), [(3, 12), (5, 8)])
def test_equal_kernels_spread_like_their_sum(size, layers):
    spreads = []
    for seed in range(4):
        torch.manual_seed(seed)
        stack = nn.Sequential(*[nn.Conv1d(24, 24, size, padding=size // 2, bias=False) for _ in range(layers)]).double()
        x = torch.randn(1, 24, 81, dtype=torch.float64)
        found = reach(stack, x, layout="b c t -> b v t", positions=[40])
        spreads.append(found.spread[0] ** 2)
    assert sum(spreads) / len(spreads) == pytest.approx(layers * (size**2 - 1) / 12, rel=0.15)


def spaced(weights: torch.Tensor, dilation: int, layers: int, length: int) -> Reach:
    """Return the reach of equal causal convolutions whose taps lie apart."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        layer = nn.Conv1d(1, 1, len(weights), dilation=dilation, bias=False, dtype=torch.float64)
        layer.weight = nn.Parameter(weights.flip(0).reshape(1, 1, -1))
        parts += [nn.ConstantPad1d((dilation * (len(weights) - 1), 0), 0.0), layer]
    x = torch.randn(1, 1, length, dtype=torch.float64)
    return reach(nn.Sequential(*parts), x, layout="b c t -> b v t", positions=[length - 1])


@given(rate=st.floats(-0.9, -0.1), shape=st.sampled_from(["exponential", "power", "gaussian"]), apart=st.integers(2, 4))
@settings(max_examples=6)
def test_distances_that_a_dilation_leaves_out_belong_to_no_law(rate, shape, apart):
    """The same taps, further apart: the same law over distances that are as many times as long."""
    d = torch.arange(24, dtype=torch.float64)
    weights = {"exponential": rate * d, "power": 3 * rate * (d + 1e-9).log().clamp_min(0), "gaussian": rate * d**2 / 40}
    near = spaced(weights[shape].exp(), 1, 1, 80)
    far = spaced(weights[shape].exp(), apart, 1, 24 * apart)
    assert near.law.kind == far.law.kind == shape
    scale = {"exponential": 1 / apart, "power": 1.0, "gaussian": apart}[shape]
    assert far.law.parameter == pytest.approx(scale * near.law.parameter, rel=1e-6)
    assert far.lost_at == {name: at and apart * at for name, at in near.lost_at.items()}


def test_of_a_gap_in_what_is_seen_a_format_loses_the_gradient_at_a_distance_that_is_seen():
    found = spaced(
        torch.tensor([1.0, 1e-3], dtype=torch.float64), 3, 4, 60
    )  # 1e-3 at 3, 1e-6 at 6, 1e-9 at 9, 1e-12 at 12
    assert found.offsets[found.structural].flatten().tolist() == [0, 3, 6, 9, 12]
    assert found.lost_at == {"float16": 9, "bfloat16": None, "float32": None}


def test_shares_lie_where_the_squares_do():
    model, x = nn.Conv1d(1, 1, 5, padding=2, bias=False).double(), torch.randn(1, 1, 21, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[[1.0, 2.0, 4.0, 2.0, 0.0]]]))
    found = reach(model, x, layout="b c t -> b v t", positions=[10])
    assert [found.within(share) for share in (0.5, 16 / 25, 0.65, 24 / 25, 0.97, 1)] == [0, 0, 1, 1, 2, 2]
    assert dict(zip(found.offsets.flatten().tolist(), found.rms.tolist(), strict=True))[2] == 1.0  # the past
    assert found.used == 4 / 5
    assert found.lost_at == {"float16": None, "bfloat16": None, "float32": None}  # it ends before
    with pytest.raises(UsageError, match="share"):
        found.within(0)


def test_a_half_life_beyond_the_input_is_told():
    layer = nn.RNN(1, 1, nonlinearity="relu", bias=False, batch_first=True).double()
    with torch.no_grad():
        layer.weight_hh_l0.fill_(0.5), layer.weight_ih_l0.fill_(1.0)
    x = torch.ones(1, 12, 1, dtype=torch.float64)
    found = reach(layer, x, layout="b t c -> b t v", output="[0]", positions=[11])
    assert found.lost_at == {"float16": 25, "bfloat16": 134, "float32": 150}  # 2^-25, 2^-134, 2^-150 round to zero
    assert found.half_life == pytest.approx(1.0)


def test_a_gradient_that_is_lost_within_the_input_does_not_end_there():
    layer = nn.RNN(1, 1, nonlinearity="relu", bias=False, batch_first=True)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(0.25), layer.weight_ih_l0.fill_(1.0)
    found = reach(layer, torch.ones(1, 120, 1), layout="b t c -> b t v", output="[0]", positions=[119])
    assert not found.rms[-1]  # float32 has lost it
    assert found.lost_at == {"float16": 13, "bfloat16": 67, "float32": 75}  # 4^-13, 4^-67, 4^-75


@pytest.mark.parametrize("bias", [0.0, 1.0, 2.0, 3.0])
def test_of_a_cell_without_recurrent_weights_it_is_what_the_forget_gate_leaves(bias):
    model = nn.LSTM(1, 1, batch_first=True).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weight_ih_l0[2], model.bias_ih_l0[1] = 0.5, bias
    found = reach(First(model), torch.zeros(1, 30, 1, dtype=torch.float64), layout="b t c -> b t v", positions=[29])
    kept = 1 / (1 + math.exp(-bias))
    for (offset,), rms in zip(found.offsets.tolist(), found.rms.tolist(), strict=True):
        assert rms == pytest.approx(0.125 * kept**offset, rel=1e-10)  # half of each gate, and half the weight
    assert found.half_life == pytest.approx(math.log(2) / -math.log(kept), rel=1e-9)
