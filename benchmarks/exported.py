"""Exported C beside the compiled stream and torch's product of matrices: a model of an amplifier, live, on one core.

``python benchmarks/exported.py``. Two arrays of ten dilated convolutions, of 16 and 8 channels, as such models have
(13,802 weights with the scale of the output). Each round takes every way once; the table has medians, and what part of
the multiply-adds a second of torch's product of two 1024 × 1024 matrices each is. Goes to ``results/exported.json``.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from tables import RESULTS, machine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone writes it

import leadline
from leadline.sampling.exported.library import compiler, loaded
from leadline.sampling.exported.source import c_code

CHUNKS = (1, 64, 512)
ROUNDS, SECONDS = 9, 0.3


class Layer(nn.Module):
    """A dilated convolution that the input is mixed into, with a residual and a skip."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.conv = nn.Conv1d(channels, channels, 3, dilation=dilation)
        self.mixed, self.out = nn.Conv1d(1, channels, 1, bias=False), nn.Conv1d(channels, channels, 1)

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input of the next layer, and the skip."""
        z = torch.tanh(self.conv(F.pad(h, (self.past, 0))) + self.mixed(x))
        return h + self.out(z), z


class Array(nn.Module):
    """Ten layers, dilated by 1 … 512, and a head over the sum of their skips."""

    def __init__(self, inputs: int, channels: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.start = nn.Conv1d(inputs, channels, 1, bias=False)
        self.layers = nn.ModuleList(Layer(channels, 2**i) for i in range(10))
        self.head = nn.Conv1d(channels, outputs, 1, bias=bias)

    def forward(self, h: Tensor, x: Tensor, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the next array reads, and the head's output."""
        h = self.start(h)
        for layer in self.layers:
            h, z = layer(h, x)
            skip = z if skip is None else skip + z
        return h, self.head(skip)


class Amplifier(nn.Module):
    """Two arrays, ungated, as amplifiers are modelled in real time."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Array(1, 16, 8, bias=False), Array(16, 8, 1, bias=True)
        self.scale = nn.Parameter(torch.tensor(0.02))

    def forward(self, x: Tensor) -> Tensor:
        """Map samples (b, 1, t) to samples."""
        h, skip = self.one(x, x)
        return self.two(h, x, skip)[1] * self.scale


def a_second(work: Callable[[], int]) -> float:
    """Return how many of what `work` returns are done a second."""
    done, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < SECONDS:
        done += work()
    return done / taken


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Amplifier().eval()
    reading = leadline.read(model, torch.randn(1, 1, 64), layout="b c t -> b k t")
    torch_stream, numba_stream = reading.stream(backend="torch"), reading.stream()
    code = c_code(torch_stream.plan(64), "amplifier", torch.float32, "Amplifier")
    one, two = torch.randn(2, 1024, 1024)
    program = compiler()
    if program is None:
        raise SystemExit("this needs a C compiler")

    def product() -> int:
        one @ two
        return 1024**3

    with loaded(code, program) as library:
        ways: dict[str, Callable[[], int]] = {"product": product}
        numba_stream.reset()
        for size in CHUNKS:
            chunk = torch.randn(1, 1, size)
            rows = np.ascontiguousarray(chunk[0].T.numpy())
            ways[f"C {size}"] = lambda rows=rows: len(library.step(rows))
            ways[f"numba {size}"] = lambda chunk=chunk: numba_stream.step(chunk).shape[-1]
        for way in ways.values():
            way()
        rates = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                rates[name].append(a_second(way))
    peak = statistics.median(rates.pop("product"))
    rows = []
    for name, found in rates.items():
        rate = statistics.median(found)
        way, size = name.split()
        row = {
            "way": way,
            "chunk": int(size),
            "samples_a_second": rate,
            "of_the_product": rate * code.multiply_adds / peak,
        }
        rows.append(row)
        print(f"{name}: {rate / 1e6:.3f} M samples/s, {row['of_the_product']:.3f} of the product")
    print(f"product: {peak / 1e9:.1f} G multiply-adds a second")
    weights = sum(p.numel() for p in model.parameters())
    record = {
        "machine": machine(),
        "weights": weights,
        "multiply_adds": code.multiply_adds,
        "product": peak,
        "rows": rows,
    }
    (RESULTS / "exported.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
