"""Architectures of `transformers` through count, span and causality: nodes, results, time and coverage.

Every model is small and randomly initialised; the point is that each of its operations has a rule. Run as
``python benchmarks/transformers_table.py``; the table goes to ``benchmarks/results/transformers.md`` and ``.json``.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from architectures import ARCHITECTURES, Architecture

from leadline import causality, count, span
from leadline.graph import trace
from leadline.graph.ops import LEAVES

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("name", "area", "nodes", "macs", "connections", "steps", "op_steps", "causality", "coverage", "seconds")


def row(architecture: Architecture) -> dict[str, Any]:
    """Walk one model; operations without a rule would raise."""
    torch.manual_seed(0)
    model, inputs = architecture.model(), architecture.inputs()
    start = time.perf_counter()
    graph = trace(model, **inputs)
    counted, spanned = count(model, traced=graph, **inputs), span(model, traced=graph, **inputs)
    layout = {name: architecture.layout.get(name) for name in (*inputs, *architecture.layout)}
    judged = causality(model, layout=layout, traced=graph, **inputs)
    seconds = time.perf_counter() - start
    complete = all(found.coverage.complete for found in (counted, spanned, judged))
    return {
        "name": architecture.name,
        "area": architecture.area,
        "nodes": sum(node.kind not in LEAVES for node in graph.nodes),
        "macs": counted.macs,
        "connections": counted.connections,
        "steps": spanned.steps,
        "op_steps": spanned.op_steps,
        "causality": judged.verdict.value,
        "coverage": "all" if complete else str(counted.coverage),
        "seconds": round(seconds, 2),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return (
        "\n".join([*lines, *("| " + " | ".join(str(row[column]) for column in COLUMNS) + " |" for row in rows)]) + "\n"
    )


def main() -> None:
    """Walk all architectures, print a line for each, write the table."""
    torch.set_num_threads(1)
    rows = []
    for architecture in ARCHITECTURES:
        rows.append(row(architecture))
        print({column: rows[-1][column] for column in COLUMNS}, flush=True)
    RESULTS.mkdir(exist_ok=True)
    machine = {"torch": torch.__version__, "transformers": transformers.__version__, "processor": platform.machine()}
    (RESULTS / "transformers.json").write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")
    (RESULTS / "transformers.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
