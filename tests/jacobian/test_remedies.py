"""Remedies are tried on copies, mend what they apply to, and do what they say."""

import math

import pytest
import torch
from torch import nn

from leadline import check, gradient, remedies
from leadline.errors import ModelError
from leadline.report.verdicts import cards
from leadline.zoo import build


def tanh_net(gain=1.0, depth=16, width=48):
    torch.manual_seed(0)
    layers = [nn.Linear(width, width) for _ in range(depth)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=gain * width**-0.5)
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())]), torch.randn(4, width)


class Residual(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        for layer in (self.branch[0], self.branch[2]):
            nn.init.normal_(layer.weight, std=1.4 * width**-0.5)

    def forward(self, x):
        return x + self.branch(x)


def recurrent(kind, **settings):
    torch.manual_seed(0)
    return kind(4, 16, batch_first=True, **settings), torch.randn(2, 30, 4)


def grid(**settings):
    specimen = build("grid-rnn", cell="lstm", height=8, width=8, inputs=3, hidden=8, seed=0, **settings)
    return specimen.model, specimen.inputs[0]


CASES = {
    "tanh, small": lambda: tanh_net(0.4),
    "tanh, large": lambda: tanh_net(3.0),
    "linear": lambda: (nn.Sequential(*[nn.Linear(12, 12) for _ in range(12)]), torch.randn(3, 12)),
    "rnn": lambda: recurrent(nn.RNN),
    "gru": lambda: recurrent(nn.GRU),
    "lstm": lambda: recurrent(nn.LSTM),
    "grid of LSTMs": grid,
    "residual": lambda: (nn.Sequential(*[Residual() for _ in range(10)]), torch.randn(3, 16)),
}


@pytest.mark.parametrize("name", [name if name == "linear" else pytest.param(name, marks=pytest.mark.slow)
                                  for name in CASES])  # fmt: skip
def test_some_remedy_brings_the_rate_below_two_per_cent(name):
    model, x = CASES[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = remedies(model, x)
    assert abs(found.before.rate.value) > 0.02
    assert found.best is not None
    assert abs(found.best.rate.value) < 0.02, str(found)
    rates = [abs(each.rate.value) for each in found.tried]
    assert rates == sorted(rates)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_scale_that_is_found_is_the_one_that_mends():
    """By hand: a linear chain's rate is the log of its gain, which the scale undoes."""
    torch.manual_seed(1)
    turns = [torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q for _ in range(10)]
    layers = [nn.Linear(8, 8, bias=False, dtype=torch.float64) for _ in turns]
    for layer, turn in zip(layers, turns, strict=True):
        layer.weight = nn.Parameter(1.7 * turn)
    model, x = nn.Sequential(*layers), torch.randn(2, 8, dtype=torch.float64)
    found = remedies(model, x)
    (scaled,) = (each for each in found.tried if each.name.startswith("matrices"))
    assert float(scaled.name.rpartition(" ")[2]) == pytest.approx(1 / 1.7, rel=0.01)
    (drawn,) = (each for each in found.tried if each.name.startswith("orthogonal"))
    assert drawn.name == "orthogonal matrices × 1"
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(float(scaled.name.rpartition(" ")[2]))
    assert gradient(model, x).rate.value == pytest.approx(scaled.rate.value, abs=0.003)


@pytest.mark.slow
def test_the_forget_bias_of_a_grid_is_that_of_both_its_gates():
    """The oracle: the model with the bias that is named, put in by hand."""
    model, x = grid()
    model.double()
    with torch.no_grad():
        model.bias[:, 24:] -= 2.0
    found = remedies(model, x.double())
    (tried,) = (each for each in found.tried if each.name.startswith("forget bias"))
    with torch.no_grad():
        model.bias[:, 24:] += float(tried.name.rpartition(" ")[2])
    assert gradient(model, x.double()).rate.value == pytest.approx(tried.rate.value, abs=0.01)
    assert abs(tried.rate.value) < abs(found.before.rate.value) / 2


@pytest.mark.slow
def test_scaled_branches_are_those_of_the_model_written_so():
    torch.manual_seed(0)
    blocks, x = [Residual() for _ in range(9)], torch.randn(3, 16)
    found = remedies(nn.Sequential(*blocks), x)
    (scaled,) = (each for each in found.tried if each.name.startswith("branches"))
    with torch.no_grad():
        for block in blocks[:-1]:  # the last one's is not taken by another
            block.branch[2].weight.mul_(1 / 3)
            block.branch[2].bias.mul_(1 / 3)
    by_hand = gradient(nn.Sequential(*blocks), x)
    assert scaled.rate.value == pytest.approx(by_hand.rate.value, abs=0.02)
    assert scaled.total.value == pytest.approx(by_hand.total.value, abs=0.05)


def test_a_check_says_what_mends_where_it_is_asked():
    model, x = CASES["linear"]()
    audit = check(model, x, only=["gradient"], remedies=True)
    assert "tried on a copy" in cards(audit)[0].advice
    assert "matrices ×" in cards(audit)[0].advice
    assert "remedies" in cards(check(model, x, only=["gradient"]))[0].advice
    kept = nn.Sequential(*[nn.Identity() for _ in range(3)], nn.Linear(12, 12))
    assert check(kept, x, only=["gradient"], remedies=True).remedies is None  # nothing to mend


def test_what_cannot_be_copied_is_said():
    class Bound(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("it holds a lock")

    with pytest.raises(ModelError, match=r"cannot be copied.*lock"):
        remedies(nn.Sequential(*[Bound(3, 3) for _ in range(4)]), torch.randn(2, 3))


def test_nothing_applies_where_there_is_nothing_to_change():
    class Halves(nn.Module):
        def forward(self, x):
            return 0.5 * x

    found = remedies(nn.Sequential(*[Halves() for _ in range(6)]), torch.randn(2, 3))
    assert found.best is None
    assert math.isfinite(found.before.total.value)
