"""A budget under ``[tool.leadline]``: every limit is judged by value, and nothing unusable is passed over."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from leadline.audit._check import check
from leadline.audit.audited import Audit, Unavailable
from leadline.audit.budget import Budget, read_budget
from leadline.audit.limits import MEASURES, drifts
from leadline.errors import UsageError

HERE = Path("pyproject.toml")


@pytest.fixture(scope="module")
def audit() -> Audit:
    """A chain of causal convolutions that see seven positions."""
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 2, 3))]
    return check(nn.Sequential(*layers), torch.randn(2, 2, 16), layout="b c t -> b v t", position=(10,))


def limits(tmp_path: Path, text: str) -> Budget:
    file = tmp_path / "pyproject.toml"
    file.write_text(f"[project]\nname = 'x'\n\n[tool.leadline]\n{text}\n")
    return read_budget(file)


def test_every_measure_has_the_value_of_its_depth(audit: Audit) -> None:
    found = {name: measure(audit) for name, measure in MEASURES.items()}
    assert {name: value.high for name, value in found.items() if name != "growth"} == {
        "lookahead": 0,
        "lookahead_ms": float("inf"),  # nobody said how many positions a second has
        "context": 7,
        "reach": audit.reach.within(0.99),
        "connections": 2 * 4 * 3 * (16 + 15 + 14),
        "macs": 2 * 4 * 3 * 3 * 16,
        "parameters": 3 * 14,
        "steps": 3,
        "generation_steps": audit.generation.steps.hi,
        "memory": audit.memory.peak,
        "saved": audit.memory.saved,
    }
    assert "--rate" in found["lookahead_ms"].text


@given(limit=st.integers(0, 20), least=st.booleans())
def test_a_limit_holds_exactly_where_the_value_is_within(audit: Audit, limit: int, least: bool) -> None:
    (line,) = Budget(HERE, {"context": {"min" if least else "max": limit}}).judge(audit).lines
    assert line.holds == (limit <= 7 if least else limit >= 7)
    assert line.value == "7"


def test_what_is_not_known_does_not_pass(audit: Audit) -> None:
    blank = {"causality": Unavailable("it branches"), "count": Unavailable("no rule"), "gradient": Unavailable("none")}
    unknown = dataclasses.replace(audit, **blank)
    table = {"leaks": False, "verdict": "present-weights", "macs": 10**30, "lookahead": 10**9, "growth": 1e9}
    lines = Budget(HERE, table).judge(unknown).lines
    assert [line.holds for line in lines] == [False] * 5
    assert all("unknown: " in line.value for line in lines)


def test_a_context_that_may_be_longer_is_within_no_most() -> None:
    seen = check(nn.Conv1d(1, 1, 9, padding=4), torch.zeros(1, 1, 5), layout="b c t -> b v t")
    least, most = (Budget(HERE, {"context": {side: 5}}).judge(seen).lines[0] for side in ("min", "max"))
    assert (least.holds, most.holds) == (True, False)
    assert "at least 5" in most.value


def test_growth_is_judged_as_the_assertion_does() -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(12) for layer in (nn.Linear(32, 32), nn.Tanh())]
    vanishing = check(nn.Sequential(*layers), torch.randn(4, 32))
    for rate in (0.01, 0.1, 1.0, 3.0):
        (line,) = Budget(HERE, {"growth": rate}).judge(vanishing).lines
        assert line.holds == (not drifts(vanishing.gradient, rate))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leak = false", "no limit 'leak'; did you mean 'leaks'"),
        ("conections = 3", "did you mean 'connections'"),
        ("leaks = true", "leaks can only be false, got True"),
        ("verdict = 'structral'", "did you mean 'structural'"),
        ("verdict = 'leak'", "verdict is the weakest verdict that passes, got 'leak'"),
        ("steps = 'many'", "steps is a number, got 'many'"),
        ("steps = true", "steps is a number, got True"),
        ("memory = '3 GO'", "memory is a number or text with a unit"),
        ("memory = 'x GiB'", "memory is a number or text with a unit"),
        ("context = {least = 3}", "context has no side 'least'"),
        ("", "states no limits"),
        ("leaks = ", "cannot be read"),
        ("steps = nan", "steps is a number, got nan"),
        ("steps = " + "[" * 5000, "cannot be read"),
    ],
)
def test_unusable_budgets_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        limits(tmp_path, text)


@pytest.mark.parametrize("text", ["tool = 5", "[tool]\nleadline = 5", "[[tool.leadline]]\nleaks = false", "[tool]"])
def test_tables_of_other_kinds_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "budget.toml").write_text(text)
    with pytest.raises(UsageError, match="states no limits"):
        read_budget(tmp_path / "budget.toml")


def test_a_budget_is_a_regular_file_of_some_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 33)
    for name, message in (("pipe", "not a regular file"), ("large", "too large"), ("none", "cannot be read")):
        with pytest.raises(UsageError, match=message):
            read_budget(tmp_path / name)


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("'2 KiB'", 2048), ("'1.5 MB'", 1.5e6), ("'7B'", 7)])
def test_bytes_have_units(tmp_path: Path, audit: Audit, text: str, value: float) -> None:
    (line,) = limits(tmp_path, f"saved = {{min = {text}, max = {text}}}").judge(audit).lines
    exact = dataclasses.replace(audit, memory=dataclasses.replace(audit.memory, saved=value))  # type: ignore[type-var]
    assert not line.holds
    assert limits(tmp_path, f"saved = {{min = {text}, max = {text}}}").judge(exact).lines[0].holds


def test_the_nearest_file_upwards_is_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audit: Audit) -> None:
    limits(tmp_path, "steps = 2\nmacs = 9")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    judgement: Any = read_budget().judge(audit)
    assert judgement.path == tmp_path / "pyproject.toml"
    assert [line.key for line in judgement.lines] == ["macs", "steps"]
    assert [judgement.line_of(line.key) for line in judgement.lines] == [6, 5]
    assert not judgement.holds


def test_without_any_file_the_error_says_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no pyproject\.toml .* --budget=FILE"):
        read_budget()
