"""The gradient's growth against dense Jacobians and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.errors import Diverged, ModelError, NotDifferentiable, UsageError
from leadline.jacobian import gradient
from leadline.zoo import build


def scaled_orthogonal(width: int, depth: int, scale: float) -> nn.Sequential:
    turns = [torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))[0] for _ in range(depth)]
    return nn.Sequential(*[_linear(scale * turn) for turn in turns])


def _linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


@settings(max_examples=5)
@given(scale=st.floats(0.3, 3.0), depth=st.integers(4, 14), width=st.integers(2, 6))
def test_scaled_orthogonal_layers_grow_by_their_scale(scale, depth, width):
    found = gradient(scaled_orthogonal(width, depth, scale), torch.randn(3, width, dtype=torch.float64), probes=2)
    assert found.rate.value == pytest.approx(math.log(scale), abs=1e-9)
    assert all(stage.backward.value == pytest.approx(scale) for stage in found.stages)
    assert all(stage.forward.value == pytest.approx(scale) for stage in found.stages)
    at_twice = 2 * depth * math.log(scale)
    expected = "stable" if abs(at_twice) < math.log(100) else "exploding" if scale > 1 else "vanishing"
    assert found.kind == expected
    assert found.verdict.startswith(expected)


def test_orthogonal_layers_are_stable_at_any_depth():
    found = gradient(scaled_orthogonal(4, 50, 1.0), torch.randn(2, 4, dtype=torch.float64), probes=2)
    assert found.kind == "stable"
    assert found.law.kind == "stable"
    assert set(found.underflow_depth.values()) == {None}


@settings(max_examples=3)
@given(seed=st.integers(0, 1000), depth=st.integers(2, 5), widths=st.integers(2, 5))
def test_cumulative_gradient_is_the_frobenius_norm_of_the_dense_jacobian(seed, depth, widths):
    torch.manual_seed(seed)
    net = nn.Sequential(*[nn.Sequential(nn.Linear(widths, widths), nn.Tanh()) for _ in range(depth)]).double()
    x = torch.randn(1, widths, dtype=torch.float64)
    found = gradient(net, x, probes=40, seed=seed)
    dense = torch.autograd.functional.jacobian(net, x).reshape(widths, widths).norm().item()
    measured = found.stages[0].gradient
    assert abs(measured.value - dense) < 5 * measured.sem


def test_the_stage_that_does_it_is_named():
    net = scaled_orthogonal(4, 9, 1.0)
    with torch.no_grad():
        net[5].weight.mul_(1e-4)
    found = gradient(net, torch.randn(2, 4, dtype=torch.float64))
    assert min(found.stages, key=lambda stage: stage.backward.value).name == "5"


@pytest.mark.parametrize(("forget", "rate"), [(0.0, -0.6931), (1.0, -0.3133), (5.0, -0.0067)])
def test_lstm_without_weights_forgets_at_the_rate_of_its_gate(forget, rate):
    layer = nn.LSTM(2, 3, batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_hh_l0[3:6] = forget
    found = gradient(layer.double(), torch.randn(1, 20, 2, dtype=torch.float64), probes=2)
    assert found.rate.value == pytest.approx(rate, abs=1e-4)
    assert len(found.stages) == 20


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_fused_layer_and_a_loop_over_its_cell_agree(kind):
    class Loop(nn.Module):
        def __init__(self, fused):
            super().__init__()
            self.cell = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}[kind](3, 8)
            self.cell.load_state_dict({name.removesuffix("_l0"): p for name, p in fused.state_dict().items()})

        def forward(self, x):
            zero = x.new_zeros(x.shape[0], 8)
            state = (zero, zero) if kind is nn.LSTM else zero
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
            return state[0] if kind is nn.LSTM else state

    fused = kind(3, 8, batch_first=True)
    x = torch.randn(2, 8, 3)
    steps, calls = gradient(fused, x, probes=3), gradient(Loop(fused), x, probes=3)
    for call, step in zip(calls.stages, steps.stages, strict=True):
        assert call.backward.value == pytest.approx(step.backward.value, rel=1e-4)
        assert call.forward.value == pytest.approx(step.forward.value, rel=1e-4)


def test_tokens_are_measured_from_their_embedding():
    blocks = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True) for _ in range(4)]
    net = nn.Sequential(nn.Embedding(11, 8), *blocks, nn.Linear(8, 11)).eval()
    found = gradient(net, torch.randint(0, 11, (2, 6)))
    assert [stage.name for stage in found.stages] == ["1", "2", "3", "4"]
    assert found.mode == "eval"


def test_a_loss_is_measured_without_sampling():
    net = scaled_orthogonal(3, 6, 0.5)
    found = gradient(net, torch.ones(1, 3, dtype=torch.float64), loss=lambda y: y.square().sum())
    assert found.stages[0].gradient.value == pytest.approx(2 * math.sqrt(3) * 0.5**12)


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) for _ in range(3)])
    net[1].eval()
    net[0][0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    noise = torch.random.get_rng_state()
    modes = [module.training for module in net.modules()]
    gradient(net, torch.randn(5, 4))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert not net[0][0].weight.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    torch.random.set_rng_state(noise)


def test_the_same_seed_gives_the_same_result():
    net, x = nn.Sequential(*[nn.Linear(5, 5) for _ in range(6)]), torch.randn(2, 5)
    assert gradient(net, x, seed=7) == gradient(net, x, seed=7)
    assert gradient(net, x, seed=7) != gradient(net, x, seed=8)


def test_in_place_layers_do_not_spoil_the_measurement():
    torch.manual_seed(3)
    linears = [nn.Linear(6, 6) for _ in range(5)]
    plain = nn.Sequential(*[layer for linear in linears for layer in (linear, nn.ReLU())])
    in_place = nn.Sequential(*[layer for linear in linears for layer in (linear, nn.ReLU(inplace=True))])
    x = torch.randn(4, 6)
    assert gradient(plain, x).stages == gradient(in_place, x).stages


@pytest.mark.parametrize("depth", [3])
def test_a_residual_added_outside_its_block_counts(depth):
    class Outside(nn.Module):
        def __init__(self, blocks):
            super().__init__()
            self.blocks = nn.ModuleList(blocks)

        def forward(self, x):
            x = 1.0 * x
            for block in self.blocks:
                x = x + block(x)
            return x

    class Block(nn.Module):
        def __init__(self, inside):
            super().__init__()
            self.linear, self.inside = nn.Linear(4, 4), inside

        def forward(self, x):
            return x + torch.tanh(self.linear(x)) if self.inside else torch.tanh(self.linear(x))

    inside, outside = [Block(True) for _ in range(depth)], [Block(False) for _ in range(depth)]
    for a, b in zip(inside, outside, strict=True):
        b.load_state_dict(a.state_dict())
    x = torch.randn(2, 4)
    within, without = gradient(nn.Sequential(*inside), x), gradient(Outside(outside), x)
    # Outside, the last block hands on its branch alone: compare the stages before it.
    for a, b in list(zip(within.stages, without.stages, strict=False))[: depth - 1]:
        assert b.gradient.value == pytest.approx(a.gradient.value, rel=1e-4)
        assert b.forward.value == pytest.approx(a.forward.value, rel=1e-4)


class Returns(nn.Module):
    """A linear layer followed by some function."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(3, 3), function

    def forward(self, x):
        return self.function(self.linear(x))


