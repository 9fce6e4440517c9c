"""The ten largest singular values of a Transformer's Jacobian, ours beside ARPACK; a million dimensions; GPT-2 small.

ARPACK (`scipy.sparse.linalg.svds`) runs over products written by hand with `torch.func`, and over our operator, one
vector at a time: with the tolerance that we get, 1e-3 relative, and with one so loose that it just reaches it. Set-up
is part of every time. The larger runs are processes of their own, so that their peak memory is theirs. Run as
``python benchmarks/spectra.py``; the figures go to ``benchmarks/results/spectra.json``.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, svds
from torch import nn

from leadline.jacobian import gradient, jacobian, spectrum
from leadline.jacobian.kernels import plain_kernels

RESULTS = Path(__file__).parent / "results" / "spectra.json"
K, TOLERANCE, LOOSE, BLOCK, BLOCKS, WIDTH, LENGTH = 10, 1e-3, 0.3, 2, 6, 128, 128
Product = Callable[[torch.Tensor], torch.Tensor]


def transformer(width: int = WIDTH, length: int = LENGTH, seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    """Return a pre-norm Transformer of six blocks, and an input; by default of 16,384 numbers."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False).eval()
    return model, torch.randn(1, length, width)


def ours(model: nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float64], float]:
    """Time `leadline.spectrum`."""
    start = time.perf_counter()
    values = spectrum(model, x, k=K, tolerance=TOLERANCE, block=BLOCK).values
    return values.double().numpy(), time.perf_counter() - start


def over_operator(model: nn.Module, x: torch.Tensor, tolerance: float = TOLERANCE) -> tuple[NDArray[np.float64], float]:
    """Time ARPACK over the products of our operator."""
    start = time.perf_counter()
    J = jacobian(model, x)
    values = _svds(J.shape, lambda v: J @ v, lambda u: J.T @ u, tolerance)
    return values, time.perf_counter() - start


def loosely(model: nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float64], float]:
    """Time the same at a tolerance that just suffices: ARPACK restarts in large steps and overshoots."""
    return over_operator(model, x, LOOSE)


def by_hand(model: nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float64], float]:
    """Time ARPACK over `torch.func.jvp` and `vjp`, with the kernels that have forward derivatives."""
    start = time.perf_counter()
    with plain_kernels():
        pull = torch.func.vjp(model, x)[1]

        def push(v: torch.Tensor) -> torch.Tensor:
            return torch.func.jvp(model, (x,), (v.reshape(x.shape),))[1]

        values = _svds((x.numel(), x.numel()), push, lambda u: pull(u.reshape(x.shape))[0])
    return values, time.perf_counter() - start


def _svds(shape: tuple[int, int], forward: Product, back: Product, tolerance: float = TOLERANCE) -> NDArray[np.float64]:
    def product(multiply: Product, v: NDArray[np.float32]) -> NDArray[np.float32]:
        column = torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32).reshape(-1))
        return multiply(column).detach().reshape(-1).numpy()

    A = LinearOperator(
        shape, matvec=lambda v: product(forward, v), rmatvec=lambda u: product(back, u), dtype=np.float32
    )
    values = svds(A, k=K, tol=tolerance, return_singular_vectors=False, random_state=0)
    return np.sort(values)[::-1].astype(np.float64)


CONTENDERS = {
    "leadline": ours,
    "svds, our operator": over_operator,
    f"svds, our operator, tolerance {LOOSE}": loosely,
    "svds, torch.func": by_hand,
}


def million() -> dict[str, Any]:
    """Take the three largest singular values of the same Transformer with 1024 channels and positions."""
    model, x = transformer(1024, 1024)
    start = time.perf_counter()
    found = spectrum(model, x, k=3, tolerance=TOLERANCE, block=1)
    return {"n": x.numel(), "seconds": time.perf_counter() - start, "values": found.values.tolist()}


def gpt2() -> dict[str, Any]:
    """Measure the gradient of GPT-2 small, freshly initialised, over 64 tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    tokens = torch.randint(0, 50257, (1, 64))
    start = time.perf_counter()
    found = gradient(model, tokens, output="logits")
    return {"stages": len(found.stages), "seconds": time.perf_counter() - start, "verdict": found.verdict}


LARGE = {"million": million, "gpt2": gpt2}


def in_a_process(name: str) -> dict[str, Any]:
    """Run one of the large cases in a process of its own, which reports its time and its peak memory."""
    command = [sys.executable, __file__, name]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{name:10}{found['seconds']:8.1f} s, peak {found['peak GiB']:.2f} GiB", flush=True)
    return found


def alone(name: str) -> None:
    """Run a large case and print what it found as JSON."""
    found = LARGE[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # in KiB on Linux
    print(json.dumps(found | {"peak GiB": round(peak, 2)}))


def beside_arpack() -> list[dict[str, Any]]:
    """Run all in turn, three times after a round to warm up, and return the medians."""
    model, x = transformer()
    rounds = [{name: run(model, x) for name, run in CONTENDERS.items()} for _ in range(4)]
    values = {name: found for name, (found, _) in rounds[-1].items()}
    seconds = {name: statistics.median(turn[name][1] for turn in rounds[1:]) for name in CONTENDERS}
    reference = spectrum(model.double(), x.double(), k=K).values.numpy()
    rows = [
        {
            "method": name,
            "seconds": round(seconds[name], 3),
            "times ours": round(seconds[name] / seconds["leadline"], 2),
            "largest relative error": float(np.max(np.abs(values[name] / reference - 1))),
        }
        for name in CONTENDERS
    ]
    for row in rows:
        name, seconds_, times, error = row.values()
        print(f"{name:35}{seconds_:8.2f} s{times:7.2f} ×   error {error:.1e}", flush=True)
    return rows


def main() -> None:
    """Run everything and write the figures."""
    rows = beside_arpack()
    large = {name: in_a_process(name) for name in LARGE}
    n = WIDTH * LENGTH
    setting = {"n": n, "k": K, "tolerance": TOLERANCE, "blocks": BLOCKS, "dtype": "float32", "columns": BLOCK}
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cpu": platform.processor()}
    RESULTS.parent.mkdir(exist_ok=True)
    record = {"setting": setting, "machine": machine, "rows": rows, **large}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    alone(sys.argv[1]) if sys.argv[1:] else main()
