"""The cells of a sweep: every combination of values of settings, each with every seed, and the name of each."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from leadline import zoo
from leadline.errors import DataError, UsageError
from leadline.files.reading import read_bytes
from leadline.key_values import literals

Value = int | float | str | bool | None
"""What a setting or a measure is, where it is one value."""

Only = Callable[[Mapping[str, Any]], bool]
"""Says which combinations of settings there are."""

MOST = 1_000_000
"""More cells than these are a slip of the finger."""

_RANGE = re.compile(r"(-?[\d.]+(?:e-?\d+)?):(-?[\d.]+(?:e-?\d+)?)(?::(-?[\d.]+(?:e-?\d+)?))?")


@dataclass(frozen=True)
class Cell:
    """One model to be built, perhaps trained, and measured.

    `settings` are as the model takes them, `training` what is trained on and for how many minutes, if it is; `layout`
    is how the axes are read, None as the model says; `version` names leadline, torch, and what the user's file holds.
    """

    model: str
    settings: Mapping[str, Value]
    seed: int
    measures: tuple[str, ...]
    version: str
    layout: str | None = None
    training: Mapping[str, Any] | None = None

    def row(self, *, several: bool) -> dict[str, Value]:
        """Return the settings by name, of `several` models the model's own name before them."""
        return {**({"model": self.model} if several else {}), **self.settings}

    @property
    def key(self) -> str:
        """The name of the cell: the same for the same question alone."""
        described = {name: getattr(self, name) for name in self.__dataclass_fields__}
        described["settings"] = dict(sorted(self.settings.items()))
        text = json.dumps(described, sort_keys=True, default=dict)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def values_of(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read ``key=4,8,16``, ``key=0.5:3:0.5`` (the end is among them) or ``key=tanh`` as the values of each setting.

    Raises `UsageError` for a word without ``=``, a setting without values, one given twice, or a range without end.

    Examples
    --------
    >>> values_of(["layers=4,8", "sigma_w=0.5:1.1:0.2", "width=1:3"])
    {'layers': ('4', '8'), 'sigma_w': ('0.5', '0.7', '0.9', '1.1'), 'width': ('1', '2', '3')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{word!r} is not a setting; write key=value, key=4,8,16 or key=0.5:3:0.5")
        if name in found:
            raise UsageError(f"{name} is set twice; give it once, with all of its values: {name}=4,8,16")
        matched = _RANGE.fullmatch(text)
        values = _between(word, *matched.groups()) if matched else tuple(text.split(","))
        if not all(values) or len(set(values)) < len(values):
            raise UsageError(f"{word!r} has an empty value, or one twice")
        found[name] = values
    return found


def _between(word: str, first: str, last: str, step: str | None) -> tuple[str, ...]:
    """Return the numbers from one to another, in decimal numbers, which add up exactly."""
    begin, end, by = Decimal(first), Decimal(last), Decimal(step or 1)
    if by <= 0 or end < begin or (end - begin) / by >= MOST:
        raise UsageError(f"{word!r} is not a range; write key=first:last:step, upwards")
    return tuple(format((begin + by * place).normalize(), "f") for place in range(int((end - begin) / by) + 1))


def cells_of(
    model: str,
    values: Mapping[str, Sequence[str]],
    seeds: int,
    measures: Sequence[str],
    *,
    layout: str | None = None,
    training: Mapping[str, Any] | None = None,
    only: Only | None = None,
) -> tuple[Cell, ...]:
    """Return the cells of a grid: the last setting changes first, the seed before it, and the model last of all.

    Several models have commas between their names. Raises `UsageError` where there are no cells or too many, or a
    setting or value is unknown to a model of the zoo.
    """
    models = tuple(dict.fromkeys(name.strip() for name in model.split(",")))
    number = seeds * len(models)
    for each in values.values():
        number *= len(each)
    if not 1 <= number <= MOST:
        raise UsageError(f"this sweep has {number:,} cells; it takes at least one seed, and {MOST:,} cells at most")
    if "seed" in values:
        raise UsageError("seeds are counted from 0 on: say how many, seeds=5 (--seeds 5), and leave the setting out")
    if "model" in values and len(models) > 1:
        raise UsageError("of several models the name is a column called model: leave the setting of that name out")
    how: dict[str, Any] = {"layout": layout, "training": training}
    cells = tuple(
        Cell(name, settings, seed, tuple(measures), made_with, **how)
        for name, made_with in {name: version_of(name) for name in models}.items()
        for settings in map(dict, _combinations(name, values))
        if only is None or only(settings)
        for seed in range(seeds)
    )
    if not cells:
        raise UsageError("of these settings no combination is left to be measured")
    return cells


def _combinations(model: str, values: Mapping[str, Sequence[str]]) -> Iterator[Mapping[str, Value]]:
    for chosen in itertools.product(*values.values()):
        words = [f"{name}={text}" for name, text in zip(values, chosen, strict=True)]
        yield zoo.parse_settings(model, words) if model in zoo.ZOO else literals(words)


def version_of(model: str) -> str:
    """Return what a cell's numbers rest on beside its settings: leadline, torch, and the file of a user's factory."""
    named = f"leadline {version('leadline')}, torch {torch.__version__}"
    file = model.rpartition(":")[0]
    if not (file.endswith(".py") and os.path.isfile(file)):
        return named
    return f"{named}, {Path(file).name} {hashlib.sha256(read_bytes(Path(file), DataError)).hexdigest()[:16]}"
