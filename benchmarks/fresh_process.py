"""One measurement in a process of its own: CPU seconds on one thread, peak memory, and what was found.

The parent stays small and never imports torch. The child is the same script called with ``--measure``: it limits itself
to 16 GiB of addresses and to a number of CPU seconds, and prints one line of JSON.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import linear_regression, median
from typing import Any, TypeVar

Result = TypeVar("Result")
ADDRESSES = 16 << 30
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_EXHAUSTED = ("not enough memory", "can't allocate memory", "cannot allocate memory", "failed to map")


@dataclass(frozen=True)
class Cost:
    """What a measurement took.

    Attributes
    ----------
    seconds
        CPU seconds, user and system, without the imports and the building of the model.
    gigabytes
        Peak resident memory of the whole process: imports and weights are part of it.
    parts
        CPU seconds of each part.
    facts
        What was found.
    failed
        Why there is nothing of this; empty if there is.
    """

    seconds: float = 0.0
    gigabytes: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""


class Meter:
    """Adds up the CPU seconds of the parts of a measurement."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.facts: dict[str, Any] = {}

    def take(self, part: str, work: Callable[[], Result]) -> Result:
        """Do one part, and note what it took."""
        start = _cpu_seconds()
        try:
            return work()
        finally:
            self.parts[part] = _cpu_seconds() - start


def measured(script: str, arguments: tuple[str, ...], cap: float, runs: int = 1) -> Cost:
    """Run ``script --measure *arguments`` in fresh processes; return the run with the median of the CPU seconds.

    Parameters
    ----------
    script, arguments
        What to call; it must call `report`.
    cap
        CPU seconds after which a run is given up; so is one that takes five times as long on the wall.
    runs
        How many, one after the other; the first failure ends them.
    """
    costs: list[Cost] = []
    for _ in range(runs):
        cost = _run(script, arguments, cap)
        if cost.failed:
            return cost
        costs.append(cost)
    middle = median(cost.seconds for cost in costs)
    return min(costs, key=lambda cost: abs(cost.seconds - middle))


def report(work: Callable[[Meter], None], cap: float) -> None:
    """In the child: do the work within limits, and print what it took as the last line."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cap) + 1, int(cap) + 10))
    meter = Meter()
    with _stdout_elsewhere():
        failed = _failure(lambda: work(meter))
    print(json.dumps(asdict(Cost(sum(meter.parts.values()), _peak_gigabytes(), meter.parts, meter.facts, failed))))


def _run(script: str, arguments: tuple[str, ...], cap: float) -> Cost:
    command = [sys.executable, script, "--measure", *arguments, "--cap", str(cap)]
    with subprocess.Popen(
        command, env={**os.environ, **_ONE_THREAD}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            out, errors = child.communicate(timeout=5 * cap + 60)
        except subprocess.TimeoutExpired:
            child.kill()
            return Cost(failed="timeout")
    if child.returncode == -9:
        return Cost(failed="killed: out of memory")
    if child.returncode == -24:
        return Cost(failed=f"timeout: more than {cap:.0f} CPU s")
    if child.returncode:
        return Cost(failed=(errors.strip().splitlines() or [f"exit code {child.returncode}"])[-1][:200])
    return Cost(**json.loads(out.splitlines()[-1]))


def _failure(work: Callable[[], None]) -> str:
    """Do the work; return why it failed, in one line."""
    try:
        work()
    except MemoryError:
        return "out of memory"
    except Exception as error:
        told = " ".join(str(error).split())
        exhausted = any(words in told.lower() for words in _EXHAUSTED)
        return "out of memory" if exhausted else f"{type(error).__name__}: {told[:200]}"
    return ""


@contextmanager
def _stdout_elsewhere() -> Any:
    """Send what libraries print to the standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_gigabytes() -> float:
    """Peak resident memory. Linux's ``ru_maxrss`` begins with that of the parent; ``VmHWM`` does not."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def growth(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope of the straight line through the logarithms.

    Examples
    --------
    >>> round(growth([100, 200, 400], [1.0, 2.0, 4.0]), 3)
    1.0
    """
    return linear_regression([math.log(size) for size in sizes], [math.log(taken) for taken in seconds]).slope
