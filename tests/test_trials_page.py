"""The page of trials says what the results say: its tables, its pictures, and the claims of its sentences."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TASKS = tuple(path.stem.removeprefix("trials-") for path in sorted(RESULTS.glob("trials-*.json")))
DEPTH = {**dict.fromkeys(TASKS, "layers"), "adding": "length", "copy": "length"}
LARGE = math.log(100)


@pytest.fixture(scope="module")
def trials() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        yield importlib.import_module("trials")
    finally:
        sys.path.remove(str(ROOT / "docs"))
        for name in ("trials", "scatter", "trial_words"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "trials.md").read_text(encoding="utf-8")


def test_the_page_and_its_pictures_are_made_of_the_results(trials: ModuleType, page: str) -> None:
    assert page == trials.page(), "make it anew: python docs/trials.py"
    for name in TASKS:
        drawn = (ROOT / "docs" / "pictures" / f"trial-{name}.svg").read_text(encoding="utf-8")
        assert drawn == trials.drawing(trials.results(name)[1])
        assert f"pictures/trial-{name}.svg" in page


def models(name: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Read models from the results by hand: settings, with means of rate, growth, score and loss over seeds."""
    held = json.loads((RESULTS / f"trials-{name}.json").read_text())
    settings = list(held["judged"]["settings"])

    def rows(part: str) -> list[dict[str, Any]]:
        columns = held[part]["columns"]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    through = "gradient.modules" if name == "text" else "gradient"
    taught: dict[tuple[Any, ...], dict[float, list[tuple[float, float, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows("taught"):
        assert row["error"] is None
        where = tuple(row[key] for key in settings)
        taught[where][row["lr"]].append((row["trial.validation"], row["trial.score"], row["trial.loss"]))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for where, by_lr in taught.items():
        judged = [row for row in rows("judged") if tuple(row[key] for key in settings) == where]
        best = max(by_lr, key=lambda lr: np.mean([chosen_by for chosen_by, _, _ in by_lr[lr]]))
        mean: dict[str, Any] = {f"gradient.{key}": float(np.mean([row[f"{through}.{key}"] for row in judged]))
                                for key in ("rate", "total")}  # fmt: skip
        within = [row["reach.within(0.99)"] for row in judged if "reach.within(0.99)" in row]
        ends = [row["reach.lost_at.get('float16', 0)"] for row in judged if name in ("adding", "copy")]
        score = float(np.mean([score for _, score, _ in by_lr[best]]))
        loss = float(np.mean([loss for _, _, loss in by_lr[best]]))
        depth = where[settings.index(DEPTH[name])]
        found[where] = {**mean, "score": score, "loss": loss, "lr": best, "by_lr": by_lr,
                        "across": mean["gradient.rate"] * depth,
                        "within": float(np.mean(within)) if within else None,
                        "ends": max(math.inf if end is None else end for end in ends) if ends else None}  # fmt: skip
    return found


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of Markdown, as cells."""
    blocks = [block for block in text.split("\n\n") if block.startswith("| ")]
    rows = [[line.replace("\\|", "¦").strip("| ").split(" | ") for line in block.splitlines()] for block in blocks]
    return [[row for row in block if set(row) != {"---"}] for block in rows]


@pytest.mark.parametrize("name", TASKS)
def test_a_table_of_models_is_what_the_results_say(page: str, name: str) -> None:
    (section,) = re.findall(rf"^## {name}$(.*?)(?=^## |\Z)", page, flags=re.M | re.S)
    head, *rows = tables(section)[0]
    known = models(name)
    assert len(rows) == len(known)
    for row, (where, found) in zip(rows, known.items(), strict=True):
        cells = dict(zip(head, row, strict=True))
        assert set(map(str, where)) | {str(found["lr"])} >= {cells[key] for key in head[: head.index("rate × depth")]}
        assert cells["rate × depth"].split(" ± ")[0] == f"{found['across']:.3g}"
        assert cells["growth"].split(" ± ")[0] == f"{found['gradient.total']:.3g}"
        assert cells[head[-3]].split(" ± ")[0] == f"{found['score']:.1%}"
        assert cells[head[-1]].split(" ± ")[0] == f"{found['loss']:.3f}"


@pytest.mark.parametrize("name", TASKS)
def test_a_table_of_learning_rates_is_what_the_results_say(page: str, name: str) -> None:
    (section,) = re.findall(rf"^## {name}$(.*?)(?=^## |\Z)", page, flags=re.M | re.S)
    head, *rows = tables(section)[1]
    for row, found in zip(rows, models(name).values(), strict=True):
        for cell, (lr, lessons) in zip(row[-len(found["by_lr"]) :], sorted(found["by_lr"].items()), strict=True):
            score, loss = float(np.mean([each for _, each, _ in lessons])), [each for _, _, each in lessons]
            finite = all(isinstance(each, float) for each in loss)  # others are written as text
            said = f"{score:.1%}, {f'{np.mean(loss):.3g}' if finite else 'not finite'}"
            assert cell == (f"{said} *" if lr == found["lr"] else said)
    assert head[-len(found["by_lr"]) :] == [f"lr={lr:g}" for lr in sorted(found["by_lr"])]


@pytest.mark.parametrize("name", TASKS)
def test_correlations_are_scipy_s_of_the_results(page: str, name: str) -> None:
    found = list(models(name).values())
    scores = [each["score"] for each in found]
    rows = {row[1]: row for row in tables(page)[1] if row[0] == f"[{name}](#{name})"}
    for verdict, key in (("rate × depth", "across"), ("growth", "gradient.total")):
        rho = stats.spearmanr([-abs(each[key]) for each in found], scores).statistic
        assert float(rows[verdict][3].split()[0]) == pytest.approx(rho, abs=0.0051)
        rho = stats.spearmanr([-abs(each[key]) for each in found], [-each["loss"] for each in found]).statistic
        assert float(rows[verdict][4].split()[0]) == pytest.approx(rho, abs=0.0051)


def test_models_are_counted_by_what_their_gradient_does(page: str) -> None:
    rows = {(row[0], row[1]): row[2:] for row in tables(page)[2][1:]}
    for name in TASKS:
        growth = [(each["gradient.total"], each["score"]) for each in models(name).values()]
        for kind, holds in (
            ("vanishes", lambda g: g < -LARGE),
            ("explodes", lambda g: g > LARGE),
            ("neither", lambda g: abs(g) <= LARGE),
        ):
            scores = [score for g, score in growth if holds(g)]
            if not scores:
                assert (name, kind) not in rows
                continue
            shown = rows[name, kind]
            assert shown[0] == str(len(scores))
            assert shown[2:] == [f"{each:.1%}" for each in (min(scores), sum(scores) / len(scores), max(scores))]


def of(name: str, **settings: Any) -> list[dict[str, Any]]:
    """Return the models of some settings."""
    held = json.loads((RESULTS / f"trials-{name}.json").read_text())
    places = {key: list(held["judged"]["settings"]).index(key) for key in settings}
    every = models(name).items()
    return [m for where, m in every if all(where[places[key]] == value for key, value in settings.items())]


def test_through_layers_the_sentences_are_true() -> None:
    stacks = list(models("residual").values())
    vanished = [each for each in stacks if each["gradient.total"] < -LARGE]
    assert vanished
    assert all(each["score"] < 0.15 for each in vanished)
    (exploded,) = (each for each in stacks if each["gradient.total"] > LARGE)
    assert exploded["score"] > 0.5
    assert exploded["lr"] == min(each["lr"] for each in stacks)
    (kept,) = of("residual", skip=False, scale=1.0, layers=20)
    assert abs(kept["gradient.total"]) < 1
    assert kept["score"] < 0.3
    (branch,), (before,) = (
        of("bn-placement", placement="branch", layers=40),
        of("bn-placement", placement="before", layers=40),
    )
    assert branch["across"] < before["across"]  # by a difference within its error
    assert branch["gradient.total"] > before["gradient.total"]
    assert branch["score"] < before["score"]


def test_placements_told_apart_stand_in_one_order(trials: ModuleType) -> None:
    """What is asked of this trial, and the one pair that is not in order: its rates are not told apart."""
    _, found = trials.results("bn-placement")
    assert found.taught.seeds == 5
    assert found.correlation.value >= 0.9
    assert found.agreements["rate × depth"].against == ()
    pair = [point.verdicts["rate × depth"] for point in found.points
            if point.settings["layers"] == 40 and point.settings["placement"] in ("branch", "before")]  # fmt: skip
    assert abs(pair[0].value - pair[1].value) < math.hypot(*(each.half_width() for each in pair))


def test_through_time_the_sentences_are_true() -> None:
    (gru,) = of("adding", cell="gru", forget_bias=0.0, length=40)
    assert gru["gradient.total"] < -LARGE
    assert gru["within"] < 6
    assert gru["ends"] < 40
    assert gru["score"] > 0.9
    (lstm,) = of("adding", cell="lstm", forget_bias=3.0, length=40)
    assert abs(lstm["gradient.total"]) < LARGE
    assert lstm["within"] > 35
    assert gru["score"] > max(each["score"] for each in of("adding", cell="lstm", length=40))
    assert all(each["score"] < 0.1 and each["gradient.total"] < -LARGE for each in of("adding", cell="rnn"))


def test_copying_is_learnt_in_the_order_of_verdicts_over_the_longer_way(trials: ModuleType) -> None:
    short, long = trials.results("copy")[1].by_depth.values()
    assert long.value >= 0.9
    assert long.low > 0.5
    assert short.high < 0
    (forgets,), (keeps,) = (of("copy", cell="lstm", forget_bias=bias, length=16) for bias in (0.0, 3.0))
    assert forgets["score"] < 0.5
    assert keeps["score"] > 0.9


def test_across_sequences_the_sentences_are_true(trials: ModuleType) -> None:
    agreements = trials.results("mqar")[1].agreements
    assert agreements["reach"].alike == 0 < len(agreements["reach"].against)
    assert agreements["rate × depth"].alike == len(agreements["rate × depth"].against) == 0
    for pairs in (4, 12):
        best, other, last = (
            of("mqar", mixer=mixer, pairs=pairs)[0] for mixer in ("attention", "linear", "state-space")
        )
        assert last["within"] > max(best["within"], other["within"])
        assert last["score"] < min(best["score"], other["score"])


def test_of_a_text_the_sentences_are_true(trials: ModuleType) -> None:
    found = trials.results("text")[1]
    rate, reach = found.agreements["rate × depth"], found.agreements["reach"]
    assert len(rate.against) == 1
    assert rate.alike > 30
    assert reach.alike < len(reach.against)
    sound, bare = (of("text", skip=skip) for skip in (True, False))
    assert min(each["score"] for each in sound) > max(each["score"] for each in bare)
    for layers in (2, 4):
        for mixer in ("attention", "gated", "lstm"):
            (skips,), (none,) = (of("text", mixer=mixer, skip=skip, layers=layers) for skip in (True, False))
            assert none["within"] > skips["within"]
        attends, gated, lstm = (
            of("text", mixer=mixer, skip=True, layers=layers)[0] for mixer in ("attention", "gated", "lstm")
        )
        assert attends["score"] < min(gated["score"], lstm["score"])
    frequent = [
        point.loss.value for point in found.points if point.settings["layers"] == 4 and not point.settings["skip"]
    ]
    assert all(abs(bits - 4.7) < 0.05 for bits in frequent)
