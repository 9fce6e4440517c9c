"""Streams beside their peers and their ceiling, in one run, one thread, interleaved, medians.

Peers: the naive sampler (a full forward pass for each position; one pass is timed and multiplied), and for WaveNet the
usual loop over queues in PyTorch. The ceiling is the best sequence of matrix-vector products over the same weights,
with nothing between them. Writes benchmarks/results/streams.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor, nn

from leadline import zoo
from leadline.recurrence.ir import Contraction
from leadline.sampling import Stream, stream
from leadline.sampling.kernels import multiply

ROUNDS = 5
RESULTS = Path(__file__).parent / "results" / "streams.json"


class QueueLoop:
    """WaveNet one sample at a time with a queue for each dilation, as Fast-WaveNet does, in eager PyTorch."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        k = model.config.channels
        self.queues = [deque([torch.zeros(1, k)] * b.conv.dilation[0]) for b in model.blocks]
        self.dilated = [(b.conv.weight[..., 0].mT, b.conv.weight[..., 1].mT, b.conv.bias) for b in model.blocks]

    @torch.no_grad()
    def step(self, symbol: Tensor) -> Tensor:
        """Return the next logits."""
        z: Tensor = self.model.embed(symbol)
        total = torch.zeros(())
        for block, queue, (past, now, bias) in zip(self.model.blocks, self.queues, self.dilated, strict=True):
            gates = queue.popleft() @ past + z @ now + bias
            queue.append(z)
            value, opening = gates.chunk(2, 1)
            y = torch.tanh(value) * torch.sigmoid(opening)
            total = total + _at_point(block.skip, y)
            if block.residual is not None:
                z = z + _at_point(block.residual, y)
        hidden = torch.relu(_at_point(self.model.hidden, torch.relu(total)))
        return _at_point(self.model.logits, hidden)

    def generate(self, length: int) -> None:
        """Draw a sequence."""
        symbol = torch.zeros(1, dtype=torch.int64)
        for _ in range(length):
            symbol = torch.multinomial(self.step(symbol).softmax(-1), 1)[:, 0]


def _at_point(conv: nn.Module, x: Tensor) -> Tensor:
    return torch.addmm(conv.bias, x, conv.weight[..., 0].mT)


@nb.njit(cache=True)
def _products(shapes: Any, numbers: Any, x: Any, y: Any, times: int) -> None:
    for _ in range(times):
        at = 0
        for place in range(len(shapes)):
            inputs, outputs = shapes[place, 0], shapes[place, 1]
            multiply(x, 1, inputs, numbers, at, outputs, y)
            at += inputs * outputs


class Ceiling:
    """Every product of one position over the same weights, and nothing else: by our kernel, and by BLAS."""

    def __init__(self, made: Stream) -> None:
        equations = [v.equation for v in made.schedule.system.variables if isinstance(v.equation, Contraction)]
        self.matrices = [torch.cat(e.weights, 1).detach().numpy() for e in equations if e.weights]
        self.shapes = np.array([m.shape[::-1] for m in self.matrices], np.int64)
        self.numbers = np.concatenate([m.T.reshape(-1) for m in self.matrices])
        self.inputs = [np.ones(m.shape[1], m.dtype) for m in self.matrices]
        widest = int(self.shapes.max())
        self.x, self.y = np.ones(widest, self.numbers.dtype), np.zeros(widest, self.numbers.dtype)

    def compiled(self, times: int) -> None:
        """Run our kernel."""
        self.y[:] = 0
        _products(self.shapes, self.numbers, self.x, self.y, times)

    def blas(self, times: int) -> None:
        """Run numpy's matrix-vector products."""
        for _ in range(times):
            for matrix, x in zip(self.matrices, self.inputs, strict=True):
                matrix @ x


def read_bandwidth(numbers: np.ndarray) -> float:
    """Return how many times a second those weights can be read."""
    return 1 / _seconds(lambda: numbers.sum())


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
    made = stream(model, *specimen.inputs, layout=specimen.layout)
    loop, ceiling = QueueLoop(model), Ceiling(made)
    x = specimen.inputs[0][:1]
    short = length // 10
    found = medians(
        {
            "stream": lambda: made.generate(1, length=length),
            "batch": lambda: made.generate(16, length=short),
            "queues": lambda: loop.generate(short),
            "naive": lambda: _forward(model, x),
            "compiled": lambda: ceiling.compiled(length),
            "blas": lambda: ceiling.blas(short),
        }
    )
    rate = length / found["stream"]
    best = max(length / found["compiled"], short / found["blas"])
    return {
        "samples_per_second": rate,
        "queue_loop": short / found["queues"],
        "naive": 1 / found["naive"],
        "ceiling": best,
        "read_bandwidth": read_bandwidth(ceiling.numbers),
        "times_queue_loop": rate / (short / found["queues"]),
        "times_naive": rate * found["naive"],
        "of_ceiling": rate / best,
        "batch_16_samples_per_second": 16 * short / found["batch"],
        "batch_16_over_1": 16 * short / found["batch"] / rate,
        "real_time_factor_8_khz": rate / 8000,
        "real_time_factor_16_khz": rate / 16000,
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


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {
        "wavenet, 20 layers, R=64, S=256, A=256": wavenet(),
        "pixelcnn, 15 blocks of 32 channels": image("pixelcnn", layers=15, channels=32, inner=16),
        "mdrnn, 2 layers of 64": image("mdrnn", layers=2, hidden=64),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    for name, figures in results.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key:32}{value:12,.2f}")


if __name__ == "__main__":
    main()
