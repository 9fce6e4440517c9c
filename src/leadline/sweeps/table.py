"""The table of a sweep: Parquet, made and read in memory, so that files are written and read as everywhere else."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from leadline.errors import DataError, needing
from leadline.files.reading import LARGEST
from leadline.sweeps.grid import Value

Rows = tuple[Mapping[str, Value], ...]


def as_parquet(rows: Sequence[Mapping[str, Value]], columns: Sequence[str]) -> bytes:
    """Return rows as a Parquet file, a column for each name; one that holds several kinds of values holds text."""
    with needing("sweep", "writing the table of a sweep"):
        import pyarrow as pa
        from pyarrow import parquet

    held = {name: _alike([row.get(name) for row in rows]) for name in columns}
    buffer = io.BytesIO()
    parquet.write_table(pa.table(held), buffer)
    return buffer.getvalue()


def from_parquet(content: bytes, source: str) -> tuple[tuple[str, ...], Rows]:
    """Return the columns and rows of a Parquet file; raises `DataError`, beginning with its `source`, if it is none."""
    with needing("sweep", "reading the table of a sweep"):
        import pyarrow as pa
        from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))
        if max(size, file.metadata.num_rows * file.metadata.num_columns) > LARGEST:
            raise DataError(f"{source} is too large: it unpacks to {size} bytes, where at most {LARGEST} are read")
        table = file.read()
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source} is damaged: {str(error).splitlines()[0][:300]}") from error
    return tuple(table.column_names), tuple(rows)


def _alike(values: list[Any]) -> list[Any]:
    """Return values that one column can hold: whole numbers among others become numbers, all else becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2:
        return values
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]
