"""Training step of the grid recurrence: the wavefront against a loop over the cells in plain autograd.

All run in turn in one process on the same tensors, forward and backward, after one round to warm up; the table shows
medians, and the ratio of the medians. Run as ``python benchmarks/grid.py``; the figures go to
``benchmarks/results/grid.json``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import grid_reference as reference
from tables import machine

from leadline.grid import grid_lstm, grid_rnn

RESULTS = Path(__file__).parent / "results" / "grid.json"
BATCH, SIZE, WIDTH, ROUNDS = 16, 28, 32, 7
Grid = Callable[..., Tensor]
CELLS: dict[str, tuple[Grid, Grid, int]] = {
    "tanh": (grid_rnn, reference.grid_rnn, 1),
    "lstm": (grid_lstm, reference.grid_lstm, 5),
}


def arguments(gates: int, layers: int) -> list[Tensor]:
    square = (layers, gates * WIDTH, WIDTH)
    shapes = [(BATCH, SIZE, SIZE, WIDTH), square[1:], (layers - 1, *square[1:]), square, square, square[:2]]
    return [(0.1 * torch.randn(shape)).requires_grad_() for shape in shapes]


def step(grid: Grid, inputs: list[Tensor]) -> float:
    start = time.perf_counter()
    grid(*inputs).sum().backward()
    return time.perf_counter() - start


def main() -> None:
    """Measure tanh and LSTM at one and two layers in turn, print a table and write the JSON file."""
    torch.manual_seed(0)
    inputs = {(cell, layers): arguments(CELLS[cell][2], layers) for cell in CELLS for layers in (1, 2)}
    times: dict[tuple[str, int], tuple[list[float], list[float]]] = {key: ([], []) for key in inputs}
    for _ in range(ROUNDS + 1):
        for key, tensors in inputs.items():
            for grid, laps in zip(CELLS[key[0]], times[key], strict=False):
                laps.append(1e3 * step(grid, tensors))
    print(f"grid {SIZE} × {SIZE}, k = {WIDTH}, batch {BATCH}, float32, {torch.get_num_threads()} threads")
    print(f"{'cell':6}{'layers':>7}{'wavefront':>13}{'per cell':>13}{'ratio':>8}")
    rows = []
    for (cell, layers), laps in times.items():
        fast, slow = (column[1:] for column in laps)  # the first round warms up
        medians = statistics.median(fast), statistics.median(slow)
        ratio = medians[1] / medians[0]
        rows.append({"cell": cell, "layers": layers, "wavefront_ms": fast, "per_cell_ms": slow, "ratio": ratio})
        print(f"{cell:6}{layers:7}{medians[0]:10.1f} ms{medians[1]:10.1f} ms{ratio:8.1f}")
    setting = {"height": SIZE, "width": SIZE, "units": WIDTH, "batch": BATCH, "rounds": ROUNDS, "dtype": "float32"}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"setting": setting, "machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
