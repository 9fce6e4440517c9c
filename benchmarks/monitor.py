"""What a monitor costs: a step of a training that is heard, against one that is not, and what that is of 50 steps.

Steps of both kinds alternate in one process and one thread, and their CPU seconds are compared, which other processes
disturb less than the clock; the table shows medians. The first step that is heard finds the stages, once. Run as
``python benchmarks/monitor.py``; the figures go to ``benchmarks/results/monitor.json``.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import leadline
from leadline.zoo import build

RESULTS = Path(__file__).parent / "results" / "monitor.json"
EVERY, ROUNDS = 50, 40
MODELS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"layers": 16, "width": 256, "batch": 128},
    "transformer": {"layers": 4, "length": 64},
    "wavenet": {"layers": 8, "length": 512},
    "pixelcnn": {"height": 16, "width": 16},
    "lstm": {"hidden": 128, "length": 64, "batch": 32},
}


def training(name: str) -> tuple[nn.Module, Callable[[], None]]:
    """Return a model and a step of its training."""
    specimen = build(name, **MODELS[name])
    optimizer = torch.optim.AdamW(specimen.model.parameters(), lr=1e-4)

    def step() -> None:
        specimen.model(*specimen.inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return specimen.model, step


def seconds(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    """Measure each model, print a table and write the JSON file."""
    torch.set_num_threads(1)
    rows = []
    print(f"{'model':14}{'a step':>12}{'the first, more':>17}{'heard, more':>14}{'every 50th':>12}")
    for name in MODELS:
        model, step = training(name)
        for _ in range(3):
            plain = seconds(step)  # what is loaded and allocated once
        with leadline.monitor(model, every=2):
            first = seconds(step) - plain
            times = [seconds(step) for _ in range(2 * ROUNDS + 1)]
        alone, heard = statistics.median(times[0::2]), statistics.median(times[1::2])
        more = heard - alone
        row = {"model": name, "step_ms": 1e3 * alone, "first_ms": 1e3 * first, "heard_ms": 1e3 * more}
        rows.append({**row, "percent": 100 * more / alone / EVERY})
        print(
            f"{name:14}{row['step_ms']:9.2f} ms{row['first_ms']:14.2f} ms{row['heard_ms']:11.2f} ms"
            f"{rows[-1]['percent']:10.2f} %"
        )
    setting = {"every": EVERY, "rounds": ROUNDS, "models": {name: dict(how) for name, how in MODELS.items()}}
    machine = {"torch": torch.__version__, "threads": 1, "cpu": platform.processor()}
    RESULTS.write_text(json.dumps({"setting": setting, "machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
