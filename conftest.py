"""The examples of README and docs are run as tests, and those of the package on the modules that everyone imports."""

import importlib
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

SOURCES = Path(__file__).parent / "src"

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"]
).pytest()


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Import a module of the package by its name first: importlib mode would make a second one, with other classes."""
    path = collector.path
    if path.suffix == ".py" and SOURCES in path.parents:
        importlib.import_module(".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__"))
