"""Counts against the truth table by hand, and against the explicit element graph."""

from __future__ import annotations

import pytest
from helpers.countable import Case, truth_table

from leadline.domains.counts import Tally, count
from leadline.results import Status


@pytest.mark.parametrize("case", truth_table(), ids=lambda case: case.name)
def test_truth_table(case: Case) -> None:
    found = count(case.model, *case.inputs)
    assert found.macs == case.macs
    assert found.connections == case.connections
    assert found.parameters == sum(p.numel() for p in case.model.parameters())
    assert found.status is Status.PROVED
    assert sum(found.by_module.values(), Tally()) == Tally(found.connections, found.macs, found.parameters)
