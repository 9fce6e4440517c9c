"""Whatever model and inputs a public function is given, it answers, or says in a sentence why it does not.

And the model, its inputs and the process are as they were, down to every byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import pytest
from helpers.odd.functions import FUNCTIONS, QUICK, faults
from helpers.odd.inputs import INPUTS, MODELS
from helpers.odd.models import ODD, odd_model

pytestmark = pytest.mark.filterwarnings("ignore")  # those of torch, about what is odd


def assert_without_fault(found: Iterable[tuple[str, list[str]]]) -> None:
    wrong = [f"{name}: {fault}" for name, faults in found for fault in faults]
    assert not wrong, "\n".join(wrong)


def of_model(model: str, functions: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    return ((name, faults(name, *odd_model(model))) for name in functions)


def of_input(model: str, given: str, functions: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    return ((name, faults(name, MODELS[model](), (INPUTS[given](),))) for name in functions)


@pytest.mark.parametrize(("model", "function"), [*zip(ODD, cycle(QUICK), strict=False)])
def test_odd_models(model: str, function: str) -> None:
    assert_without_fault(of_model(model, [function]))


@pytest.mark.parametrize(("given", "function"), [*zip(INPUTS, cycle(QUICK), strict=False)])
def test_odd_inputs(given: str, function: str) -> None:
    assert_without_fault(of_input("lenient", given, [function]))


@pytest.mark.slow
@pytest.mark.parametrize("model", ODD)
def test_odd_models_under_every_function(model: str) -> None:
    assert_without_fault(of_model(model, FUNCTIONS))


@pytest.mark.slow
@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("model", MODELS)
def test_odd_inputs_under_every_function(model: str, given: str) -> None:
    assert_without_fault(of_input(model, given, FUNCTIONS))
