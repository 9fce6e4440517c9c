"""Write the page of trials and its pictures from `benchmarks/results/trials-*.json`: ``python docs/trials.py``.

A test holds both against the results.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scatter import Dot, Panel, picture, shares, signed
from trial_words import BEFORE, FATES, READING
from trial_words import TASKS as WORDS

from leadline.document import Table
from leadline.report.swept.trials import exceptions, in_words, models_table, name_of
from leadline.sweeps import Swept, Tried
from leadline.sweeps.cells import read_back
from leadline.sweeps.trials._trial import Point
from leadline.sweeps.trials.tasks import TASKS

HERE = Path(__file__).parent
RESULTS, PICTURES, PAGE = HERE.parent / "benchmarks" / "results", HERE / "pictures", HERE / "trials.md"
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
            said, pairs = found.agreements[verdict], found.agreements[verdict]
            told = f"{pairs.alike} of {pairs.alike + len(pairs.against)}"
            value = "—" if math.isnan(rho.value) else f"{rho.value:.2f} ({rho.low:.2f} to {rho.high:.2f})"
            rows.append((f"[{name}](#{name})", verdict, str(rho.n), value, told, str(said.unsure), in_words(rho)))
    head = ("task", "verdict", "models", "rank correlation", "pairs ordered alike", "pairs not told apart", "so")
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
    """Draw the score along the first verdict, and along the reach where there is one."""
    panels = []
    for verdict, label in zip(found.task.verdicts, ("rate × depth", "growth from end to end"), strict=False):
        growth = [point.verdicts[verdict.name].value for point in found.points]
        panels.append(Panel(f"{label}: vanishes ← 0 → explodes", _dots(found, growth), *signed(growth)))
    reach = next((verdict for verdict in found.task.verdicts if verdict.name == "reach"), None)
    if reach is not None:
        longest = {"adding": 1, "copy": 1, "mqar": 3}[found.name]
        far = [p.verdicts["reach"].value / found.task.deep(reach, p.settings) / longest for p in found.points]
        panels[1] = Panel("reach, as a share of the sequence", _dots(found, far), *shares(far))
    name, values = _size(found)
    sizes = [f"{name}={value}" for value in (values[0], values[-1])]
    return picture(f"{found.name}: {found.task.score} along verdicts", f"{found.task.score} after it", panels, *sizes)


def _dots(found: Tried, places: list[float]) -> tuple[Dot, ...]:
    name, values = _size(found)
    return tuple(
        Dot(x, p.score.value, p.score.sem, _group(found, p), p.settings[name] == values[-1], name_of(found, p))
        for x, p in zip(places, found.points, strict=True)
        if math.isfinite(x)
    )


def _size(found: Tried) -> tuple[str, tuple[Any, ...]]:
    """Return the setting by which models are open or filled: the depth, or if that is one the length."""
    name = found.task.across if found.task.across and len(found.by_depth) < 2 else found.task.depth
    return name, found.judged.settings[name]


def _group(found: Tried, point: Point) -> str:
    """Name what gives a model its colour: its kind, without sizes."""
    sizes = {found.task.depth, found.task.across, found.task.tuned}
    kinds = [name for name in found.judged.varied if name not in sizes]
    values = [str(point.settings[name]) for name in kinds]
    if kinds[0] == "skip":
        return f"{'skip' if point.settings['skip'] else 'no skip'}, scale {values[1]}"
    return ", ".join([values[0], *(f"{n} {v}" for n, v in zip(kinds[1:], values[1:], strict=True) if v != "0.0")])


def contradictions(found: Tried) -> str:
    """Write what the first verdict gets wrong."""
    said, *rest = exceptions(found)
    deep = ", ".join(f"{rho} at {found.task.depth}={depth}" for depth, rho in found.by_depth.items())
    whole = f"The rank correlation of {found.task.verdicts[0].name} is {found.correlation}"
    parts = [f"{whole}{': ' + deep if len(found.by_depth) > 1 else ''}. {said.text}"]
    for block in rest:
        assert isinstance(block, Table)
        parts += [f"{block.caption}, the widest first:", table(block.head, list(block.rows[:6]))]
        if len(block.rows) > 6:
            parts.append(f"And {len(block.rows) - 6} more.")
    return "\n\n".join(parts)


def section(name: str, held: Mapping[str, Any], found: Tried) -> str:
    """Write what one trial found."""
    models = models_table(found)
    where = held["machine"]
    cost = "" if held["cpu_seconds"] is None else f", {held['cpu_seconds']} CPU seconds"
    about = (
        f"`leadline trial {name} --seeds {found.taught.seeds} --out FOLDER` · torch {where['torch']}, one thread{cost}"
    )
    parts = (
        f"## {name}",
        about,
        WORDS[name],
        f"The budget: {budget(held, found)}",
        f"![{found.task.score} along the verdicts](pictures/trial-{name}.svg)",
        table(models.head, list(models.rows)),
        f"{models.caption}.",
        contradictions(found),
    )
    return "\n\n".join(parts)


def page() -> str:
    """Return the whole page."""
    read = {name: results(name) for name in TASKS}
    trials = {name: found for name, (_, found) in read.items()}
    sections = [section(name, *each) for name, each in read.items()]
    parts = (BEFORE.strip(), summary(trials), FATES.strip(), fates(trials), READING.strip(), *sections)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    for name in TASKS:
        (PICTURES / f"trial-{name}.svg").write_text(drawing(results(name)[1]), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
