"""The examples of README and docs are run as tests."""

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"]
).pytest()


@pytest.hookimpl(tryfirst=True)  # before names get their groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the examples of one page in one process: later ones use the names of earlier ones."""
    for item in items:
        if item.path.suffix == ".md":
            item.add_marker(pytest.mark.xdist_group(item.path.name))
