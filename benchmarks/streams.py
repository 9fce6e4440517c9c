"""Streams beside their peers and their ceiling, in one run, one thread, interleaved, medians.

Peers: the naive sampler (a full forward pass for each position; one pass is timed and multiplied), and for WaveNet the
best loop over queues that a careful user writes in eager PyTorch (`queue_loop`). The ceiling is the best sequence of
matrix-vector products over the same weights, with nothing between them: the interpreter's own kernel, numpy's BLAS or
torch's. Writes benchmarks/results/streams.json.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import torch
from queue_loop import QueueLoop, is_the_model
from tables import machine
from torch import Tensor, nn

from leadline import zoo
from leadline.recurrence.ir import Contraction
from leadline.sampling import Stream, stream
from leadline.sampling.compiled.instructions import INSTRUCTION, OP, Op
from leadline.sampling.compiled.lanes import LINE, fma, lanes, load, numbers, store
from leadline.sampling.compiled.packing import Packing
from leadline.sampling.compiled.products import multiply_row, multiply_rows
from leadline.sampling.compiled.program import assemble
from leadline.sampling.plan import Plan

ROUNDS = 5
BLOCK = 160  # samples that come in at once, live: 20 ms at 8 kHz
_NARROW = tuple(kind for kind in ("float16", "int8") if "weights" in signature(stream).parameters)
"""Types that weights may be stored in."""
RESULTS = Path(__file__).parent / "results" / "streams.json"


@nb.njit(cache=True)
def _products(memory: Any, narrow: Any, words: Any, starts: Any, where: Any, many: int, rows: int, times: int) -> None:
    memory, narrow, words, where = numbers(memory), numbers(narrow), numbers(words), numbers(where)
    for _ in range(times):
        for at in starts:
            if rows == 1:
                multiply_row(memory, narrow, words, at, where, many)
            else:
                multiply_rows(memory, narrow, words, at, where, many, rows)


@nb.njit(cache=True)
def _read(memory: Any, length: int, times: int) -> None:
    for _ in range(times):
        a = b = c = d = load(memory, 0)
        line = lanes(memory)
        for at in range(0, length - 4 * line + 1, 4 * line):
            a, b = a + load(memory, at), b + load(memory, at + line)
            c, d = c + load(memory, at + 2 * line), d + load(memory, at + 3 * line)
        store(memory, length, (a + b) + (c + d))


@nb.njit(cache=True)
def _multiply_adds(memory: Any, times: int) -> None:
    x, y = load(memory, 0), load(memory, lanes(memory))
    a, b, c, d, e, f = x, y, x + y, x - y, x * y, y - x
    for _ in range(times):
        a, b, c = fma(a, x, y), fma(b, x, y), fma(c, x, y)
        d, e, f = fma(d, x, y), fma(e, x, y), fma(f, x, y)
    store(memory, 0, a + b + c + (d + e + f))


class Ceiling:
    """Every product of one position over the same weights, and nothing else: by our kernel, and by two BLAS.

    For many rows there is another one: the multiply-adds that the processor does on registers alone.
    """

    def __init__(self, made: Stream, batch: int) -> None:
        p = assemble(Plan(made.schedule, 1, lambda _: True), np.dtype(np.float32), batch, Packing("float32"))
        starts = range(0, p.instructions * INSTRUCTION, INSTRUCTION)
        self.batch, self.length, self.weights = batch, len(p.numbers), p.weights
        self.starts = np.array([at for at in starts if p.words[at + OP] == Op.CONTRACT], np.int64)
        self.words, self.memory = p.words, np.zeros(2 * self.length, np.float32)
        self.memory[: self.length] = p.numbers
        self.many = -(-batch // 4) * 4
        self.where = np.full(p.most[0] * self.many, self.length, np.int64)  # all rows in one place, which is kept near
        equations = [v.equation for v in made.schedule.system.variables if isinstance(v.equation, Contraction)]
        matrices = [torch.cat(e.weights, 1).detach() for e in equations if e.weights]
        self.torch = [(torch.ones(batch, m.shape[1]), m.mT.contiguous()) for m in matrices]
        vector = (0,) if batch == 1 else (slice(None),)
        self.numpy = [(m.numpy(), x.numpy()[vector].T) for m, (x, _) in zip(matrices, self.torch, strict=True)]

    def run_compiled(self, times: int) -> None:
        """Run the kernel of the interpreter."""
        _products(self.memory, self.weights, self.words, self.starts, self.where, self.many, self.batch, times)

    def run_numpy(self, times: int) -> None:
        """Run numpy's products."""
        for _ in range(times):
            for matrix, x in self.numpy:
                matrix @ x

    def run_torch(self, times: int) -> None:
        """Run torch's products."""
        for _ in range(times):
            for x, matrix in self.torch:
                x @ matrix

    def multiply_add(self, times: int) -> None:
        """Do as many multiply-adds as the products of one row have, on registers."""
        each = 6 * LINE // self.memory.itemsize
        _multiply_adds(self.memory[self.length :], times * sum(m.numel() for _, m in self.torch) // each)

    def read(self, times: int) -> None:
        """Read the weights."""
        _read(self.weights, len(self.weights) - LINE // self.weights.itemsize, times)


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def medians(actions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Time all actions in turn, several times over; return the median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(ROUNDS):
        for name, action in actions.items():
            times[name].append(_seconds(action))
    return {name: statistics.median(values) for name, values in times.items()}


def wavenet(length: int = 1000) -> dict[str, float]:
    specimen = zoo.build("wavenet", layers=10, stacks=2, channels=64, skip=256, head=256, classes=256, length=2048)
    model = specimen.model.eval()
    made, made_16 = (stream(model, *specimen.inputs, layout=specimen.layout) for _ in range(2))
    live = stream(model, *specimen.inputs, layout=specimen.layout)
    narrow = {kind: stream(model, *specimen.inputs, layout=specimen.layout, weights=kind) for kind in _NARROW}
    loop, one, many = QueueLoop(model), Ceiling(made, 1), Ceiling(made, 16)
    x = specimen.inputs[0][:1]
    if not is_the_model(model, x[:, :40]):
        raise SystemExit("the loop over queues is not the model")
    half, short, block = length // 2, length // 10, x[:, :BLOCK]
    times = {
        "stream": (length, lambda: made.generate(1, length=length)),
        "live": (BLOCK, lambda: live.step(block)),
        "stream_16": (half, lambda: made_16.generate(16, length=half)),
        **{kind: (length, lambda made=made: made.generate(1, length=length)) for kind, made in narrow.items()},
        "queues": (length, lambda: loop.generate(length)),
        "compiled": (length, lambda: one.run_compiled(length)),
        "numpy": (short, lambda: one.run_numpy(short)),
        "torch": (short, lambda: one.run_torch(short)),
        "compiled_16": (short, lambda: many.run_compiled(short)),
        "numpy_16": (short, lambda: many.run_numpy(short)),
        "torch_16": (short, lambda: many.run_torch(short)),
        "read": (length, lambda: one.read(length)),
        "multiply_add": (length, lambda: one.multiply_add(length)),
        "naive": (1, lambda: _forward(model, x)),
    }
    seconds = medians({name: action for name, (_, action) in times.items()})
    rate = {name: count / seconds[name] for name, (count, _) in times.items()}
    best, best_16 = (max(rate[kind + end] for kind in ("compiled", "numpy", "torch")) for end in ("", "_16"))
    return {
        "samples_per_second": rate["stream"],
        "live_samples_per_second": rate["live"],
        "queue_loop": rate["queues"],
        **{f"{kind}_samples_per_second": rate[kind] for kind in narrow},
        **{f"{kind}_over_float32": rate[kind] / rate["stream"] for kind in narrow},
        "naive": rate["naive"],
        "ceiling_compiled": rate["compiled"],
        "ceiling_numpy": rate["numpy"],
        "ceiling_torch": rate["torch"],
        "read_bandwidth": rate["read"],
        "multiply_add_peak": rate["multiply_add"],
        "times_queue_loop": rate["stream"] / rate["queues"],
        "times_naive": rate["stream"] / rate["naive"],
        "of_ceiling": rate["stream"] / best,
        "batch_16_samples_per_second": 16 * rate["stream_16"],
        "batch_16_ceiling": 16 * best_16,
        "batch_16_of_ceiling": rate["stream_16"] / best_16,
        "batch_16_over_1": 16 * rate["stream_16"] / rate["stream"],
        "batch_16_over_1_at_the_peak": rate["multiply_add"] / rate["stream"],
        "real_time_factor_8_khz": rate["stream"] / 8000,
        "real_time_factor_16_khz": rate["stream"] / 16000,
    }


@torch.no_grad()
def _forward(model: nn.Module, x: Tensor) -> None:
    model(x)


def image(name: str, **settings: Any) -> dict[str, float]:
    """Time one image: wavefront, raster order, naive."""
    specimen = zoo.build(name, height=28, width=28, **settings)
    model = specimen.model.eval()
    fronts = stream(model, *specimen.inputs, layout=specimen.layout)
    ordered = stream(model, *specimen.inputs, layout=specimen.layout, wavefront=False)
    x = specimen.inputs[0][:1]
    found = medians(
        {
            "wavefront": lambda: fronts.generate(1),
            "raster": lambda: ordered.generate(1),
            "naive": lambda: _forward(model, x),
        }
    )
    naive = found["naive"] * 28 * 28
    return {
        "wavefront_ms": 1e3 * found["wavefront"],
        "raster_ms": 1e3 * found["raster"],
        "naive_ms": 1e3 * naive,
        "times_naive": naive / found["wavefront"],
        "raster_times_naive": naive / found["raster"],
        "fronts": fronts.schedule.length,
        "points_per_front": fronts.schedule.parallelism,
    }


_FIRST = """
import time, torch
from leadline import zoo
from leadline.sampling import stream
specimen = zoo.build("wavenet", layers=2, classes=8, length=8)
made = stream(specimen.model, *specimen.inputs, layout=specimen.layout)
start = time.perf_counter()
made.generate(1)
print(time.perf_counter() - start)
"""


def first_call() -> dict[str, float]:
    """Time the first call of a process, the import of numba included: with nothing in its cache, and with it filled."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        runs = [
            subprocess.run([sys.executable, "-c", _FIRST], env=environment, check=True, capture_output=True, text=True)
            for _ in range(2)
        ]
    compiled, cached = (float(run.stdout) for run in runs)
    return {"compiled_seconds": compiled, "cached_seconds": cached}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = {
        "wavenet, 20 layers, R=64, S=256, A=256": wavenet(),
        "pixelcnn, 15 blocks of 32 channels": image("pixelcnn", layers=15, channels=32, inner=16),
        "mdrnn, 2 layers of 64": image("mdrnn", layers=2, hidden=64),
        "first call": first_call(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    for name, figures in rows.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key:32}{value:12,.2f}")


if __name__ == "__main__":
    main()
