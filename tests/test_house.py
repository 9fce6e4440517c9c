"""The house is as its plans say: rooms, files, and the names of the modules that hold public functions."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import leadline

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "leadline"
FUNCTIONS = [name for name in leadline.__all__ if name[0].islower()]


def layers() -> list[set[str]]:
    """Rooms from the top down, as the import contract orders them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c["containers"] == ["leadline"])
    assert contract["exhaustive"]
    return [set(re.split(r"\W+", layer)) for layer in contract["layers"]]


def test_the_table_of_rooms_is_the_contract() -> None:
    rows = re.findall(r"^\| \d+ \| (.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.M)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == layers()


def test_the_picture_in_the_docs_is_the_contract() -> None:
    (picture,) = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "house.md").read_text(), flags=re.S)
    assert [set(row.split()) for row in picture.splitlines()] == layers()


def test_rooms_are_small() -> None:
    files = Counter(path.parent for path in SOURCES.rglob("*.py"))
    assert {str(room.relative_to(ROOT)): n for room, n in files.items() if n > 20} == {}
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES.rglob("*.py")}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > 400} == {}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_module_of_a_public_function_bears_its_name(name: str) -> None:
    assert getattr(leadline, name).__module__.rpartition(".")[2] == f"_{name}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_importing_that_module_leaves_the_function_in_place(name: str) -> None:
    function = getattr(leadline, name)
    importlib.import_module(function.__module__)
    assert getattr(leadline, name) is function


def test_nothing_asks_whether_a_file_is_there_in_a_way_that_may_fail() -> None:
    """Of a name that no file can have pathlib raises errors of the system's, `os.path` says that nothing is there."""
    asking = re.compile(r"\.(exists|is_file|is_dir|is_symlink)\(\)")
    files = [*(ROOT / "src").rglob("*.py")]
    assert files
    assert [file for file in files if asking.search(file.read_text(encoding="utf-8"))] == []
