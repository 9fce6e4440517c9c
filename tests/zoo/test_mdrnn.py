"""The MDRNN sees what its docstring says, counts the weights it should, and starts stable."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.perturbation import dependence, expected
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import UsageError
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig, grid_rnn, mdrnn

CELLS = ("tanh", "lstm")
SMALL = {"classes": 4, "hidden": 5, "embedding": 3, "head": 6, "batch": 4}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", [(3, 4), (4, 3), (1, 4), (4, 1)])
def test_core_sees_the_rectangle_up_to_its_own_cell(size: tuple[int, int], layers: int, cell: str) -> None:
    specimen = grid_rnn(height=size[0], width=size[1], layers=layers, cell=cell, hidden=4, inputs=2)
    seen = dependence(specimen.model, specimen.inputs, specimen.layout)
    np.testing.assert_array_equal(seen, expected(size, lambda up, left: up >= 0 and left >= 0))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reach", [0, 1, 6])
@pytest.mark.parametrize("size", [(3, 4), (4, 3), (1, 4), (4, 1)])
def test_pixels_see_the_row_before_them_and_the_columns_within_reach(
    size: tuple[int, int], reach: int, cell: str
) -> None:
    specimen = mdrnn(height=size[0], width=size[1], layers=2, cell=cell, reach=reach, **SMALL)
    seen = dependence(specimen.model, specimen.inputs, specimen.layout)

    def sees(up: int, left: int) -> bool:
        return left >= 1 if up == 0 else up >= 1 and left >= -reach

    np.testing.assert_array_equal(seen, expected(size, sees))


def test_blind_pixels_are_as_many_as_the_theory_counts() -> None:
    height, width = 4, 5
    specimen = mdrnn(height=height, width=width, **SMALL)
    seen = dependence(specimen.model, specimen.inputs, specimen.layout)
    for i in range(height):
        for j in range(width):
            assert i * width + j - seen[i, j].sum() == i * (width - 1 - j)


def test_labels_reach_every_output_and_positions_change_no_context() -> None:
    settings = {"height": 3, "width": 3, "layers": 1, **SMALL}
    conditional, plain = mdrnn(labels=2, positions=True, **settings), mdrnn(**settings)
    x, label = conditional.inputs
    assert (conditional.model(x, label) != conditional.model(x, 1 - label)).any(-1).all()
    np.testing.assert_array_equal(
        dependence(conditional.model, (x, label), conditional.layout),
        dependence(plain.model, plain.inputs, plain.layout),
    )


def test_a_missing_label_and_a_foreign_size_are_refused() -> None:
    specimen = mdrnn(labels=2, positions=True, **SMALL)
    x, label = specimen.inputs
    with pytest.raises(UsageError, match="label"):
        specimen.model(x)
    with pytest.raises(UsageError, match="8"):
        specimen.model(x[:, :5], label)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.sampled_from(CELLS))
def test_a_core_has_three_matrices_a_layer_and_gate(inputs: int, hidden: int, layers: int, cell: str) -> None:
    model = GridRNN(GridRNNConfig(inputs, hidden, layers, cell))
    below = inputs + (layers - 1) * hidden
    gates = {"tanh": 1, "lstm": 5}[cell]
    weights = gates * hidden * (below + 2 * layers * hidden + layers)
    assert sum(p.numel() for p in model.parameters()) == weights


def test_the_default_model_starts_at_the_uniform_distribution_about() -> None:
    specimen = mdrnn(batch=32)
    logits = specimen.model(*specimen.inputs)
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 2), specimen.inputs[0].flatten())
    assert abs(nats.item() - math.log(17)) < 0.2


@pytest.mark.parametrize(("cell", "factor"), [("tanh", 4), ("lstm", 40)])
def test_what_the_corner_passes_on_keeps_its_size_at_the_start(cell: str, factor: float) -> None:
    """Of a change at the corner, each of 16 antidiagonals carries about the same energy (a forget bias of 1: 2e5)."""
    specimen = grid_rnn(height=16, width=16, hidden=32, cell=cell, batch=1)
    x = torch.zeros_like(specimen.inputs[0])
    corner = x.clone()
    corner[0, 0, 0] = specimen.inputs[0][0, 0, 0]
    _, tangent = torch.func.jvp(specimen.model, (x,), (corner,))
    energy = tangent[0].square().sum(-1).flip(0)
    fronts = torch.stack([energy.diagonal(s - 15).sum() for s in range(16)])
    assert fronts[0] / factor < fronts.min()
    assert fronts.max() < fronts[0] * factor
