"""Tables that are measured row by row: printed as they grow, then written as Markdown and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


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
