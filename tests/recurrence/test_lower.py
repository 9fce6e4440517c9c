"""Lowering: what a model becomes, its structure against the graph level, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline import zoo
from leadline.errors import LayoutError, NotUniform
from leadline.recurrence import system
from leadline.recurrence.analysis.connections import connections, count_at
from leadline.recurrence.analysis.depth import training_depth
from leadline.recurrence.analysis.schedule import generation_schedule

CORES: dict[str, dict[str, Any]] = {
    "dilated-stack": {"layers": 3, "channels": 2, "length": 11},
    "masked-stack": {"layers": 3, "channels": 2, "height": 5, "width": 4},
    "grid-rnn": {"layers": 2, "inputs": 2, "hidden": 3, "height": 4, "width": 5},
}


@pytest.mark.parametrize("name", CORES)
def test_connections_and_span_agree_with_the_graph_level(name: str) -> None:
    specimen = zoo.build(name, **CORES[name])
    made = system(specimen.model, *specimen.inputs, layout=specimen.layout)
    sizes = dict(zip(made.axes, made.sizes, strict=True))
    counted = leadline.count(specimen.model, *specimen.inputs)
    assert count_at(connections(made), made, sizes) * len(specimen.inputs[0]) == counted.connections
    assert training_depth(made).at(**sizes) == leadline.span(specimen.model, *specimen.inputs).steps


def test_a_pixelcnn_of_any_depth_generates_in_fronts() -> None:
    specimen = zoo.build("pixelcnn", first_kernel=3, layers=2, height=9, width=7)
    made = system(specimen.model.eval(), *specimen.inputs, layout=specimen.layout)
    assert generation_schedule(made).length == 2 * 8 + 7


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)


def test_what_does_not_fit_is_refused_by_operation_module_and_line() -> None:
    x = torch.randn(1, 6, 3)
    layout = "b t c -> b t v"
    with pytest.raises(NotUniform, match=r"aten.mean.dim at 1 \(.*test_lower.py:\d+\): it mixes positions"):
        system(nn.Sequential(nn.Linear(3, 3), Mean()), x, layout=layout)
    with pytest.raises(NotUniform, match="bidirectional"):
        system(nn.GRU(3, 2, batch_first=True, bidirectional=True), x, layout=layout, output="[0]")
    with pytest.raises(LayoutError, match="no position axis"):
        system(nn.Linear(3, 3), x[0], layout="b c -> b v")
