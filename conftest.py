"""The examples of README and docs are run as tests, and those of the package on the modules that everyone imports."""

import importlib
import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

SOURCES = Path(__file__).parent / "src"
# Types are checked at run time where arrays meet shapes. In the rooms of small rules that would double the time of the
# default run; `make test-all` sets CHECKED=leadline.
ROOMS = "audit claims data grid jacobian likelihoods report sampling training zoo"
install_import_hook(
    [os.environ["CHECKED"]] if "CHECKED" in os.environ else [f"leadline.{room}" for room in ROOMS.split()],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"]
).pytest()


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Import a module of the package by its name first: importlib mode would make a second one, with other classes."""
    path = collector.path
    if path.suffix == ".py" and SOURCES in path.parents:
        importlib.import_module(".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__"))
