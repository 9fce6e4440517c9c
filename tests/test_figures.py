"""The page of figures says what the benchmarks left, and README quotes it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_of_the_results(figures: ModuleType) -> None:
    assert (ROOT / "docs" / "figures.md").read_text() == figures.page(), "make it anew: python docs/figures.py"


def test_readme_quotes_the_results(figures: ModuleType) -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    for sentence in figures.quoted():
        assert sentence in readme


def test_every_script_of_a_section_exists(figures: ModuleType) -> None:
    scripts = [line.split("`")[1].split()[1] for line in figures.page().splitlines() if line.startswith("`python ")]
    assert len(scripts) >= 7
    assert all((ROOT / script).is_file() for script in scripts)


def test_results_that_name_their_machine_give_the_same_rows(
    figures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rows = figures.streams(), figures._streamed()
    where = {"processor": "a processor", "torch": "2.13.0", "threads": 1}
    monkeypatch.setattr(figures, "results", lambda _: {"machine": where, "rows": rows})
    after = figures.streams()
    assert "· torch 2.13.0 · a processor · 1 thread" in after
    assert after.partition("\n\n| ")[2] == before.partition("\n\n| ")[2] != ""
