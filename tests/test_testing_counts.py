"""What the counting assertions say when they fail, on a model or on a reading."""

from __future__ import annotations

import pytest
import torch
from helpers.calls import counted
from torch import nn

import leadline
from leadline.errors import UsageError
from leadline.graph.trace import trace_call
from leadline.testing import assert_causal, assert_connections, assert_context, assert_span


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


def test_assertions_on_a_reading_read_the_model_once() -> None:
    conv, x = nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 5)
    reading = leadline.read(conv, x, layout="b c t -> b v t")
    with counted(trace_call) as calls:
        assert_span(reading, steps=1)
        assert_connections(reading, connections=13, macs=15)
        assert_context(reading, position=0, sees=2)
        with pytest.raises(
            AssertionError, match=r"(?s)does not see \[\[4\]\]; \[0\] is seen\n  through the model itself"
        ):
            assert_context(reading, position=1, sees=torch.tensor([False, True, True, False, True]))
        with pytest.raises(AssertionError, match="Conv1d is not causal: leak, looks 1 ahead"):
            assert_causal(reading)
    assert calls == {"reading.trace_call": 1}
    with pytest.raises(UsageError, match="a reading holds its inputs and its axes already"):
        assert_span(reading, x)
    with pytest.raises(UsageError, match="a reading holds its inputs and its axes already"):
        assert_causal(reading, layout="b c t -> b v t")
