"""Recurrent layers cost the trace one step, and leave the same graph as torch's own decompositions of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from leadline.graph import Kind, trace
from leadline.graph.recurrences import WholeRecurrences

LAYERS: dict[str, Callable[[bool], nn.Module]] = {
    "gru": lambda first: nn.GRU(3, 4, 2, bias=False, dropout=0.5, batch_first=first),
    "lstm": lambda first: nn.LSTM(3, 4, 2, bidirectional=True, batch_first=first),
    "projected": lambda first: nn.LSTM(3, 4, proj_size=2, batch_first=first),
    "tanh": lambda first: nn.RNN(3, 4, batch_first=first),
    "relu": lambda first: nn.RNN(3, 4, bidirectional=True, nonlinearity="relu", batch_first=first),
}


def shapes(layer: nn.Module, x: Tensor) -> list[tuple[torch.Size, tuple[int, ...]]]:
    """Shapes and strides of all outputs."""
    y, states = layer(x)
    every = (y, *states) if isinstance(states, tuple) else (y, states)
    return [(tensor.shape, tensor.stride()) for tensor in every]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # said once a process
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_shaped_and_laid_out_as_torch_does(name: str, first: bool) -> None:
    layer, x, mode = LAYERS[name](first).eval(), torch.randn(2, 5, 3), FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad(), mode, WholeRecurrences():
        whole = shapes(layer, mode.from_tensor(x))
    with torch.no_grad():
        assert whole == shapes(layer, x)


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
        assert [node.op.split(".")[0] for node in graph.nodes if node.kind is Kind.SCAN] == ["aten"]
        return calls[0]

    monkeypatch.setattr(FakeTensorMode, "dispatch", counted)
    assert 0 < during(200) == during(10)


@pytest.mark.parametrize("whole", [False, True])
def test_real_tensors_have_torchs_kernels_all_along(whole: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.GRU(3, 4), torch.randn(5, 1, 3)
    expected = layer(x)[0]
    with WholeRecurrences() if whole else nullcontext():
        assert torch.equal(layer(x)[0], expected)
