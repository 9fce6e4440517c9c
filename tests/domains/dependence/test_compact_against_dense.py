"""Compact values and dense ones say the same, of every generated network and of every model of the tables."""

from __future__ import annotations

import pytest
from helpers.blocks import FINITE, LEAKS, PRESENT, STRUCTURAL
from helpers.countable import Case, truth_table
from helpers.dense.comparison import agree
from helpers.networks import Recipe, recipes, single
from hypothesis import given, settings

from leadline import zoo

FAMILIES = {"structural": STRUCTURAL, "finite-mask": FINITE, "present-weights": PRESENT, "leak": LEAKS}
ALONE = [(family, name) for family, blocks in FAMILIES.items() for name in blocks]


# every other one among the fast tests: attentions stand side by side by how their mask is written
@pytest.mark.parametrize(
    ("family", "name"), [pytest.param(*block, marks=[pytest.mark.slow] * (i % 2)) for i, block in enumerate(ALONE)]
)
def test_of_each_block(family: str, name: str) -> None:
    model, x = single(name, FAMILIES[family], family).build()
    agree(model, x)


@pytest.mark.parametrize("case", truth_table(), ids=lambda case: case.name)
def test_of_models_with_known_counts(case: Case) -> None:
    if max(tensor.numel() for tensor in case.inputs) < 1 << 14:
        agree(case.model, *case.inputs)


@pytest.mark.parametrize("name", list(zoo.ZOO))
def test_of_the_zoo(name: str) -> None:
    specimen = zoo.build(name)
    if sum(tensor.numel() for tensor in specimen.inputs) < 1 << 13:
        agree(specimen.model, *specimen.inputs)


@settings(max_examples=10)
@given(recipes(leaking=False) | recipes(leaking=True))
def test_of_generated_networks(recipe: Recipe) -> None:
    model, x = recipe.build()
    agree(model, x)


@pytest.mark.slow
@settings(max_examples=200)
@given(recipes(leaking=False) | recipes(leaking=True))
def test_of_many_generated_networks(recipe: Recipe) -> None:
    model, x = recipe.build()
    agree(model, x)
