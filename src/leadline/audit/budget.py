"""A budget: limits on the depths of a model, kept in the user's ``pyproject.toml`` under ``[tool.leadline]``."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from leadline.audit.audited import Audit, Unavailable
from leadline.audit.limits import MEASURES
from leadline.domains._causality import Verdict
from leadline.errors import UsageError, near_misses
from leadline.files.reading import read_bytes

VERDICTS = (Verdict.STRUCTURAL, Verdict.FINITE_MASK, Verdict.PRESENT_WEIGHTS)
"""What passes as causal, from best to worst."""

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_BYTES = ("memory", "saved")
_LONGEST = 4 << 20
"""Bytes that the file of a budget may have."""
_KEYS = ("leaks", "verdict", *MEASURES)


class Limits(NamedTuple):
    """The least and the most that passes; None: no limit."""

    min: Any = None
    max: Any = None

    def hold(self, low: float, high: float) -> bool:
        """Whether all from `low` to `high` passes."""
        return (self.min is None or low >= self.min) and (self.max is None or high <= self.max)


@dataclass(frozen=True)
class Line:
    """One limit and what became of it: its key, the limit and the value in words, and whether it holds."""

    key: str
    limit: str
    value: str
    holds: bool

    def __str__(self) -> str:
        return f"{'PASS' if self.holds else 'FAIL'} {self.key}: {self.value} (limit: {self.limit})"


@dataclass(frozen=True)
class Judgement:
    """What became of a budget: a line for each of its limits, and the file that states them."""

    path: Path
    lines: tuple[Line, ...]

    @property
    def holds(self) -> bool:
        """Whether no limit is exceeded."""
        return all(line.holds for line in self.lines)

    def line_of(self, key: str) -> int:
        """Return the line of the file that states a limit, from 1 on."""
        words = [line.partition("=")[0].strip().strip('"') for line in _text(self.path).splitlines()]
        return words.index(key) + 1 if key in words else 1


@dataclass(frozen=True)
class Budget:
    """Limits by key, as a TOML file holds them; see `read_budget`.

    ``leaks = false`` forbids leaks and samples that see each other; ``verdict`` is the weakest that passes. Of
    `leadline.audit.limits.MEASURES` each is limited by a number, the most that passes, or by ``{min = …, max = …}``;
    bytes may be text, ``"1.5 GiB"``. What is not known does not pass.
    """

    path: Path
    limits: Mapping[str, Any]

    def judge(self, audit: Audit) -> Judgement:
        """Hold an audit against the limits.

        Examples
        --------
        >>> import torch
        >>> from leadline import check
        >>> audit = check(torch.nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 9), layout="b c t -> b v t")
        >>> for line in Budget(Path("pyproject.toml"), {"leaks": False, "steps": 1}).judge(audit).lines:
        ...     print(line)
        FAIL leaks: leak, lag -1 (limit: none)
        PASS steps: 1 (limit: at most 1)
        """
        return Judgement(self.path, tuple(_judged(key, self.limits[key], audit) for key in _KEYS if key in self.limits))


def read_budget(path: Path | None = None) -> Budget:
    """Read the ``[tool.leadline]`` of a file, by default of the nearest ``pyproject.toml``, from here upwards.

    Raises `UsageError` if there is no such file or table, or a key or value in it cannot be used.
    """
    path = _nearest() if path is None else path
    try:
        tools = tomllib.loads(_text(path)).get("tool")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the budget {path} cannot be read: {error}") from error
    table = tools.get("leadline") if isinstance(tools, dict) else None
    if not table or not isinstance(table, dict):
        raise UsageError(f"{path} states no limits: write some under [tool.leadline], such as leaks = false")
    for key, value in table.items():
        if key not in _KEYS:
            raise UsageError(f"{path}: [tool.leadline] has no limit {key!r}; {near_misses(key, _KEYS)}")
        _check(f"{path}: {key}", key, value)
    return Budget(path, table)


def _text(path: Path) -> str:
    return read_bytes(path, UsageError, limit=_LONGEST).decode()


def _nearest() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if os.path.isfile(folder / "pyproject.toml"):
            return folder / "pyproject.toml"
    raise UsageError(f"there is no pyproject.toml in {here} or above: give the budget's file, --budget=FILE")


def _check(what: str, key: str, value: Any) -> None:
    """Refuse a limit of the wrong kind."""
    if key == "leaks":
        if value is not False:
            raise UsageError(f"{what} can only be false, got {value!r}: leave it out where leaks may be")
        return
    if key == "verdict":
        if value not in list(VERDICTS):
            known = near_misses(str(value), [verdict.value for verdict in VERDICTS])
            raise UsageError(f"{what} is the weakest verdict that passes, got {value!r}; {known}")
        return
    _limits(what, key, value)


def _limits(what: str, key: str, value: Any) -> Limits:
    """Read a limit: a number is the most that passes, a table has the least or the most or both."""
    sides = value if isinstance(value, dict) else {"max": value}
    for side in sides:
        if side not in Limits._fields:
            raise UsageError(f"{what} has no side {side!r}; write {{min = …, max = …}}")
    return Limits(**{side: _number(what, key, limit) for side, limit in sides.items()})


def _number(what: str, key: str, limit: Any) -> float:
    """Return a limit as a number; of bytes, text with a unit is one too."""
    if isinstance(limit, int) and not isinstance(limit, bool):
        return limit
    if isinstance(limit, float) and not math.isnan(limit):
        return limit
    if key in _BYTES and isinstance(limit, str):
        number, unit = limit.rstrip("bBiIkKmMgG").strip(), limit.lstrip("0123456789._ ").strip().upper()
        if unit in _UNITS:
            try:
                return float(number) * _UNITS[unit]
            except ValueError:
                pass
    unit = ' or text with a unit, "1.5 GiB"' if key in _BYTES else ""
    raise UsageError(f"{what} is a number{unit}, got {limit!r}")


def _judged(key: str, limit: Any, audit: Audit) -> Line:
    if key == "leaks":
        return Line(key, "none", _causality(audit), not audit.leaks)
    if key == "verdict":
        passing = VERDICTS[: VERDICTS.index(Verdict(limit)) + 1]
        return Line(key, f"{limit} or better", _causality(audit), audit.verdict in passing)
    found = MEASURES[key](audit)
    limits, given = _limits(key, key, limit), Limits(**limit) if isinstance(limit, dict) else Limits(max=limit)
    words = [f"{word} {side}" for word, side in zip(("at least", "at most"), given, strict=True) if side is not None]
    return Line(key, ", ".join(words), found.text, limits.hold(found.low, found.high))


def _causality(audit: Audit) -> str:
    """Say the verdict in a line, with what leaks."""
    found = audit.causality
    if isinstance(found, Unavailable):
        return f"unknown: {found.reason}"
    text = f"{found.verdict}, lag {found.lag}"
    return text + ("; samples see each other" if found.cross_batch is not None else "")
