"""The trials: whether verdicts at initialisation rank models as training does. One thread, one task after another.

Run as ``python benchmarks/trials.py [--more] [TASK]…``, all tasks without one; each goes to
``benchmarks/results/trials-TASK.json``, from which ``python docs/trials.py`` writes the page. Cells are kept under
``out/trials``: a run that was stopped goes on where it was, and then does not say what it cost. With ``--more`` the
cells that the results hold are put there first, so that seeds or verdicts that came since cost no more than themselves;
what everything costs is said as before if there are no more seeds.
"""

from __future__ import annotations

import json
import math
import platform
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from leadline.sweeps import Swept, trial
from leadline.sweeps.cells import SweepFolder, read_back
from leadline.sweeps.grid import Cell
from leadline.sweeps.trials.tasks import TASKS

ROOT = Path(__file__).parents[1]
SEEDS = {"bn-placement": 5, "residual": 3, "adding": 5, "copy": 3, "mqar": 3, "text": 3}


def main(words: list[str]) -> None:
    """Run trials, and write what they found."""
    torch.set_num_threads(1)
    names = [word for word in words if word != "--more"]
    for name in names or list(TASKS):
        folder = ROOT / "out" / "trials" / name
        fresh, before = not folder.is_dir(), given_back(name, folder) if "--more" in words else None
        start = time.process_time()
        found = trial(name, folder, seeds=SEEDS[name], workers=0)
        seconds = round(time.process_time() - start) if fresh else None
        if before is not None:
            seconds = before["cpu_seconds"] if before["taught"]["seeds"] == SEEDS[name] else None
        print(found, "" if seconds is None else f"in {seconds} CPU seconds", flush=True)
        processor = platform.processor() or platform.machine()
        machine = {
            "torch": torch.__version__,
            "threads": 1,
            "processor": processor,
            "python": platform.python_version(),
        }
        held = {"name": name, "machine": machine, "cpu_seconds": seconds, "lesson": lesson(name)}
        held |= {"judged": columns(found.judged), "taught": columns(found.taught)}
        text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), json.dumps(held, indent=1))
        results(name).write_text(text + "\n", encoding="utf-8")


def given_back(name: str, folder: Path) -> dict[str, Any]:
    """Put the cells of a trial's results into its folder, and return the results."""
    held: dict[str, Any] = json.loads(results(name).read_text(encoding="utf-8"))
    for part, where in (("judged", "verdicts"), ("taught", "lessons")):
        about, kept = held[part], SweepFolder(folder / where)
        kept.make()
        for values in zip(*about["columns"].values(), strict=True):
            row = dict(zip(about["columns"], values, strict=True))
            settings = {key: row[key] for key in about["settings"]}
            measures = tuple(about["measures"])
            cell = Cell(about["model"], settings, row["seed"], measures, about["made_with"])
            if row["error"] is None and not kept.finished(cell.key):
                kept.save(cell, {key: read_back(row[key]) for key in measures})
    return held


def results(name: str) -> Path:
    return ROOT / "benchmarks" / "results" / f"trials-{name}.json"


def lesson(name: str) -> dict[str, Any]:
    """Return the budget, but for the rate that is chosen."""
    built = TASKS[name].build()
    student = built[0] if isinstance(built, tuple) else built.model
    return {key: value for key, value in asdict(student.lesson).items() if key != "lr"}


def columns(swept: Swept) -> dict[str, Any]:
    """Return a sweep, its rows as columns; numbers that are not finite as text."""
    rows = {name: [written(row[name]) for row in swept.rows] for name in swept.rows[0]}
    settings = {key: list(values) for key, values in swept.settings.items()}
    about = {"model": swept.model, "settings": settings, "seeds": swept.seeds, "measures": list(swept.measures)}
    return {**about, "made_with": swept.made_with, "columns": rows}


def written(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main(sys.argv[1:])
