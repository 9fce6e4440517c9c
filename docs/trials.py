"""Write the page of trials and its pictures from `benchmarks/results/trials-*.json`: ``python docs/trials.py``.

A test holds both against the results.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scatter import INSET, SHARES, Dot, Panel, linear, picture, signed
from trial_words import BEFORE, FATES, READING
from trial_words import TASKS as WORDS

from leadline.document import Table
from leadline.report.swept.trial_tables import exceptions, formats_table, models_table, name_of, rates_table
from leadline.report.swept.trials import in_numbers, in_words
from leadline.sweeps import Swept, Tried
from leadline.sweeps.cells import read_back
from leadline.sweeps.trials._trial import Point
from leadline.sweeps.trials.tasks import TASKS

HERE = Path(__file__).parent
RESULTS, PICTURES, PAGE = HERE.parent / "benchmarks" / "results", HERE / "pictures", HERE / "trials.md"
MEASURED = tuple(name for name in TASKS if (RESULTS / f"trials-{name}.json").is_file())
"""The tasks of which there are results."""

CLEAR = math.log(100)
"""The log of the growth from which a gradient is said to vanish or to explode."""


def results(name: str) -> tuple[dict[str, Any], Tried]:
    """Read the results of one trial."""
    held = json.loads((RESULTS / f"trials-{name}.json").read_text(encoding="utf-8"))
    return held, Tried(name, *(_swept(held[part]) for part in ("judged", "taught")))


def _swept(held: Mapping[str, Any]) -> Swept:
    names, columns = list(held["columns"]), held["columns"].values()
    texts = {"error", "gradient.kind"}
    rows = tuple(
        {n: v if n in texts else read_back(v) for n, v in zip(names, row, strict=True)}
        for row in zip(*columns, strict=True)
    )
    settings = {key: tuple(values) for key, values in held["settings"].items()}
    return Swept(held["model"], settings, held["seeds"], tuple(held["measures"]), rows, held["made_with"])


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (tuple(c.replace("|", "\\|") for c in r) for r in lines))


def summary(trials: Mapping[str, Tried]) -> str:
    """Write one row for each task and verdict."""
    rows = []
    for name, found in trials.items():
        for verdict, rho in found.correlations.items():
            said = found.agreements[verdict]
            told = f"{said.alike} of {said.alike + len(said.against)}"
            both = in_numbers(rho), in_numbers(found.loss_correlations[verdict])
            rows.append((f"[{name}](#{name})", verdict, str(rho.n), *both, told, str(said.unsure), in_words(rho)))
    ranked = ("rank correlation", "with the loss")
    head = ("task", "verdict", "models", *ranked, "pairs ordered alike", "pairs not told apart", "so")
    return table(head, rows)


def fates(trials: Mapping[str, Tried]) -> str:
    """Write how models trained whose gradient vanishes, explodes, or does neither from end to end."""
    rows = []
    for name, found in trials.items():
        kinds: dict[str, list[float]] = {"vanishes": [], "neither": [], "explodes": []}
        for point in found.points:
            growth = point.verdicts["growth"].value
            kinds["vanishes" if growth < -CLEAR else "explodes" if growth > CLEAR else "neither"].append(
                point.score.value
            )
        for kind, scores in kinds.items():
            if scores:
                spread = (f"{each:.1%}" for each in (min(scores), sum(scores) / len(scores), max(scores)))
                rows.append((name, kind, str(len(scores)), found.task.score, *spread))
    return table(("task", "the gradient", "models", "score", "lowest", "mean", "highest"), rows)


def budget(held: Mapping[str, Any], found: Tried) -> str:
    """Say what each model was given to learn by."""
    lrs = ", ".join(f"{lr:g}" for lr in found.taught.settings["lr"])
    kind = {"sgd": "plain gradient descent", "adam": "Adam"}[held["lesson"]["optimizer"]]
    lesson = f"{held['lesson']['steps']} steps of {kind} on batches of {held['lesson']['batch']}"
    return f"{lesson}, at the rate of {lrs} that does best on validation; {found.taught.seeds} seeds."


def drawing(found: Tried) -> str:
    """Draw the score along the first verdict, and along the reach where there is one; and the loss along the first."""
    score, loss, panels = found.task.score, found.task.loss, []
    for verdict, label in zip(found.verdicts, ("rate × depth", "growth from end to end"), strict=False):
        growth = [point.verdicts[verdict.name].value for point in found.points]
        label = f"{label}: vanishes ← 0 → explodes"
        panels.append(Panel(label, f"{score} after it", _dots(found, growth), signed(growth), SHARES))
    reach = next((verdict for verdict in found.verdicts if verdict.name == "reach"), None)
    if reach is not None:
        longest = 3 if found.name == "mqar" else 1
        far = [p.verdicts["reach"].value / found.task.deep(reach, p.settings) / longest for p in found.points]
        panels[1] = Panel("reach, as a share of the sequence", f"{score} after it", _dots(found, far), INSET, SHARES)
    rates = [point.verdicts[found.verdicts[0].name].value for point in found.points]
    dots = _dots(found, rates, loss=True)
    up = linear([dot.y for dot in dots])
    panels.append(Panel("rate × depth: vanishes ← 0 → explodes", f"{loss} after it", dots, signed(rates), up))
    name, values = _size(found)
    sizes = [f"{name}={value}" for value in (values[0], values[-1])]
    return picture(f"{found.name}: {score} and {loss} along verdicts", panels, *sizes)


def _dots(found: Tried, places: list[float], *, loss: bool = False) -> tuple[Dot, ...]:
    name, values = _size(found)
    results = [point.loss if loss else point.score for point in found.points]
    return tuple(
        Dot(x, result.value, result.sem, _group(found, p), p.settings[name] == values[-1], name_of(found, p))
        for x, p, result in zip(places, found.points, results, strict=True)
        if math.isfinite(x) and math.isfinite(result.value)
    )


def _size(found: Tried) -> tuple[str, tuple[Any, ...]]:
    """Return the setting by which models are open or filled: the depth, or if that is one the length."""
    name = found.task.across if found.task.across and len(found.by_depth) < 2 else found.task.depth
    return name, found.judged.settings[name]


def _group(found: Tried, point: Point) -> str:
    """Name what gives a model its colour: its kind, without sizes."""
    sizes = {found.task.depth, found.task.across, found.task.tuned}
    kinds = [name for name in found.judged.varied if name not in sizes]
    said = []
    for place, name in enumerate(kinds):
        value = point.settings[name]
        if name == "skip":
            said.append("skip" if value else "no skip")
        elif place == 0:
            said.append(str(value))
        elif value:
            said.append(f"{name} {value}")
    return ", ".join(said)


def contradictions(found: Tried) -> str:
    """Write what the first verdict gets wrong."""
    said, *rest = exceptions(found)
    deep = ", ".join(f"{rho} at {found.task.depth}={depth}" for depth, rho in found.by_depth.items())
    whole = f"The rank correlation of {found.verdicts[0].name} is {found.correlation}"
    parts = [f"{whole}{': ' + deep if len(found.by_depth) > 1 else ''}. {said.text}"]
    for block in rest:
        assert isinstance(block, Table)
        parts += [f"{block.caption}, the widest first:", table(block.head, list(block.rows[:6]))]
        if len(block.rows) > 6:
            parts.append(f"And {len(block.rows) - 6} more.")
    return "\n\n".join(parts)


def section(name: str, held: Mapping[str, Any], found: Tried) -> str:
    """Write what one trial found."""
    tables = [each for each in (models_table(found), rates_table(found), formats_table(found)) if each is not None]
    where = held["machine"]
    cost = "" if held["cpu_seconds"] is None else f", {held['cpu_seconds']} CPU seconds"
    python = f", Python {where['python']}" if name == "text" else ""
    about = (
        f"`leadline trial {name} --seeds {found.taught.seeds} --out FOLDER` · torch {where['torch']}{python}, one "
        f"thread{cost}"
    )
    parts = (
        f"## {name}",
        about,
        WORDS[name],
        f"The budget: {budget(held, found)}",
        f"![{found.task.score} and {found.task.loss} along the verdicts](pictures/trial-{name}.svg)",
        *(part for each in tables for part in (table(each.head, list(each.rows)), f"{each.caption}.")),
        contradictions(found),
    )
    return "\n\n".join(parts)


def page() -> str:
    """Return the whole page."""
    read = {name: results(name) for name in MEASURED}
    trials = {name: found for name, (_, found) in read.items()}
    sections = [section(name, *each) for name, each in read.items()]
    parts = (BEFORE.strip(), summary(trials), FATES.strip(), fates(trials), READING.strip(), *sections)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    for name in MEASURED:
        (PICTURES / f"trial-{name}.svg").write_text(drawing(results(name)[1]), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
