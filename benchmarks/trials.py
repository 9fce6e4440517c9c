"""The trials: whether verdicts at initialisation rank models as training does. One thread, one task after another.

Run as ``python benchmarks/trials.py [TASK]…``, all tasks without one; each goes to
``benchmarks/results/trials-TASK.json``, from which ``python docs/trials.py`` writes the page. Cells are kept under
``out/trials``: a run that was stopped goes on where it was, and then does not say what it cost.
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
from leadline.sweeps.trials.tasks import TASKS

ROOT = Path(__file__).parents[1]
SEEDS = {"bn-placement": 5, "residual": 3, "adding": 3, "copy": 3, "mqar": 3}


def main(names: list[str]) -> None:
    """Run trials, and write what they found."""
    torch.set_num_threads(1)
    for name in names or list(TASKS):
        folder = ROOT / "out" / "trials" / name
        fresh, start = not folder.is_dir(), time.process_time()
        found = trial(name, folder, seeds=SEEDS[name], workers=0)
        seconds = round(time.process_time() - start) if fresh else None
        print(found, "" if seconds is None else f"in {seconds} CPU seconds", flush=True)
        machine = {"torch": torch.__version__, "threads": 1, "processor": platform.processor() or platform.machine()}
        held = {"name": name, "machine": machine, "cpu_seconds": seconds, "lesson": lesson(name)}
        held |= {"judged": columns(found.judged), "taught": columns(found.taught)}
        text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), json.dumps(held, indent=1))
        (ROOT / "benchmarks" / "results" / f"trials-{name}.json").write_text(text + "\n", encoding="utf-8")


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