class Overflows(nn.Module):
    """Infinite, in the middle of a network."""

    def forward(self, x):
        return x * torch.inf


class Squash(nn.Module):
    """Finite, even of what is not."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(torch.tanh(x))


class Rounds(nn.Module):
    """Integers in, integers out."""

    def forward(self, x):
        return x // 2


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda y: y.argmax(-1), NotDifferentiable, "int64"),
        (lambda y: y.detach(), NotDifferentiable, "detached"),
        (lambda y: y[:0], NotDifferentiable, "no elements"),
        (lambda y: y / 0, Diverged, "not finite"),
        (lambda _: "text", NotDifferentiable, "no tensor"),
    ],
)
def test_what_has_no_gradient_is_said_clearly(function, error, message):
    with pytest.raises(error, match=message):
        gradient(Returns(function), torch.ones(2, 3))


@pytest.mark.parametrize(
    ("model", "x", "error", "message"),
    [
        (nn.LSTM(2, 3, batch_first=True), torch.ones(1, 0, 2), ModelError, "sequence length.*give longer inputs"),
        (nn.Sequential(*[nn.Linear(2, 2) for _ in range(3)]), torch.ones(0, 2), NotDifferentiable, "no elements"),
        (nn.Sequential(Squash(), Overflows(), Squash()), torch.ones(1, 2), Diverged, "stage '2'"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.full((1, 2), math.nan), Diverged, "not finite"),
        (nn.Embedding(5, 2), torch.tensor([[1, 2]]), NotDifferentiable, "no stage between"),
        (Rounds(), torch.tensor([1, 2]), NotDifferentiable, "int64"),
    ],
)
def test_stages_that_have_no_gradient_are_said_clearly(model, x, error, message):
    with pytest.raises(error, match=message):
        gradient(model, x)


@pytest.mark.parametrize("seed", range(3))
def test_stages_that_differ_wildly_are_not_called_stable(seed):
    net = scaled_orthogonal(3, 6, 1.0)
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer, scale in zip(net, (8.0, 0.1, 5.0, 0.3, 9.0, 0.1), strict=True):
            layer.weight.mul_(scale)
    found = gradient(net, torch.randn(2, 3, dtype=torch.float64))
    assert found.kind == "unknown"
    assert "differ too much" in found.verdict
    assert found.underflow_depth == {}  # no law: not "never"


def rotations(gains):
    net = scaled_orthogonal(4, len(gains), 1.0)
    with torch.no_grad():
        for layer, gain in zip(net, gains, strict=True):
            layer.weight.mul_(gain)
    return net


@settings(max_examples=5)
@given(
    stages=st.integers(4, 16),
    where=st.sampled_from(["first", "last", "middle"]),
    log=st.floats(4.7, 25.0),
    grows=st.booleans(),
)
def test_one_stage_that_changes_much_decides(stages, where, log, grows):
    gains = [1.0] * stages
    gains[{"first": 0, "last": -1, "middle": stages // 2}[where]] = math.exp(log if grows else -log)
    found = gradient(rotations(gains), torch.randn(1, 4, dtype=torch.float64))
    assert found.kind == ("exploding" if grows else "vanishing")
    assert found.total.value == pytest.approx(log if grows else -log, abs=1e-6)
    assert f"over all {stages} stages" in found.verdict
    lost = found.underflow_depth.get("float16")
    assert (lost is not None) == (log > 11.09 if grows else log > 17.33)


@pytest.mark.parametrize(
    "gains", [[1 / 1.25] * 32 + [1.25] * 32, [1.25] * 32 + [1 / 1.25] * 32, [2.0, 0.5] * 2 + [9.0] * 5 + [1 / 9] * 5]
)
def test_growth_that_turns_is_named(gains):
    found = gradient(rotations(gains), torch.randn(1, 4, dtype=torch.float64))
    assert found.kind == "turning"
    assert found.verdict.startswith("turning")
    assert found.total.value == pytest.approx(0.0, abs=1e-9)
    assert max(map(abs, found.farthest)) == pytest.approx(abs(math.log(gains[-1])) * gains.count(gains[-1]), rel=1e-6)
    assert found.underflow_depth == {} or found.underflow_depth["float16"] <= len(gains)


@pytest.mark.parametrize(("stages", "kind"), [(20, "stable"), (55, "stable"), (65, "vanishing")])
def test_a_slow_rate_counts_by_what_it_comes_to_at_twice_the_depth(stages, kind):
    found = gradient(rotations([0.96] * stages), torch.randn(1, 4, dtype=torch.float64))
    assert found.kind == kind
    assert f"{0.96**stages:.3g} × over all {stages} stages" in found.verdict
    assert f"{0.96 ** (2 * stages):.3g} × over {2 * stages}" in found.verdict
    assert f"{0.96 ** (10 * stages):.3g} × over {10 * stages:,}" in found.verdict


def test_few_outputs_leave_no_error_of_sampling():
    net = nn.Sequential(*[nn.Linear(5, 5) for _ in range(4)], nn.Linear(5, 3)).double()
    x = torch.randn(1, 5, dtype=torch.float64)
    found = gradient(net, x, probes=4)
    dense = torch.autograd.functional.jacobian(net, x).reshape(3, 5).norm().item()
    assert found.stages[0].gradient.value == pytest.approx(dense, rel=1e-12)
    assert found.stages[0].gradient.sem < 1e-12 * dense


def test_one_random_probe_tells_no_error():
    found = gradient(scaled_orthogonal(4, 3, 0.5), torch.randn(2, 4, dtype=torch.float64), probes=1)
    assert found.stages[0].backward.sem == math.inf


def test_the_depth_at_which_float16_gives_up_is_where_it_does():
    specimen = build("chain", activation="sigmoid", weight=1.0, bias=-0.5, layers=12)
    found = gradient(specimen.model.double(), torch.full((1, 1), 0.5, dtype=torch.float64))
    lost = found.underflow_depth["float16"]
    slopes = torch.full((lost,), 0.25, dtype=torch.float16)  # each stage's, at the fixed point 1/2
    assert found.rate.value == pytest.approx(math.log(0.25), abs=1e-6)
    assert slopes.double().prod().half() == 0
    assert slopes[:-1].double().prod().half() > 0


def test_an_unknown_output_is_named():
    with pytest.raises(UsageError, match="logits"):
        gradient(Returns(lambda y: {"logits": y}), torch.ones(2, 3), output="logit")


@pytest.mark.parametrize("path", ["logits", "hidden[1]", "[0]"])
def test_outputs_are_named_by_their_path(path):
    def wrapped(y):
        return (3 * y, y) if path == "[0]" else {"other": y, "logits": 3 * y, "hidden": [y, 3 * y]}

    x = torch.ones(2, 3)
    model = Returns(wrapped)
    named = gradient(model, x, output=path)
    model.function = lambda y: 3 * y
    plain = gradient(model, x)
    assert named.stages[0].gradient.value == pytest.approx(plain.stages[0].gradient.value)


def test_keyword_inputs_are_accepted():
    x = torch.ones(2, 3)
    model = Returns(torch.tanh)
    assert gradient(model, x=x).stages == gradient(model, x).stages


def test_packed_sequences_are_refused():
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(4, 2, 3), torch.tensor([4, 2]))
    with pytest.raises(NotDifferentiable, match="pad them"):
        gradient(nn.GRU(3, 5), packed)


def test_a_gradient_that_is_lost_on_the_way_is_reported():
    found = gradient(scaled_orthogonal(2, 60, 0.1).float(), torch.ones(1, 2))
    assert found.kind == "vanishing"
    assert found.rate.value == pytest.approx(math.log(0.1), abs=1e-3)
    assert "already lost" in found.verdict
