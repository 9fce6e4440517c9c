"""Recurrent layers cost the trace one step, and leave the same graph as torch's own decompositions of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from leadline.graph import trace
from leadline.graph.whole_scans import _SCANS, whole_scans

LAYERS: dict[str, Callable[[bool], nn.Module]] = {
    "gru": lambda first: nn.GRU(3, 4, 2, bias=False, dropout=0.5, batch_first=first),
    "lstm": lambda first: nn.LSTM(3, 4, 2, bidirectional=True, batch_first=first),
    "projected": lambda first: nn.LSTM(3, 4, proj_size=2, batch_first=first),
    "tanh": lambda first: nn.RNN(3, 4, batch_first=first),
    "relu": lambda first: nn.RNN(3, 4, bidirectional=True, nonlinearity="relu", batch_first=first),
}


def shapes(layer: nn.Module, x: Tensor, *, whole: bool) -> list[tuple[torch.Size, tuple[int, ...]]]:
    """Shapes and strides of all outputs on fake tensors, as the trace sees them: through torch's Python kernels."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with whole_scans() if whole else nullcontext(), mode, torch._dispatch.python.enable_python_dispatcher():
        y, states = layer(mode.from_tensor(x))
    every = (y, *states) if isinstance(states, tuple) else (y, states)
    return [(tensor.shape, tensor.stride()) for tensor in every]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_shaped_and_laid_out_as_torch_does(name: str, first: bool) -> None:
    layer, x = LAYERS[name](first).eval(), torch.randn(2, 5, 3)
    with torch.no_grad():
        assert shapes(layer, x, whole=True) == shapes(layer, x, whole=False)


@pytest.mark.parametrize("name", LAYERS)
def test_the_trace_does_not_run_through_the_positions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, dispatch = [0], FakeTensorMode.dispatch

    def counted(mode: FakeTensorMode, *args: object, **kwargs: object) -> object:
        calls[0] += 1
        return dispatch(mode, *args, **kwargs)

    def during(length: int) -> int:
        calls[0] = 0
        graph = trace(LAYERS[name](True), torch.randn(1, length, 3))
        assert graph.verified
        return calls[0]

    monkeypatch.setattr(FakeTensorMode, "dispatch", counted)
    assert 0 < during(200) == during(10)


def test_torchs_kernels_are_back_afterwards_and_real_tensors_have_them_all_along() -> None:
    before = {op: dict(op.py_kernels) for op in _SCANS}
    layer, x = nn.GRU(3, 4), torch.randn(5, 1, 3)
    expected = layer(x)[0]
    with whole_scans(), torch._dispatch.python.enable_python_dispatcher():
        torch.testing.assert_close(layer(x)[0], expected)
    assert {op: dict(op.py_kernels) for op in _SCANS} == before
