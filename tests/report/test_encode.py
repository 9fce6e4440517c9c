"""JSON keeps every field, and numbers that JSON does not know stay readable."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leadline.report.writing import encode, to_json
from leadline.results import Coverage, Estimate, Gap, Place, Status

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_plain_values_round_trip(value: object) -> None:
    assert json.loads(to_json(value)) == value


def test_results_keep_their_fields_and_status() -> None:
    gap = Gap("aten.mystery.default", Place("layers.0", "m.py:3"))
    assert encode(Coverage(3, (gap,)))["gaps"][0]["place"] == {"module": "layers.0", "source": "m.py:3"}
    assert encode(Estimate(math.nan, math.inf, 1)) == {
        "value": "nan",
        "sem": "inf",
        "n": 1,
        "seed": None,
        "dof": "inf",
    }
    assert encode({Status.PROVED: torch.float32}) == {"proved": "torch.float32"}


@pytest.mark.parametrize("array", [torch.tensor([[True, False]]), np.array([[True, False]])])
def test_arrays_become_lists(array: object) -> None:
    assert encode(array) == [[True, False]]


@dataclass(frozen=True)
class Odd:
    what: object


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode(Odd(object()))
