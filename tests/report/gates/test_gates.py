"""SARIF, JUnit and the written test: what the command line leaves for machines, read back."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from leadline import cli

MODEL = """
import torch
from torch import nn


class Smooth(nn.Module):
    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        self.conv = nn.Conv1d(1, 4, 5, padding=4 if causal else 2)

    def forward(self, x):
        h = self.conv(x)  # line 13
        return h[..., :-4] if self.causal else h


def build(causal=True, norm=False):
    smooth = Smooth(causal)
    return nn.Sequential(smooth, nn.BatchNorm1d(4)) if norm else smooth, torch.zeros(2, 1, 16)
"""
BUDGET = "[tool.leadline]\nleaks = false\nlookahead = 0\nsteps = 1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "pyproject.toml").write_text(BUDGET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "mine.py:build", *words, "--layout", "b c t -> b v t"])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def results(path: Path) -> list[dict[str, Any]]:
    log = json.loads(path.read_text())
    assert log["version"] == "2.1.0"
    (only,) = log["runs"]
    rules = {rule["id"] for rule in only["tool"]["driver"]["rules"]}
    assert all(result["ruleId"] in rules for result in only["results"])
    found: list[dict[str, Any]] = only["results"]
    return found


def line(result: dict[str, Any]) -> tuple[str, int]:
    where = result["locations"][0]["physicalLocation"]
    return where["artifactLocation"]["uri"], where["region"]["startLine"]


def test_a_good_model_passes_and_leaves_empty_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--sarif", "a.sarif", "--junit", "a.xml", "--budget") == 0
    assert results(folder / "a.sarif") == []
    suite = ElementTree.parse(folder / "a.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("5", "0")
    assert "PASS lookahead: 0 (limit: at most 0)" in capsys.readouterr().out


def test_a_leak_stands_at_its_line_and_a_limit_at_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("causal=False", "--sarif", "a.sarif", "--junit", "a.xml", "--json", "-", "--budget") == 1
    leak, *limits = results(folder / "a.sarif")
    assert (leak["ruleId"], line(leak)) == ("leak", ("mine.py", 13))
    assert [line(result) for result in limits] == [("pyproject.toml", 2), ("pyproject.toml", 3)]
    suite = ElementTree.parse(folder / "a.xml").getroot()
    failed = [case.attrib["name"] for case in suite if len(case)]
    assert failed == ["causality", "budget: leaks", "budget: lookahead"]
    printed = capsys.readouterr()
    json.loads(printed.out)  # nothing else on standard output
    assert "FAIL lookahead: 2" in printed.err


def test_samples_that_see_each_other_are_a_result_of_their_own(folder: Path) -> None:
    assert run("norm=True", "--sarif", "a.sarif", "--junit", "a.xml") == 0  # nobody asked for a limit
    assert [result["ruleId"] for result in results(folder / "a.sarif")] == ["leak", "samples"]


def run_by_hand(written: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run a test file as pytest would, without the price of another process; return the names of its tests."""
    with monkeypatch.context() as patch:
        patch.setattr(pytest, "fixture", lambda **_: lambda function: function)
        patch.chdir("/")
        names = runpy.run_path(str(written))
        reading = names["reading"]()
        tests = [name for name in names if name.startswith("test_")]
        for name in tests:
            names[name](reading)
    return tests


@pytest.mark.parametrize("words", [["causal=True"], ["causal=False"], ["norm=True"]])
def test_the_written_test_passes_from_anywhere(folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tests").mkdir()
    written = folder / "tests" / "test_found.py"
    run(*words, "--write-test", str(written))
    tests = run_by_hand(written, monkeypatch)
    assert {"test_lookahead", "test_connections", "test_span", "test_context"} <= set(tests)
    assert ("test_causality" in tests) == (words == ["causal=True"])


def test_the_written_test_fails_when_the_model_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("--write-test", "test_found.py")
    (folder / "mine.py").write_text(MODEL.replace("padding=4 if causal else 2", "padding=2").replace("[..., :-4]", ""))
    with pytest.raises(AssertionError, match="Smooth is not causal"):
        run_by_hand(folder / "test_found.py", monkeypatch)


def test_the_value_of_the_budget_may_be_left_out_at_the_end_only(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "--budget", "mine.py:build"])
    assert stop.value.code == 2
    assert "write --budget last, or as --budget=FILE" in capsys.readouterr().err
    (folder / "other.toml").write_text("[tool.leadline]\nsteps = 0\n")
    assert run("--budget=other.toml") == 1
