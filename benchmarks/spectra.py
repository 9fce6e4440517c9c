"""The ten largest singular values of a Transformer's Jacobian: ours beside ARPACK.

ARPACK (`scipy.sparse.linalg.svds`) runs twice: over products written by hand with `torch.func`, and over our operator,
one vector at a time. All get the same accuracy, 1e-3 relative; set-up is part of every time. Run as
``python benchmarks/spectra.py``; the figures go to ``benchmarks/results/spectra.json``.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, svds
from torch import nn

from leadline.jacobian import jacobian, spectrum
from leadline.jacobian.kernels import plain_kernels

RESULTS = Path(__file__).parent / "results" / "spectra.json"
K, TOLERANCE, BLOCK, BLOCKS, WIDTH, LENGTH = 10, 1e-3, 3, 6, 128, 128
Product = Callable[[torch.Tensor], torch.Tensor]


def transformer(seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    """Return a pre-norm Transformer of six blocks, and an input of 16,384 numbers."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False).eval()
    return model, torch.randn(1, LENGTH, WIDTH)


def ours(model: nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float64], float]:
    """Time `leadline.spectrum`."""
    start = time.perf_counter()
    values = spectrum(model, x, k=K, tolerance=TOLERANCE, block=BLOCK).values
    return values.double().numpy(), time.perf_counter() - start


def over_operator(model: nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float64], float]:
    """Time ARPACK over the products of our operator."""
    start = time.perf_counter()
    J = jacobian(model, x)
    return _svds(J.shape, lambda v: J @ v, lambda u: J.T @ u), time.perf_counter() - start


def by_hand(model: nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float64], float]:
    """Time ARPACK over `torch.func.jvp` and `vjp`, with the kernels that have forward derivatives."""
    start = time.perf_counter()
    with plain_kernels():
        pull = torch.func.vjp(model, x)[1]

        def push(v: torch.Tensor) -> torch.Tensor:
            return torch.func.jvp(model, (x,), (v.reshape(x.shape),))[1]

        values = _svds((x.numel(), x.numel()), push, lambda u: pull(u.reshape(x.shape))[0])
    return values, time.perf_counter() - start


def _svds(shape: tuple[int, int], forward: Product, back: Product) -> NDArray[np.float64]:
    def product(multiply: Product, v: NDArray[np.float32]) -> NDArray[np.float32]:
        column = torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32).reshape(-1))
        return multiply(column).detach().reshape(-1).numpy()

    A = LinearOperator(
        shape, matvec=lambda v: product(forward, v), rmatvec=lambda u: product(back, u), dtype=np.float32
    )
    values = svds(A, k=K, tol=TOLERANCE, return_singular_vectors=False, random_state=0)
    return np.sort(values)[::-1].astype(np.float64)


CONTENDERS = {"leadline": ours, "svds, our operator": over_operator, "svds, torch.func": by_hand}


def main() -> None:
    """Run all in turn, three times after a round to warm up, and write the medians."""
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
        print(f"{name:20}{seconds_:8.2f} s{times:7.2f} ×   error {error:.1e}")
    setting = {"n": x.numel(), "k": K, "tolerance": TOLERANCE, "blocks": BLOCKS, "dtype": "float32", "columns": BLOCK}
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cpu": platform.processor()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"setting": setting, "machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
