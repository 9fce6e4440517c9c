"""The folder of a sweep: one file for each cell, written whole or not at all, and the request that they answer."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from leadline.errors import DataError
from leadline.files.reading import read_record
from leadline.files.temporary import remove_leftovers
from leadline.files.writing import make_directory, write_atomically
from leadline.sweeps.grid import Cell, Value

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class CellRecord(Struct, frozen=True):
    """``cells/KEY.json``: what was asked, and the measures in its order, or why there are none.

    Numbers that are not finite are written as ``"inf"``, ``"-inf"`` and ``"nan"``.
    """

    format: Literal["leadline-cell"]
    version: Literal[1]
    cell: dict[str, Any]
    measures: dict[str, int | float | str | bool | None]
    error: str | None
    tries: Annotated[int, Meta(ge=1)]


class SweepRecord(Struct, frozen=True):
    """``sweep.json``: the request that the table answers."""

    format: Literal["leadline-sweep"]
    version: Literal[1]
    model: str
    settings: dict[str, list[int | float | str | bool | None]]
    seeds: Annotated[int, Meta(ge=1)]
    measures: list[str]
    layout: str | None
    training: dict[str, Any] | None
    made_with: str


@dataclass(frozen=True)
class SweepFolder:
    """Where a sweep's files are."""

    path: Path

    def cell(self, key: str) -> Path:
        """Return the path of the file of a cell."""
        return self.path / "cells" / f"{key}.json"

    def run(self, key: str) -> Path:
        """Return the run folder of a cell that is trained."""
        return self.path / "runs" / key

    @property
    def request(self) -> Path:
        """What was asked for."""
        return self.path / "sweep.json"

    @property
    def table(self) -> Path:
        """All cells as one table."""
        return self.path / "table.parquet"

    def make(self) -> None:
        """Make the folders, and remove what killed writes have left; raises `StorageError` if the disk refuses."""
        make_directory(self.path / "cells")
        for folder in (self.path, self.path / "cells"):
            remove_leftovers(folder)

    def record(self, key: str) -> CellRecord | None:
        """Read the file of a cell; None where there is none. Raises `DataError` if it is not one of ours."""
        path = self.cell(key)
        return read_record(path, CellRecord, DataError) if os.path.exists(path) else None

    def finished(self, key: str) -> bool:
        """Whether a cell was measured, and need not be again."""
        found = self.record(key)
        return found is not None and found.error is None

    def save(self, cell: Cell, measures: Mapping[str, Value], error: str | None = None) -> None:
        """Write the file of a cell; one that failed before keeps count of its tries."""
        before = self.record(cell.key)
        described = {name: getattr(cell, name) for name in cell.__dataclass_fields__}
        held = {
            "format": "leadline-cell",
            "version": 1,
            "cell": described,
            "measures": {name: _written(value) for name, value in measures.items()},
            "error": error,
            "tries": 1 + (before.tries if before is not None and before.error is not None else 0),
        }
        write_atomically(self.cell(cell.key), (json.dumps(held, indent=1, default=dict) + "\n").encode())

    def save_request(self, record: Mapping[str, Any]) -> None:
        """Write what was asked for."""
        held = {"format": "leadline-sweep", "version": 1, **record}
        write_atomically(self.request, (json.dumps(held, indent=1) + "\n").encode())


def read_back(value: Value) -> Value:
    """Return a measure as it was measured.

    Examples
    --------
    >>> read_back("inf"), read_back(2.5), read_back("stable")
    (inf, 2.5, 'stable')
    """
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _written(value: Value) -> Value:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
