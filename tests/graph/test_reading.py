"""A reading works out what it is asked for, once, in any order, and nothing that was not asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.calls import counted
from torch import Tensor, nn

from leadline.errors import LayoutError, ModelError, TraceError
from leadline.graph import Reading, resolve
from leadline.graph.trace import trace_call

CONV = (nn.Conv1d(3, 2, 3, padding=1), (torch.zeros(4, 3, 5),))


def test_nothing_is_traced_before_it_is_asked_for_and_then_once() -> None:
    with counted(trace_call, resolve) as calls:
        reading = Reading(*CONV, layout="b c t -> b v t")
        assert list(reading.tensors) == ["input"]
        assert not calls
        assert reading.sizes == {"t": 5}
        assert reading.ranks.tolist() == [0, 1, 2, 3, 4]
        assert (reading.output, reading.output_axes, reading.output_shape) == ("output", ("b", "v", "t"), (4, 2, 5))
        assert (reading.input_axes, reading.input_shape("input")) == ({"input": ("b", "c", "t")}, (4, 3, 5))
        assert reading.graph is reading.graph
    assert calls == {"reading.trace_call": 1, "reading.resolve": 1}


def test_a_graph_needs_no_axes() -> None:
    """Two axes of floats may be features or positions: only what needs to know asks."""
    reading = Reading(nn.Linear(3, 3), (torch.zeros(2, 3),))
    assert len(reading.graph.outputs) == 1
    with pytest.raises(LayoutError, match="can be read in several ways"):
        _ = reading.layout


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else -x


def test_an_error_is_kept_too() -> None:
    reading = Reading(Branching(), (torch.ones(2),))
    with counted(trace_call) as calls:
        for _ in range(2):
            with pytest.raises(TraceError, match="branches on the values"):
                _ = reading.graph
    assert calls == {"reading.trace_call": 1}


def test_what_is_not_an_error_of_ours_is_not_kept() -> None:
    reading, results = Reading(*CONV), iter([ValueError("at sea"), 3])

    def work() -> int:
        found = next(results)
        if isinstance(found, ValueError):
            raise found
        return found

    with pytest.raises(ValueError, match="at sea"):
        reading.once("x", work)
    assert [reading.once("x", work) for _ in range(2)] == [3, 3]


def test_empty_tensors_have_no_positions() -> None:
    reading = Reading(nn.Identity(), (torch.zeros(2, 0, 3),), layout="b t c -> b t c")
    with pytest.raises(ModelError, match=r"input of shape \(2, 0, 3\) has no elements"):
        _ = reading.layout


class Scaled(nn.Module):
    def forward(self, x: Tensor, scale: Tensor, *, power: float = 1.0, layout: Tensor | None = None) -> Tensor:
        return x * scale**power if layout is None else x * layout


def test_tensors_have_the_names_that_forward_gives_them_in_any_order() -> None:
    x, scale = torch.rand(2, 3), torch.rand(1)
    for kwargs in ({"x": x, "scale": scale}, {"scale": scale, "x": x}):
        reading = Reading(Scaled(), (), kwargs, layout={"x": "b t", "scale": None, "output": "b t"})
        assert reading.tensors["x"] is x
        assert reading.tensors["scale"] is scale
        assert list(reading.input_axes) == ["x"]
        assert reading.graph.verified


def test_a_forward_may_have_keywords_of_our_names() -> None:
    ours: dict[str, Any] = {"x": torch.rand(2, 3), "scale": torch.rand(1), "layout": torch.rand(2, 3)}
    assert list(Reading(Scaled(), (), ours).graph.inputs) == ["x", "scale", "layout"]


def test_other_tensors_keep_the_literals_and_the_axes() -> None:
    x, scale = torch.rand(2, 3), torch.rand(1)
    reading = Reading(Scaled(), (x, scale), {"power": 2.0}, layout={"x": "b t", "scale": None, "output": "b t"})
    longer = reading.on({"x": torch.rand(2, 7)})
    assert longer.sizes == {"t": 7}
    assert longer.tensors["scale"] is scale
    assert longer.kwargs == {"power": 2.0}
    assert reading.sizes == {"t": 3}


def test_evaluation_is_a_mode_of_the_reading_and_not_of_the_model() -> None:
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.Dropout())
    reading = Reading(model, (torch.zeros(1, 1, 4),))
    other = reading.in_evaluation()
    assert (reading.graph.training, other.graph.training) == (True, False)
    assert model[1].training
    assert other.in_evaluation() is other
    model.eval()
    assert reading.in_evaluation() is reading


def test_only_what_has_values_can_be_run() -> None:
    assert Reading(*CONV).has_values
    with torch.device("meta"):
        hollow = Reading(nn.Conv1d(3, 2, 3), (torch.zeros(4, 3, 5),))
    assert not hollow.has_values
