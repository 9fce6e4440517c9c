"""A sweep measures every cell once, goes on where it was, writes down what failed, and is read back."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import leadline
from leadline.errors import DataError, UsageError
from leadline.sweeps.grid import cells_of, values_of
from leadline.sweeps.measures import names_of
from leadline.sweeps.swept import Swept
from leadline.sweeps.theory import critical_sigma_w, defaults_of, theory_of
from leadline.zoo import build

pytest.importorskip("pyarrow")

FACTORY = """
import os
from torch import nn, randn
from pathlib import Path

def build(width=4, depth=2, seed=0):
    with open(Path(__file__).with_name("built.txt"), "a") as file:
        file.write(f"{width} {depth} {seed}\\n")
    if width == 5 and not os.path.exists(Path(__file__).with_name("mended")):
        raise ValueError("five is odd")
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)]), randn(3, width)
"""


@pytest.fixture
def factory(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(FACTORY)
    return f"{tmp_path / 'own.py'}:build"


def built(folder: Path) -> list[str]:
    return (folder / "built.txt").read_text().splitlines()


@given(st.integers(-50, 50), st.integers(1, 40), st.integers(1, 30))
def test_a_range_holds_its_ends_and_equal_steps(first: int, steps: int, by: int) -> None:
    begin, step = Decimal(first) / 10, Decimal(by) / 10
    end = begin + steps * step
    (values,) = values_of([f"x={begin}:{end}:{step}"]).values()
    assert [Decimal(value) for value in values] == [begin + place * step for place in range(steps + 1)]


@pytest.mark.parametrize("word", ["x", "=3", "x=", "x=3:1", "x=1:2:0", "x=1,,2", "x=1,1", "1x=3", "x=1:2:0.0000000001"])
def test_what_is_not_a_grid_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        values_of([word])


@pytest.mark.parametrize(
    "text", ["", "nothing.rate", "gradient._rate", "gradient.rate +", "__import__('os')", "gradient[x]", "1", "[1]"]
)
def test_what_is_not_a_measure_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        names_of(text)


def test_every_cell_is_what_the_functions_say(tmp_path: Path) -> None:
    """The oracle asks the public functions one by one."""
    measures = ("gradient.rate", "count.macs", "span.steps", "gradient.stages[0].name", "spectrum(k=2).values[1]")
    settings = {"layers": [2], "sigma_w": "1:1.5:0.5", "width": 8}
    found = leadline.sweep("mlp", settings, measures, tmp_path, seeds=2, workers=0)
    assert len(found.rows) == 4
    for row in found.rows:
        layers, sigma_w, seed = row["layers"], row["sigma_w"], row["seed"]
        specimen = build("mlp", layers=layers, width=8, sigma_w=sigma_w, seed=seed)
        depth = leadline.gradient(specimen.model, *specimen.inputs, seed=int(str(seed)))
        assert row["gradient.rate"] == depth.rate.value
        assert row["gradient.stages[0].name"] == depth.stages[0].name
        assert row["count.macs"] == leadline.count(specimen.model, *specimen.inputs).macs
        assert row["span.steps"] == layers
    assert found.failed == 0
    assert leadline.sweep.read(tmp_path) == found


def test_what_is_finished_is_not_done_again(tmp_path: Path, factory: str) -> None:
    out = tmp_path / "out"
    first = leadline.sweep(factory, {"width": [3, 4]}, "count.macs", out, seeds=2, workers=0)
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = leadline.sweep(factory, {"width": [3, 4]}, "count.macs", out, seeds=2, workers=0)
    assert again == first
    assert built(tmp_path) == ["3 2 0", "3 2 1", "4 2 0", "4 2 1"]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files
    wider = leadline.sweep(factory, {"width": [3, 4, 6]}, "count.macs", out, seeds=2, workers=0)
    assert built(tmp_path)[4:] == ["6 2 0", "6 2 1"]
    assert wider.rows[:4] == first.rows
    (tmp_path / "own.py").write_text(FACTORY + "\n# another version\n")
    leadline.sweep(factory, {"width": [3]}, "count.macs", out, workers=0)
    assert built(tmp_path)[6:] == ["3 2 0"]


def test_a_failed_cell_says_why_and_is_tried_again(tmp_path: Path, factory: str) -> None:
    out = tmp_path / "out"
    found = leadline.sweep(factory, {"width": [4, 5]}, "count.macs, gradient.rate", out, workers=0)
    assert found.failed == 1
    assert "five is odd" in str(found.rows[1]["error"])
    assert found.rows[1]["count.macs"] is None
    leadline.sweep(factory, {"width": [4, 5]}, "count.macs, gradient.rate", out, workers=0)
    failed = [record for record in map(json.loads, map(Path.read_text, (out / "cells").iterdir())) if record["error"]]
    assert [record["tries"] for record in failed] == [2]
    (tmp_path / "mended").touch()
    found = leadline.sweep(factory, {"width": [4, 5]}, "count.macs, gradient.rate", out, workers=0)
    assert found.failed == 0
    assert built(tmp_path) == ["4 2 0", "5 2 0", "5 2 0", "5 2 0"]


def test_an_interrupted_sweep_can_be_read_and_goes_on(
    tmp_path: Path, factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadline.sweeps import cluster

    real, out = cluster.work, tmp_path / "out"

    def interrupted(cell: Any, word: str, folder: Path) -> str:
        if cell.settings["width"] == 6:
            raise KeyboardInterrupt
        return real(cell, word, folder)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "work", interrupted)
        with pytest.raises(KeyboardInterrupt):
            leadline.sweep(factory, {"width": [3, 6, 7]}, "count.macs", out, workers=0)
    half = leadline.sweep.read(out)
    assert [row["error"] for row in half.rows] == [None, "not reached", "not reached"]
    whole = leadline.sweep(factory, {"width": [3, 6, 7]}, "count.macs", out, workers=0)
    assert whole.failed == 0
    assert [line[0] for line in built(tmp_path)] == ["3", "6", "7"]


def test_numbers_that_are_not_finite_come_back(tmp_path: Path) -> None:
    found = leadline.sweep("mlp", {"layers": 2}, "gradient.rate.sem, gradient.law.interval[1]", tmp_path, workers=0)
    again = leadline.sweep("mlp", {"layers": 2}, "gradient.rate.sem, gradient.law.interval[1]", tmp_path, workers=0)
    assert again.rows == found.rows


def test_a_table_that_is_damaged_is_said_to_be(tmp_path: Path) -> None:
    leadline.sweep("chain", {"layers": 2}, "span.steps", tmp_path, workers=0)
    table = tmp_path / "table.parquet"
    content = table.read_bytes()
    table.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="is damaged"):
        leadline.sweep.read(tmp_path)
    with pytest.raises(DataError):
        leadline.sweep.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "measure", "said"),
    [
        ({"lairs": [1]}, "span.steps", "did you mean 'layers'"),
        ({"layers": [1], "seed": [1]}, "span.steps", "say how many"),
        ({"layers": ["many"]}, "span.steps", "must be an integer"),
        ({"layers": [1]}, "spam.steps", "did you mean"),
    ],
)
def test_slips_are_refused_before_any_work(settings: Any, measure: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        leadline.sweep("chain", settings, measure, tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / "cells").exists()


def test_a_model_that_cannot_be_trained_is_refused(tmp_path: Path, factory: str) -> None:
    with pytest.raises(UsageError, match="trains density models of the zoo"):
        leadline.sweep(factory, {"width": 3}, "train.steps", tmp_path / "out", train=1, workers=0)


def test_a_measure_that_is_not_there_is_the_cell_s_error(tmp_path: Path) -> None:
    found = leadline.sweep("chain", {"layers": 2}, "span.stepps", tmp_path, workers=0)
    assert "did you mean 'steps' or 'op_steps'?" in str(found.rows[0]["error"])
    found = leadline.sweep("chain", {"layers": 2}, "gradient.law", tmp_path, workers=0)
    assert "not one value but GrowthLaw" in str(found.rows[0]["error"])
    found = leadline.sweep("chain", {"layers": 2}, "train.test", tmp_path, workers=0)
    assert "train=1" in str(found.rows[0]["error"])


def test_a_cell_is_named_by_all_that_it_rests_on() -> None:
    one = cells_of("mlp", {"layers": ["2"]}, 1, ["gradient.rate"])[0]
    others = [
        cells_of("mlp", {"layers": ["3"]}, 1, ["gradient.rate"])[0],
        cells_of("mlp", {"layers": ["2"]}, 2, ["gradient.rate"])[1],
        cells_of("mlp", {"layers": ["2"]}, 1, ["gradient.total"])[0],
        cells_of("mlp", {"layers": ["2"]}, 1, ["gradient.rate"], layout="b k -> b m")[0],
        cells_of("mlp", {"layers": ["2"]}, 1, ["gradient.rate"], training={"data": "digits", "config": {}})[0],
        cells_of("chain", {"layers": ["2"]}, 1, ["gradient.rate"])[0],
    ]
    assert one.key == cells_of("mlp", {"layers": ["2"]}, 1, ["gradient.rate"])[0].key
    assert len({cell.key for cell in (one, *others)}) == 7


def test_crossings_are_those_of_straight_lines() -> None:
    rows = tuple(
        {"x": float(x), "seed": seed, "gradient.rate": (x - 1.25) * (1 + seed), "error": None}
        for x in (0, 1, 2)
        for seed in (0, 1)
    )
    swept = Swept("m", {"x": (0.0, 1.0, 2.0)}, 2, ("gradient.rate",), rows, "")
    found = swept.crossing("x", "gradient.rate")
    assert found is not None
    assert found.value == pytest.approx(1.25)
    assert swept.crossing("x", "gradient.rate", level=99.0) is None


@pytest.mark.parametrize(
    ("models", "settings"),
    [
        ("masked-stack,mdrnn,grid-rnn", {"layers": [1, 2], "height": [2, 3], "width": [4]}),
        ("dilated-stack,rnn,lstm", {"layers": [1, 3], "length": [2, 5]}),
    ],
)
def test_several_models_stand_beside_their_laws(models: str, settings: Any, tmp_path: Path) -> None:
    """Claim B8 over sizes: steps that are found on the graph, beside formulas in d, H and W or T."""
    measures = ["span.steps", "generation.steps"]
    found = leadline.sweep(models, settings, measures, tmp_path, workers=0)
    assert found.failed == 0, [row["error"] for row in found.rows]
    assert found.settings["model"] == found.models == tuple(models.split(","))
    assert leadline.sweep.read(tmp_path) == found
    compared = 0
    for row in found.rows:
        at = defaults_of(str(row["model"]), {name: row[name] for name in settings})
        for measure in measures:
            theory = theory_of(str(row["model"]), "layers", measure)
            if theory is not None:
                compared += 1
                assert theory.value(at) == row[measure], (row, theory.source)
    assert compared >= len(found.rows)
    with pytest.raises(UsageError, match="a column called model"):
        leadline.sweep(models, {"model": [1]}, measures, tmp_path, workers=0)


def test_theory_is_what_the_field_says() -> None:
    critical = critical_sigma_w("tanh", math.sqrt(0.05))
    assert critical is not None
    assert critical**2 == pytest.approx(1.7610, abs=5e-5)
    rate = theory_of("mlp", "sigma_w", "gradient.rate")
    assert rate is not None
    assert rate.value({"activation": "tanh", "sigma_w": critical, "sigma_b": math.sqrt(0.05)}) == pytest.approx(
        0, abs=1e-6
    )
    half_life = theory_of("lstm", "forget_bias", "reach.half_life")
    assert half_life is not None
    assert half_life.value({"forget_bias": 0.0}) == pytest.approx(1.0)


def test_a_sweep_is_trained_where_asked(tmp_path: Path) -> None:
    settings = {"hidden": 3, "layers": 1, "embedding": 2}
    how: dict[str, Any] = {"train": {"steps": 2, "batch": 4, "warmup": 1, "validation_examples": 4}, "workers": 0}
    found = leadline.sweep("mdrnn", settings, "train.steps, train.test.bits_per_dim, count.parameters", tmp_path, **how)
    (row,) = found.rows
    assert row["error"] is None, row["error"]
    assert row["train.steps"] == 2
    assert 0 < float(str(row["train.test.bits_per_dim"])) < 10
