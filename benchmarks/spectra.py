"""The ten largest singular values of a Transformer's Jacobian, ours beside ARPACK; a million dimensions; GPT-2 small.

ARPACK (`scipy.sparse.linalg.svds`) runs over products written by hand with `torch.func`, and over our operator, one
vector at a time: with the tolerance that we get, 1e-3 relative, and with one so loose that it just reaches it. Set-up
is part of every time, and products are counted: nearly all of the time is theirs, so that two methods over the same
operator differ by how many they need. Ratios are of processor time, which a busy machine changes least. The larger runs
are processes of their own, so that their peak memory is theirs. Run as
``python benchmarks/spectra.py [rows] [million] [gpt2]``; the figures of the parts named, or of all, go to
``benchmarks/results/spectra.json``.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, svds
from tables import machine
from torch import nn

from leadline.jacobian import gradient, jacobian, spectrum
from leadline.jacobian.kernels import plain_kernels
from leadline.jacobian.operators import Operator

RESULTS = Path(__file__).parent / "results" / "spectra.json"
K, TOLERANCE, LOOSE, BLOCK, BLOCKS, WIDTH, LENGTH, ROUNDS = 10, 1e-3, 0.3, 2, 6, 128, 128, 3
Product = Callable[[torch.Tensor], torch.Tensor]


def transformer(width: int = WIDTH, length: int = LENGTH, seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    """Return a pre-norm Transformer of six blocks, and an input; by default of 16,384 numbers."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False).eval()
    return model, torch.randn(1, length, width)


@dataclass(frozen=True)
class Trial:
    """What one method found, and how many columns it multiplied."""

    values: NDArray[np.float64]
    products: int


class Counted(Operator):
    """An operator that counts the columns it multiplies."""

    def __init__(self, of: Operator) -> None:
        self.of, self.columns = of, 0
        self.shape, self.dtype, self.device = of.shape, of.dtype, of.device

    def matmat(self, V: torch.Tensor) -> torch.Tensor:
        """Return ``A V``."""
        self.columns += V.shape[1]
        return self.of.matmat(V)

    def rmatmat(self, U: torch.Tensor) -> torch.Tensor:
        """Return ``Aᵀ U``."""
        self.columns += U.shape[1]
        return self.of.rmatmat(U)


def ours(model: nn.Module, x: torch.Tensor, block: int | None = BLOCK) -> Trial:
    """Run `leadline.spectrum`."""
    J = Counted(jacobian(model, x))
    values = spectrum(J, k=K, tolerance=TOLERANCE, block=block).values
    return Trial(values.double().numpy(), J.columns)


def by_default(model: nn.Module, x: torch.Tensor) -> Trial:
    """Run the same with the default block, as many columns as values, which misses no copies of a value."""
    return ours(model, x, None)


def by_one(model: nn.Module, x: torch.Tensor) -> Trial:
    """Run the same from a single column: the fewest products, but of two close values it may see one."""
    return ours(model, x, 1)


def over_operator(model: nn.Module, x: torch.Tensor, tolerance: float = TOLERANCE) -> Trial:
    """Run ARPACK over the products of our operator."""
    J = Counted(jacobian(model, x))
    values = _svds(J.shape, lambda v: J @ v, lambda u: J.T @ u, tolerance)
    return Trial(values, J.columns)


def loosely(model: nn.Module, x: torch.Tensor) -> Trial:
    """Run the same at a tolerance that just suffices: ARPACK restarts in large steps and overshoots."""
    return over_operator(model, x, LOOSE)


def by_hand(model: nn.Module, x: torch.Tensor) -> Trial:
    """Run ARPACK over `torch.func.jvp` and `vjp`, with the kernels that have forward derivatives."""
    products = 0
    with plain_kernels():
        pull = torch.func.vjp(model, x)[1]

        def push(v: torch.Tensor) -> torch.Tensor:
            nonlocal products
            products += 1
            return torch.func.jvp(model, (x,), (v.reshape(x.shape),))[1]

        def back(u: torch.Tensor) -> torch.Tensor:
            nonlocal products
            products += 1
            return pull(u.reshape(x.shape))[0]

        values = _svds((x.numel(), x.numel()), push, back)
    return Trial(values, products)


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
    "leadline, one column": by_one,
    "leadline, default block": by_default,
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
    command = [sys.executable, __file__, "alone", name]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{name:10}{found['seconds']:8.1f} s, peak {found['peak GiB']:.2f} GiB", flush=True)
    return found


def alone(name: str) -> None:
    """Run a large case and print what it found as JSON."""
    found = LARGE[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # in KiB on Linux
    print(json.dumps(found | {"peak GiB": round(peak, 2)}))


def timed(run: Callable[[nn.Module, torch.Tensor], Trial], model: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """Return the seconds that a method takes with all its set-up, by the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    run(model, x)
    return time.perf_counter() - wall, time.process_time() - processor


def beside_arpack() -> list[dict[str, Any]]:
    """Run all in turn, ROUNDS times after one to warm up, on one thread, and return the medians."""
    torch.set_num_threads(1)
    model, x = transformer()
    trials = {name: run(model, x) for name, run in CONTENDERS.items()}
    rounds = [{name: timed(run, model, x) for name, run in CONTENDERS.items()} for _ in range(ROUNDS)]
    wall, processor = (
        {name: statistics.median(turn[name][clock] for turn in rounds) for name in CONTENDERS} for clock in (0, 1)
    )
    reference = spectrum(model.double(), x.double(), k=K).values.numpy()
    rows = []
    for name, trial in trials.items():
        row = {
            "method": name,
            "seconds": round(wall[name], 3),
            "processor seconds": round(processor[name], 3),
            "times ours": round(processor[name] / processor["leadline"], 2),
            "products": trial.products,
            "ms a product": round(1000 * processor[name] / trial.products, 1),
            "largest relative error": float(np.max(np.abs(trial.values / reference - 1))),
        }
        rows.append(row)
        print(" ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def main(parts: Sequence[str]) -> None:
    """Run the parts named, or all, and write the figures; those of the others stay as they are."""
    record = json.loads(RESULTS.read_text()) if parts else {}
    if not parts or "rows" in parts:
        n = WIDTH * LENGTH
        setting = {"n": n, "k": K, "tolerance": TOLERANCE, "blocks": BLOCKS, "dtype": "float32", "columns": BLOCK}
        record |= {"setting": setting, "machine": machine(), "rows": beside_arpack()}
    record |= {name: in_a_process(name) for name in LARGE if not parts or name in parts}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    alone(sys.argv[2]) if sys.argv[1:2] == ["alone"] else main(sys.argv[1:])
