"""What the counting assertions say when they fail."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from leadline.testing import assert_connections, assert_span


def test_a_wrong_span_shows_the_path() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.LSTM(3, 2, batch_first=True))
    x = torch.zeros(1, 4, 3)
    assert assert_span(model, x, steps=5).op_steps == 5
    assert_span(model, x, at_most=5)
    with pytest.raises(
        AssertionError, match=r"(?s)span is 5 steps, not 4; .*1 × aten\.linear.* at 0.*4 × aten\.lstm.* at 2"
    ):
        assert_span(model, x, steps=4)
    with pytest.raises(AssertionError, match="5 steps, more than 4"):
        assert_span(model, x, at_most=4)


def test_wrong_counts_show_the_modules() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Conv1d(4, 1, 3, padding=1)), torch.zeros(4, 3)
    # the convolution has four positions of three taps, two of them outside
    assert_connections(model, x, connections=4 * 12 + 4 * (3 * 4 - 2), macs=4 * 12 + 4 * 3 * 4)
    with pytest.raises(
        AssertionError,
        match=r"(?s)88 connections, not 96; by module:\n  0 \(.*linear.py:\d+\): 48 connections, 48 macs\n  1 \(.*: 40",
    ):
        assert_connections(model, x, connections=96)
    with pytest.raises(AssertionError, match="96 macs, not 1"):
        assert_connections(model, x, macs=1)
