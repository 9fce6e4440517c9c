"""The census of models that others wrote: the committed table holds what it has to, and comes out again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from census import COLUMNS, KEPT, row, summary
from published import CENSUS
from tables import RESULTS, markdown

ROWS: list[dict[str, Any]] = json.loads(KEPT.read_text())["rows"]


def test_it_is_large_enough() -> None:
    assert len(ROWS) >= 80
    assert len({row["package"] for row in ROWS}) >= 15


def test_nothing_that_a_model_does_contradicts_the_analysis() -> None:
    judged = [row for row in ROWS if row["verdict"] != "none"]
    assert [row["model"] for row in judged if not row["oracle"].startswith("agrees")] == []
    assert all(at["oracle"].startswith("agrees") for row in judged for at in row["lengths"])
    assert all({at["length"] % 2 for at in row["lengths"]} != {0} for row in judged)


def test_next_to_none_is_without_a_verdict_and_each_says_why() -> None:
    without = [row for row in ROWS if row["verdict"] == "none"]
    assert len(without) <= 3
    assert all(row["difference"] for row in without)


def test_every_difference_to_the_counter_is_explained_and_every_model_is_left_as_it_was() -> None:
    judged = [row for row in ROWS if row["verdict"] != "none"]
    assert [row["model"] for row in judged if "not explained" in row["difference"]] == []
    assert [row["model"] for row in judged if bool(row["difference"]) != (row["macs"] != row["torch's counter"])] == []
    assert [row["model"] for row in judged if row["untouched"] != "yes"] == []


def test_the_tables_hold_the_same_models() -> None:
    assert [f"{row['package']}: {row['model']}" for row in ROWS] == [entry.key for entry in CENSUS]
    assert (RESULTS / "census.md").read_text() == f"{summary(ROWS)}\n\n{markdown(ROWS, COLUMNS)}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "mixtral", "mamba", "big_bird", "bart", "TCN, weight norm"])
def test_a_row_comes_out_again(name: str) -> None:
    (entry,) = (entry for entry in CENSUS if entry.name == name)
    (kept,) = (row for row in ROWS if row["model"] == name)
    again = row(entry)
    assert {column: again[column] for column in COLUMNS[:-1]} == {column: kept[column] for column in COLUMNS[:-1]}
