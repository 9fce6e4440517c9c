"""Verdicts on generated networks whose causality is known by construction, and on every block alone."""

from __future__ import annotations

import pytest
from helpers.blocks import FINITE, LEAKS, PRESENT, STRUCTURAL
from helpers.networks import Recipe, recipes
from hypothesis import given, settings

from leadline.domains.verdicts import causality

FAMILIES = {"structural": STRUCTURAL, "finite-mask": FINITE, "present-weights": PRESENT, "leak": LEAKS}
ALONE = [(family, name) for family, blocks in FAMILIES.items() for name in blocks]


def judged(recipe: Recipe) -> str:
    model, x = recipe.build()
    return causality(model, x, layout=recipe.layout).verdict.value


@pytest.mark.parametrize(("family", "name"), ALONE)
def test_each_block_has_its_verdict(family: str, name: str) -> None:
    full = f"leak: {name}" if family == "leak" else name
    assert judged(Recipe((full,), family, tokens=False, seed=0)) == family


@settings(max_examples=25)
@given(recipes())
def test_generated_networks_have_their_verdicts(recipe: Recipe) -> None:
    assert judged(recipe) == recipe.verdict


@pytest.mark.slow
@settings(max_examples=2000)
@given(recipes())
def test_two_thousand_generated_networks_have_their_verdicts(recipe: Recipe) -> None:
    assert judged(recipe) == recipe.verdict
