"""Judges generated networks, in parts that resume: each must have the verdict that is true of it by design.

Networks have numbers; those of odd numbers leak, and one in eight is streamed too. Each finished part of a hundred is
a file of its own: the soak may be stopped at any time and goes on where it was, with the parts in which something was
wrong first. ``python tests/soak.py --network 4711`` judges one network alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from traceback import format_exception
from typing import Any

import torch
from helpers.networks import Recipe, looks_ahead, numbered
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import leadline
from leadline.domains._causality import Verdict
from leadline.errors import LeadlineError, NotCausal, NotUniform
from leadline.files.writing import make_directory, write_atomically

PART = 100
GRADES = [grade.value for grade in Verdict]


@dataclass
class Tally:
    """What became of some networks: how many of which truth were judged what, and those that had a fault."""

    judged: Counter[str] = field(default_factory=Counter)
    shown: int = 0
    streamed: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, number: int) -> None:
        """Judge the network of a number."""
        started, recipe = time.process_time(), numbered(number)
        about = {"number": number, "network": repr(recipe)}
        try:
            ahead, verdict = looks_ahead(recipe), _verdict(recipe)
            streamed = _streams(recipe) if number % 8 == 0 and not recipe.backwards else None
        except LeadlineError as error:
            self.refused.append({**about, "what": f"{type(error).__name__}: {error}"})
        except Exception as error:  # a crash is what a soak looks for
            self.faults.append({**about, "what": "".join(format_exception(error))})
        else:
            self.judged[f"{recipe.verdict} judged {verdict}"] += 1
            self.shown += ahead and recipe.verdict == "leak"
            self.streamed += streamed is True
            wrong = [*_wrong(recipe.verdict, verdict, ahead), *["its stream is not its forward"] * (streamed is False)]
            self.faults += [{**about, "what": what} for what in wrong]
        self.seconds += time.process_time() - started

    def join(self, other: Tally) -> None:
        """Add what became of others."""
        self.judged.update(other.judged)
        self.shown, self.streamed = self.shown + other.shown, self.streamed + other.streamed
        self.faults, self.refused = self.faults + other.faults, self.refused + other.refused
        self.seconds += other.seconds

    def __str__(self) -> str:
        leaks = sum(n for name, n in self.judged.items() if name.startswith("leak"))
        lines = [f"{n:7} {name}" for name, n in sorted(self.judged.items())]
        lines.append(f"{self.judged.total()} networks, {leaks} with a planted leak; perturbation shows {self.shown}")
        lines.append(f"{self.streamed} streamed as they run, {len(self.refused)} refused, {len(self.faults)} faults")
        for kind, found in (("refused", self.refused), ("FAULT", self.faults)):
            lines += [f"{kind}, --network {each['number']}: {each['what'].splitlines()[-1]}" for each in found[:20]]
        return "\n".join([*lines, f"{self.seconds:.0f} CPU seconds"])


def _wrong(truth: str, verdict: str, ahead: bool) -> Iterator[str]:
    if ahead and truth != "leak":
        yield "the design is wrong: it looks ahead"
    if truth == "leak" and verdict != "leak":
        yield f"a leak is certified as {verdict}"
    elif truth != verdict:
        than = "worse" if GRADES.index(verdict) > GRADES.index(truth) else "better"
        yield f"judged {than} than it is: {verdict}, not {truth}"


def _verdict(recipe: Recipe) -> str:
    model, x = recipe.build()
    return leadline.causality(model, x, layout=recipe.layout, order=recipe.order).verdict.value


def _streams(recipe: Recipe) -> bool | None:
    """Whether the model's stream is its forward pass; None where there is no stream."""
    model, x = recipe.build()
    model, x = model.double().eval(), x.double() if x.is_floating_point() else x
    try:
        made = leadline.stream(model, x, layout=recipe.layout, backend="torch")
    except (NotUniform, NotCausal):
        return None
    return torch.allclose(made.logits(x), model(x), rtol=1e-6, atol=1e-8)


def judge(folder: Path, first: int, size: int) -> Path:
    """Judge one part, and write it down."""
    torch.set_num_threads(1)
    tally = Tally()
    for number in range(first, first + size):
        tally.add(number)
    write_atomically(_file(folder, first), json.dumps(vars(tally), indent=1).encode())
    return _file(folder, first)


def _file(folder: Path, first: int) -> Path:
    return folder / f"{first:06}.json"


def _read(file: Path) -> Tally:
    record = json.loads(file.read_text(encoding="utf-8"))
    return Tally(**{**record, "judged": Counter(record["judged"])})


def soak(networks: int, folder: Path, jobs: int, console: Console, size: int = PART) -> Tally:
    """Judge the parts that are missing or in which something was wrong, and add up all of them."""
    make_directory(folder)
    parts = {first: _file(folder, first) for first in range(0, networks, size)}
    done = {first: _read(file) for first, file in parts.items() if file.exists()}
    missing = [first for first in parts if first in done and done[first].faults]
    missing += [first for first in parts if first not in done]
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    quiet = {"initializer": signal, "initargs": (SIGINT, SIG_IGN)}  # this process alone hears of an interruption
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=50, **quiet)
    try:
        with Progress(*bar, console=console) as progress:
            task = progress.add_task("no faults", total=len(parts), completed=len(parts) - len(missing))
            for future in as_completed([pool.submit(judge, folder, first, size) for first in missing]):
                done[int(future.result().stem)] = _read(future.result())
                faults = sum(len(part.faults) for part in done.values())
                progress.update(task, advance=1, description=f"{faults or 'no'} faults")
    except KeyboardInterrupt:
        for child in active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    total = Tally()
    for first in sorted(done):
        total.join(done[first])
    return total


def main(arguments: list[str] | None = None) -> int:
    """Return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=100_000, help="how many (rounded up to whole parts)")
    parser.add_argument("--folder", type=Path, default=Path("out/soak"))
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--network", type=int, help="judge this one alone")
    given, console = parser.parse_args(arguments), Console()
    if given.network is not None:
        total = Tally()
        total.add(given.network)
        console.print(numbered(given.network))
    else:
        try:
            total = soak(given.networks, given.folder, given.jobs, console)
        except KeyboardInterrupt:
            console.print("stopped: the same command goes on after the last finished part")
            return 130
    console.print(str(total), markup=False, highlight=False)
    return int(bool(total.faults))


if __name__ == "__main__":
    sys.exit(main())
