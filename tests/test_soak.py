"""The soak: parts are kept and added up, and what is judged untrue is found, named and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
import soak
from helpers.networks import numbered
from rich.console import Console


def test_parts_that_are_done_are_added_up_and_not_judged_again(tmp_path: Path) -> None:
    for first in (0, 2):
        soak.judge(tmp_path, first, 2)
    total = soak.soak(4, tmp_path, 1, Console(quiet=True), size=2)  # no process is started: nothing is missing
    assert (total.judged.total(), total.faults, total.refused) == (4, [], [])
    assert total.judged["leak judged leak"] == 2


def test_a_leak_that_is_certified_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "_verdict", lambda _: "structural")
    assert soak.main(["--network", "1"]) == 1
    assert "FAULT, --network 1: a leak is certified as structural" in capsys.readouterr().out


def test_a_number_is_one_network() -> None:
    assert repr(numbered(5)) == repr(numbered(5))
    assert [numbered(number).verdict == "leak" for number in range(4)] == [False, True, False, True]
