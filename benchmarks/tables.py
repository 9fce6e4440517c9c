"""Tables that are measured row by row: printed as they grow, then written as Markdown and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """Say where figures are measured: the processor, by its name where the system tells it, torch and its threads."""
    return {"processor": _processor(), "torch": torch.__version__, "threads": torch.get_num_threads()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        lines = []
    names = (value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == "model name")
    return next(names, "") or platform.processor() or platform.machine()


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Lay rows out under the names of their columns."""
    cells = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def record(name: str, columns: Sequence[str], measured: Iterable[Row]) -> None:
    """Print each row once it is measured; write all to ``results/NAME.md`` and, with the versions, ``NAME.json``."""
    rows = []
    for row in measured:
        rows.append(row)
        print(row, flush=True)
    RESULTS.mkdir(exist_ok=True)
    versions = {package: importlib.metadata.version(package) for package in ("torch", "transformers")}
    machine = {**versions, "processor": platform.machine()}
    (RESULTS / f"{name}.json").write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(markdown(rows, columns), encoding="utf-8")
