"""The assertion on gradients passes and fails where it should, and says why."""

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
    assert assert_gradient_stable(*chain(0.9), rate=0.2).kind == "vanishing"
    with pytest.raises(AssertionError, match="vanishing"):
        assert_gradient_stable(*chain(0.9), rate=0.05)


def test_a_depth_to_carry_gradients_through_may_be_asked_for():
    assert_gradient_stable(*chain(0.95), through=100)
    with pytest.raises(AssertionError, match="float16 loses"):
        assert_gradient_stable(*chain(0.95), through=1000)


def test_one_stage_is_no_evidence():
    with pytest.raises(AssertionError, match="too few"):
        assert_gradient_stable(nn.Linear(3, 3), torch.randn(1, 3))
