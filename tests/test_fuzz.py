"""Mutated files for every reader (`fuzz.py`): a few of each here, more by `make test-all`, most by `make fuzz`."""

import json
import os
import random
import sys
from pathlib import Path

import fuzz
import pytest
from helpers import readers
from helpers.mutations import mutated

from leadline.errors import UsageError


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_mutated_files_end_in_a_value_or_an_error_of_ours(target: str, tmp_path: Path) -> None:
    assert fuzz.attack(target, 0, 60, tmp_path, limited=False) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_many_mutated_files(target: str, tmp_path: Path) -> None:
    assert fuzz.part_of(tmp_path, target, 10**6, 50_000) == {"inputs": 50_000, "wrong": []}


def test_mutations_differ_and_come_again() -> None:
    valid = readers.run_json()
    made = [mutated(valid, random.Random(f"x {number}")) for number in range(200)]
    assert made == [mutated(valid, random.Random(f"x {number}")) for number in range(200)]
    assert len(set(made)) > 150


@pytest.mark.parametrize("fault", ["raises", "leaves", "eats", "waits"])
def test_what_is_wrong_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))

    def read(_: Path) -> None:
        if next(calls) == 0:
            return  # the valid file
        if fault == "raises":
            raise KeyError("at sea")
        if fault == "leaves":
            sys.exit(0)
        if fault == "waits":
            try:
                while True:
                    pass
            except Exception as error:
                raise UsageError("swallowed") from error

    monkeypatch.setattr(fuzz, "TARGETS", {"one": (lambda: b"valid", read, 1)})
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    monkeypatch.setattr(fuzz, "MEMORY", 1 << 20)
    monkeypatch.setattr(fuzz, "_peak", lambda: next(calls) << 24 if fault == "eats" else 0)
    found = fuzz.attack("one", 7, 1, tmp_path, limited=False)
    assert [line.startswith("one 7: ") for line in found] == [True]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be begun anew")
def test_each_input_has_a_peak_of_its_own() -> None:
    fuzz._forget_peak()
    before = fuzz._peak()
    held = bytearray(1 << 27)
    assert fuzz._peak() - before > 1 << 26
    del held
    fuzz._forget_peak()
    assert fuzz._peak() - before < 1 << 26


def test_a_campaign_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part_of(_: Path, __: str, first: int, count: int) -> dict[str, object]:
        return {"inputs": count, "wrong": [f"{first}"]}

    monkeypatch.setattr(fuzz, "part_of", part_of)
    monkeypatch.setattr(fuzz, "PART", 10)
    few = fuzz.campaign(tmp_path, 400, 1e9)
    assert sum(held["inputs"] for held in few.values()) >= 400
    assert json.loads((tmp_path / "counts.json").read_text()) == few
    more = fuzz.campaign(tmp_path, 800, 1e9)
    assert all(more[target]["wrong"][: len(held["wrong"])] == held["wrong"] for target, held in few.items())
