"""A training step of each density of the zoo against a product of matrices, and against the model as usually written.

The rate is that of multiply-adds: those that `leadline.count` finds in a forward pass, times three for a step (the
gradients of inputs and weights take as many each), over those of a product of two 1024 × 1024 matrices, per CPU second
of one thread. ``counted`` are multiply-adds as the code performs them, ``needed`` those that are left where masks,
borders and rows that nobody reads are left out. A step is forward, loss, backward and AdamW; dropout stays on. The
zoo's models are stepped by the loss of the training loop, the others by torch's.

Product, step and plain step (`plain_densities.py`) alternate in one process; the table shows medians. CPU seconds are
disturbed less by other processes than the clock is, but those share caches and memory, and a step needs more of these
than the product does. Run as ``python benchmarks/throughput.py [NAME …]``; the figures go to
``benchmarks/results/throughput.json``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from plain_densities import PEERS
from tables import machine
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import leadline
from leadline.data import Batch
from leadline.likelihoods import Categorical
from leadline.training.recipes import RECIPES
from leadline.training.summing import summed_nats
from leadline.zoo import build

RESULTS = Path(__file__).parent / "results" / "throughput.json"
SIDE, ROUNDS = 1024, 5
Row = dict[str, Any]


def _recipe(model: str, data: str, **more: Any) -> tuple[str, Mapping[str, Any]]:
    """Return a model's name and its settings, sizes of the data included, as a recipe trains it; of members, one."""
    recipe = RECIPES[model, data, "default"]
    settings = dict(recipe.settings)
    batch = recipe.training["batch"] // settings.pop("members", 1)  # each learns from its own part
    return model, {**settings, "batch": batch, **more}


_DIGITS = {"classes": 17, "height": 8, "width": 8}
_FASHION = {"classes": 256, "height": 28, "width": 28}
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "wavenet, speech": _recipe("wavenet", "speech", length=4000),
    "wavenet, default": ("wavenet", {"batch": 16}),
    "mdrnn of tanh, fashion-mnist": _recipe("mdrnn", "fashion-mnist", cell="tanh", **_FASHION),
    "mdrnn, fashion-mnist": _recipe("mdrnn", "fashion-mnist", **_FASHION),
    "mdrnn, digits": _recipe("mdrnn", "digits", **_DIGITS),
    "pixelcnn, digits": _recipe("pixelcnn", "digits", **_DIGITS),
    "pixelcnn, fashion-mnist": _recipe("pixelcnn", "fashion-mnist", **_FASHION),
    "gated-pixelcnn, digits": _recipe("gated-pixelcnn", "digits", **_DIGITS),
    "transformer, pydoc": _recipe("transformer", "pydoc", length=256),
}


def ours(model: nn.Module, x: Tensor, classes: int) -> Tensor:
    """Return the loss of the training loop."""
    return summed_nats(model, Batch(x, None, None, tuple(range(len(x)))), Categorical(classes)) / x.numel()


def usual(model: nn.Module, x: Tensor, classes: int) -> Tensor:
    """Return torch's loss."""
    return cross_entropy(model(x).reshape(-1, classes), x.flatten())


def stepping(model: nn.Module, x: Tensor, classes: int, loss: Callable[..., Tensor]) -> Callable[[], object]:
    """Return a step of a model's training."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(model, x, classes).backward()
        optimizer.step()

    return step


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(name: str) -> Row:
    """Measure one case; times are in milliseconds of CPU."""
    word, settings = CASES[name]
    specimen, one = build(word, **settings, seed=0), build(word, **{**settings, "batch": 1}, seed=0)
    found, batch = leadline.count(one.model, *one.inputs), settings["batch"]
    x, classes = specimen.inputs[0], specimen.config.classes
    left, right = torch.randn(2, SIDE, SIDE)
    steps: dict[str, Callable[[], object]] = {"product": lambda: left @ right}
    steps["step"] = stepping(specimen.model, x, classes, ours)
    plain = PEERS[word](specimen.config) if word in PEERS else None
    if plain is not None:
        steps["plain"] = stepping(plain, x, classes, usual)
    for work in (*steps.values(), *steps.values()):
        work()  # what is loaded and allocated once
    laps = [{key: 1e3 * cpu_seconds(work) for key, work in steps.items()} for _ in range(ROUNDS)]
    ratio = statistics.median(lap["product"] / lap["step"] for lap in laps)
    row: Row = {f"{key}_ms": statistics.median(lap[key] for lap in laps) for key in steps}
    row |= {key: 3 * batch * macs for key, macs in (("counted", found.macs), ("needed", found.connections))}
    row |= {f"{key}_rate": ratio * row[key] / SIDE**3 for key in ("counted", "needed")}
    if "plain" in steps:
        row["plain_over_step"] = statistics.median(lap["plain"] / lap["step"] for lap in laps)
    return {"model": name, **row}


def rows(names: list[str]) -> Iterator[Row]:
    """Measure and print one case after another."""
    print(f"{'':30}{'counted':>10}{'step':>11}{'rate':>8}{'needed':>8}{'plain / step':>14}")
    for name in names:
        row = measure(name)
        plain = f"{row['plain_over_step']:.2f}" if "plain_over_step" in row else "-"
        print(
            f"{name:30}{row['counted'] / 1e6:8.0f} M{row['step_ms']:8.1f} ms{row['counted_rate']:8.1%}"
            f"{row['needed_rate']:8.1%}{plain:>14}",
            flush=True,
        )
        yield row


def main() -> None:
    """Measure the cases that are named, or all, print a table and write the JSON file."""
    torch.set_num_threads(1)
    measured: list[Row] = []
    setting = {"side_of_the_product": SIDE, "rounds": ROUNDS, "dtype": "float32"}
    for row in rows(sys.argv[1:] or list(CASES)):
        measured.append(row)
        RESULTS.write_text(json.dumps({"setting": setting, "machine": machine(), "rows": measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
