"""What run folders hold: published schemas, and run.json and result.json that are refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import readers
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import Dataset, load
from leadline.errors import CheckpointError
from leadline.files.reading import as_record
from leadline.training import load_run
from leadline.training.folder import RunFolder
from leadline.training.records import SCHEMAS, DataRecord, json_schema
from leadline.zoo import ZOO, build

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_published_as_they_are(name: str) -> None:
    """This module, run by itself, writes them anew; where a field changes its meaning, under a new version."""
    assert json.loads((PUBLISHED / f"{name}.json").read_text()) == json_schema(name)


def test_nothing_else_is_published() -> None:
    assert {path.stem for path in PUBLISHED.iterdir()} == set(SCHEMAS)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder, whole."""
    for name, content in readers.trained()[0].items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


BAD_RUNS: dict[str, Callable[[dict[str, Any]], object]] = {
    "rate": lambda r: r["data"].update(rate=10**9),
    "levels": lambda r: r["data"].update(levels=0),
    "sound in the shape of pictures": lambda r: r["data"].update(shape=[8, 8]),
    "pictures without a shape": lambda r: r["data"].update(kind="image"),
    "pictures with a rate": lambda r: r["data"].update(kind="image", shape=[8, 8]),
    "pictures for a model of sequences": lambda r: r["data"].update(kind="image", shape=[8, 8], rate=None),
    "pictures of one axis": lambda r: r["data"].update(kind="image", shape=[64], rate=None),
    "rows of other pictures": lambda r: r["data"].update(kind="image", shape=[64], picture=[8, 9], rate=None),
    "rows of rows": lambda r: r["data"].update(kind="image", shape=[8], picture=[8], rate=None),
    "two colours": lambda r: r["data"].update(kind="image", shape=[128], picture=[8, 8, 2], rate=None),
    "no plan": lambda r: r.pop("plan"),
    "lag": lambda r: r.update(lag=2),
    "settings": lambda r: r["model"].update(settings=[]),
    "more layers": lambda r: r["model"]["settings"].update(layers=10**9),
    "wider": lambda r: r["model"]["settings"].update(channels=10**6),
    "wider than memory": lambda r: r["model"]["settings"].update(channels=2**62),
    "longer": lambda r: r["model"]["settings"].update(length=10**9),
    "unknown setting": lambda r: r["model"]["settings"].update(colour=1),
    "unknown model": lambda r: r["model"].update(name="nobody"),
    "train": lambda r: r["train"].update(lr="high"),
    "train too large": lambda r: r["train"].update(lr=10**400),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_run_that_cannot_be_is_refused(name: str, run: Path) -> None:
    assert load_run(run).result is not None
    record = json.loads(readers.run_json())
    BAD_RUNS[name](record)
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError):
        load_run(run)


SETS: dict[str, Callable[[], Dataset]] = {
    "sound": lambda: load("tones"),
    "pictures": lambda: load("digits"),
    "colours": lambda: load("photographs"),
    "rows": lambda: load("digits", flatten=True),
    "rows of colours": lambda: load("photographs", flatten=True),
    "bytes": lambda: load("pydoc"),
    "characters": lambda: load("pydoc", symbols="characters"),
}


@pytest.mark.parametrize("kind", SETS)
def test_what_every_data_set_says_of_itself_is_read(kind: str) -> None:
    said = json.loads(json.dumps(SETS[kind]().describe()))
    assert as_record(said, DataRecord, "here", CheckpointError).levels == said["levels"]


@pytest.mark.parametrize("text", ["", "{}", "NaN", "[" * 100_000, '{"steps": NaN}', '{"validation": {"symbols": 0}}'])
def test_a_result_that_is_none_is_refused(text: str, run: Path) -> None:
    (run / "result.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"result\.json is damaged"):
        RunFolder(run).result()


@settings(max_examples=30)
@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)))
def test_any_other_record_is_refused(tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError):
        RunFolder(folder).description()


@pytest.mark.parametrize("name", ZOO)
def test_models_are_built_without_memory_as_they_are_with(name: str) -> None:
    with torch.device("meta"):
        light = build(name)
    shapes = [{key: t.shape for key, t in s.model.state_dict().items()} for s in (light, build(name))]
    assert shapes[0] == shapes[1]


if __name__ == "__main__":
    for published in SCHEMAS:
        (PUBLISHED / f"{published}.json").write_text(json.dumps(json_schema(published), indent=2) + "\n")
