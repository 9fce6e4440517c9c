"""Architectures of `transformers` through count, span and causality: nodes, results, time and coverage.

Every model is small and randomly initialised; the point is that each of its operations has a rule. Run as
``python benchmarks/transformers_table.py``; the table goes to ``benchmarks/results/transformers.md`` and ``.json``.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from architectures import ARCHITECTURES, Architecture
from tables import record

from leadline import read
from leadline.graph.table import LEAVES

COLUMNS = ("name", "area", "nodes", "macs", "connections", "steps", "op_steps", "causality", "coverage", "seconds")


def row(architecture: Architecture) -> dict[str, Any]:
    """Walk one model; operations without a rule would raise."""
    torch.manual_seed(0)
    model, inputs = architecture.model(), architecture.inputs()
    start = time.perf_counter()
    layout = {name: architecture.layout.get(name) for name in (*inputs, *architecture.layout)}
    reading = read(model, layout=layout, **inputs)
    counted, spanned, judged = reading.count(), reading.span(), reading.causality()
    seconds = time.perf_counter() - start
    complete = all(found.coverage.complete for found in (counted, spanned, judged))
    return {
        "name": architecture.name,
        "area": architecture.area,
        "nodes": sum(node.kind not in LEAVES for node in reading.graph.nodes),
        "macs": counted.macs,
        "connections": counted.connections,
        "steps": spanned.steps,
        "op_steps": spanned.op_steps,
        "causality": judged.verdict.value,
        "coverage": "all" if complete else str(counted.coverage),
        "seconds": round(seconds, 2),
    }


def main() -> None:
    """Walk all architectures, print a line for each, write the table."""
    torch.set_num_threads(1)
    record("transformers", COLUMNS, map(row, ARCHITECTURES))


if __name__ == "__main__":
    main()
