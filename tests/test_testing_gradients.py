"""The assertion on gradients passes and fails where it should, and says why."""

import math

import pytest
import torch
from torch import nn

from leadline.testing import assert_gradient_stable


def chain(scale, depth=12):
    layers = [nn.Linear(4, 4, bias=False, dtype=torch.float64) for _ in range(depth)]
    for layer in layers:
        layer.weight = nn.Parameter(scale * torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0])
    return nn.Sequential(*layers), torch.randn(2, 4, dtype=torch.float64)


def test_an_orthogonal_chain_passes():
    assert assert_gradient_stable(*chain(1.0), through=10_000).kind == "stable"


@pytest.mark.parametrize(("scale", "word"), [(0.5, "vanishing"), (2.0, "exploding")])
def test_a_scaled_chain_fails_and_says_how(scale, word):
    with pytest.raises(AssertionError, match=word):
        assert_gradient_stable(*chain(scale))


def test_the_rate_that_passes_is_the_users():
    assert assert_gradient_stable(*chain(0.9), rate=0.2).rate.value == pytest.approx(math.log(0.9))
    with pytest.raises(AssertionError, match=r"0\.9 × a stage"):
        assert_gradient_stable(*chain(0.9), rate=0.05)


def test_a_depth_to_carry_gradients_through_may_be_asked_for():
    assert_gradient_stable(*chain(0.95), through=100)
    with pytest.raises(AssertionError, match="float16 loses"):
        assert_gradient_stable(*chain(0.95), through=1000)


def test_one_stage_is_no_evidence():
    with pytest.raises(AssertionError, match="too few"):
        assert_gradient_stable(nn.Linear(3, 3), torch.randn(1, 3))


@pytest.mark.parametrize("place", [0, 6, -1])
@pytest.mark.parametrize("gain", [1e-10, 1e-3, 1e4])
def test_one_stage_that_loses_or_blows_up_the_gradient_fails(place, gain):
    model, x = chain(1.0)
    with torch.no_grad():
        model[place].weight.mul_(gain)
    with pytest.raises(AssertionError, match="over all 12 stages"):
        assert_gradient_stable(model, x)
    assert assert_gradient_stable(model, x, rate=100.0, total=1e12).total.n


def test_a_gradient_that_turns_fails():
    model, x = chain(1.0, depth=20)
    with torch.no_grad():
        for place, layer in enumerate(model):
            layer.weight.mul_(2.0 if place < 10 else 0.5)
    with pytest.raises(AssertionError, match="turning"):
        assert_gradient_stable(model, x)


def test_stages_without_a_law_pass_where_their_rate_is_certain_to_be_small():
    torch.manual_seed(4)
    blocks = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True) for _ in range(12)]
    model, x = nn.Sequential(*blocks).eval(), torch.randn(2, 5, 8)
    assert not assert_gradient_stable(model, x, rate=0.3).sure
    with pytest.raises(AssertionError, match="judge more blocks"):
        assert_gradient_stable(model, x, rate=0.1)
