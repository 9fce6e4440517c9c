"""Curves: gradients with the limits of number formats, runs in the course of training, and growth laws."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from leadline.audit.architecture import Architecture
from leadline.document import Block, Curve
from leadline.errors import CheckpointError, UsageError
from leadline.files.reading import parse_record, read_bytes
from leadline.jacobian import GradientChain
from leadline.jacobian.laws.growth import FORMATS
from leadline.recurrence import Law
from leadline.training import Run

_NEAR = 1e12
"""A limit that is farther from a gradient than this factor is said, not drawn."""
_POINTS = 24


def gradient_curve(gradient: GradientChain) -> Curve | None:
    """Draw the gradient's norm along the stages, with what number formats hold of it; None with fewer than two."""
    norms = tuple(stage.gradient.value for stage in gradient.stages)
    if len(norms) < 2 or not all(math.isfinite(norm) for norm in norms):
        return None
    intervals = [stage.gradient.interval() for stage in gradient.stages]
    lows, highs = (tuple(max(0.0, side) for side in sides) for sides in zip(*intervals, strict=True))
    limits = dict(_limits(gradient))
    near = tuple((name, limit) for name, limit in limits.items() if min(norms) / _NEAR < limit < max(norms) * _NEAR)
    said = ", ".join(f"{name} {limit:.2g}" for name, limit in limits.items())
    first, last = gradient.stages[0].name, gradient.stages[-1].name
    return Curve(
        tuple(float(index) for index in range(len(norms))),
        (("gradient norm", norms),),
        "stage",
        "gradient norm",
        f"Norm of the gradient where each stage begins, from {first} to {last}, with its 95 % interval"
        + (f". Limits: {said}" if said else ""),
        log_y=min(norms) > 0,
        bands=(("gradient norm", lows, highs),) if all(map(math.isfinite, highs)) else (),
        levels=near,
        names=tuple(stage.name for stage in gradient.stages),
    )


def _limits(gradient: GradientChain) -> Iterator[tuple[str, float]]:
    """Yield the norms at which formats lose a gradient whose entries are of size 1 at the end: small, or large."""
    last = gradient.stages[-1]
    end = last.gradient.value / last.backward.value if last.backward.value else math.nan
    if not (math.isfinite(end) and end > 0):
        return
    for name in ("float16", "bfloat16"):
        info = torch.finfo(FORMATS[name])
        if gradient.total.value > 0:
            yield f"{name} overflows above", end * info.max
        else:
            yield f"{name} holds nothing below", end * info.smallest_normal * info.eps / 2


def training_curve(run: Run) -> Curve | None:
    """Draw the scores of a run's training and validation; None with fewer than two of them.

    Raises `CheckpointError` if `metrics.jsonl` is damaged.
    """
    lines = [line for line in metrics(run.path / "metrics.jsonl") if "validation" in line]
    if len(lines) < 2:
        return None
    series = {name: tuple(_number(line.get(name)) for line in lines) for name in ("train", "validation")}
    steps = tuple(_number(line.get("step")) for line in lines)
    return Curve(steps, tuple(series.items()), "step", "bits/dim", "Scores in the course of the training")


def metrics(path: Path) -> list[dict[str, float | bool | None]]:
    """Return one record for each validation, and for each step that a monitor saw; none where there is no file."""
    if not os.path.exists(path):
        return []
    texts = read_bytes(path, CheckpointError).splitlines()
    return [parse_record(text, dict[str, float | bool | None], str(path), CheckpointError) for text in texts]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def law_curves(architecture: Architecture, laws: Mapping[str, Law | None]) -> tuple[Block, ...]:
    """Draw how the laws grow along each size that varies, the other sizes as they were where the laws were checked."""
    known = {name: law for name, law in laws.items() if law is not None}
    checked: Mapping[str, int] = next((law.checked[-1] for law in known.values() if law.checked), {})
    base = {name: values[-1] for name, values in architecture.sizes.items()} | dict(checked)
    return tuple(filter(None, (_along(name, base, known) for name in architecture.sizes)))


def _along(varied: str, base: Mapping[str, int], laws: Mapping[str, Law]) -> Curve | None:
    lengths = np.unique(np.linspace(1, max(16, 4 * base[varied]), _POINTS).round()).astype(int).tolist()
    series = {
        name: tuple(_value(law, {**base, varied: length}) for length in lengths)
        for name, law in laws.items()
        if varied in map(str, law.expression.free_symbols)
    }
    drawn = tuple((name, values) for name, values in series.items() if np.isfinite(values).any())
    others = ", ".join(f"{name} = {length}" for name, length in base.items() if name != varied)
    caption = f"As {varied} grows" + (f", with {others}" if others else "")
    x, among = tuple(map(float, lengths)), tuple(laws)
    return Curve(x, drawn, varied, "number", caption, log_y=True, among=among) if drawn else None


def _value(law: Law, sizes: Mapping[str, int]) -> float:
    """Return a law's value; NaN where it does not hold."""
    try:
        return float(law.at(**sizes))
    except UsageError:
        return math.nan
