"""Test likelihoods of the default recipes, with their parameters and times.

Speech stands beside an order-2 Markov model, photographs beside the frequencies of each colour's levels.

``python benchmarks/densities.py [MODEL:DATA[:KEY=VALUE,…] …]`` trains anew those named (default: a list, by their
recipes; the keys change a recipe's training settings, ``recipe=many`` names another one, and ``processes=2`` trains in
two processes), in out/densities, and writes one line for each into results/densities.json. Wall time is that of the
whole run, validations and test score included; CPU time is that of all its processes, their start included.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from helpers.markov import fit_markov
from tables import machine

from leadline import data
from leadline.audit.trained import draw
from leadline.key_values import literals
from leadline.report.exports import write_samples
from leadline.training import load_run
from leadline.training.folder import RunFolder
from leadline.training.jobs import train_by_recipe

RESULTS = Path(__file__).parent / "results" / "densities.json"
RUNS = Path("out") / "densities"
TOGETHER = "WORLD_SIZE" in os.environ  # this is one of several processes that train one model
ALL = (
    *("pixelcnn:digits", "gated-pixelcnn:digits", "mdrnn:digits"),
    *("wavenet:speech", "pixelcnn:fashion-mnist:processes=2", "mdrnn:fashion-mnist"),
    "pixelcnn-plus:photographs",
    *("wavenet:speech:recipe=brief", "wavenet:speech:recipe=heard"),
)
SOUND_SECONDS = 2


def cpu_seconds() -> float:
    """Return what this process has used, and those that it started and saw end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def read(changes: str) -> tuple[str | None, int, dict[str, Any]]:
    """Return the name of a recipe, the number of processes, and changes of the training settings."""
    training = literals(changes.split(",") if changes else [])
    return training.pop("recipe", None), training.pop("processes", 1), training


def folder_of(name: str, changes: str) -> Path:
    return RUNS / "-".join(filter(None, (*name.split(":"), read(changes)[0])))


def train(name: str, changes: str) -> None:
    """Train by the recipe, in this process or in several, each of which runs this script."""
    recipe, processes, training = read(changes)
    if processes > 1 and not TOGETHER:
        launcher = ("torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
        subprocess.run([sys.executable, "-m", *launcher, __file__, f"{name}:{changes}"], check=True)
        return
    model, dataset = name.split(":")
    how = {"training": training, "options": {}, "console": Console(stderr=True)}
    train_by_recipe(model, [], dataset, folder_of(name, changes), recipe=recipe, **how)


def measure(name: str, changes: str) -> dict[str, object]:
    folder = folder_of(name, changes)
    shutil.rmtree(folder, ignore_errors=True)
    before = cpu_seconds()
    train(name, changes)
    used = cpu_seconds() - before
    return {"cpu_seconds": round(used, 1), **machine(), **described(folder)}


def described(folder: Path) -> dict[str, object]:
    """Return what a finished run says of itself."""
    result = load_run(folder).result
    assert result is not None
    run = RunFolder(folder).description()
    return {
        "levels": run["data"]["levels"],
        "parameters": result.parameters,
        "steps": result.steps,
        "seconds": result.seconds,
        "validation_bits": result.validation.bits_per_dim,
        "test_bits": result.test.bits_per_dim,
        "test_nats": result.test.nats_per_example.value,
        "threads": run["train"]["threads"],
        "processes": run["environments"][0]["environment"]["processes"],
    }


def markov(dataset: str) -> dict[str, object]:
    speech = data.load(dataset)
    return {"test_bits": fit_markov(speech, order=2).score(speech.test).bits_per_dim}


def frequencies(dataset: str) -> dict[str, object]:
    """Each colour's levels as often as in the training part, with one more of each."""
    found = data.load(dataset)
    train, test = (torch.as_tensor(part.examples).long() for part in (found.train, found.test))
    bits = []
    for color in range(train.shape[-1]):
        counts = 1.0 + torch.bincount(train[..., color].flatten(), minlength=found.levels)
        bits.append(-(counts / counts.sum()).double()[test[..., color]].log2().mean())
    return {"test_bits": float(torch.stack(bits).mean())}


def main() -> None:
    """Measure what the command line names, and print everything measured so far."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for word in sys.argv[1:] or ALL:
        name, changes = ":".join(word.split(":")[:2]), word.split(":")[2] if word.count(":") > 1 else ""
        if TOGETHER:
            train(name, changes)
            return
        recipe, _, training = read(changes)
        found[word if recipe or training else name] = measure(name, changes)
        if name.endswith(":speech") and not recipe:
            found["order-2 Markov:speech"] = markov("speech")
            run = load_run(folder_of(name, changes))
            write_samples(draw(run, 1, length=SOUND_SECONDS * run.data["rate"]), RUNS / "speech.wav")
        if name.endswith(":photographs"):
            found["frequencies of levels:photographs"] = frequencies("photographs")
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{'':<26}{'bits/dim':>9}{'nats':>9}{'parameters':>12}{'steps':>8}{'wall s':>8}{'CPU s':>8}")
    for name, row in found.items():
        cells = [row.get(key, float("nan")) for key in ("test_nats", "parameters", "steps", "seconds", "cpu_seconds")]
        print(
            f"{name:<26}{row['test_bits']:>9.4f}{cells[0]:>9.2f}"
            + "".join(f"{cell:>{w}.0f}" for cell, w in zip(cells[1:], (12, 8, 8, 8), strict=True))
        )


if __name__ == "__main__":
    main()
