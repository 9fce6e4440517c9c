"""A case in which a statement fails, as plain numbers that anyone can save, load and check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from leadline.errors import DataError
from leadline.files.reading import read_record
from leadline.files.writing import write_atomically


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Numbers under which the statement `against` is false.

    `values` are single numbers and words: what was claimed, what is the case, sizes, seeds; `arrays` are weights and
    inputs, float64 or int64.

    Examples
    --------
    >>> case = Counterexample("x < 1", {"x": 2.0}, {"w": np.eye(2)})
    >>> Counterexample.from_json(case.to_json()).arrays["w"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    against: str
    values: Mapping[str, int | float | str]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the case as JSON's own types; floats survive the way there and back to the last bit."""
        arrays = {name: {"dtype": str(a.dtype), "data": a.tolist()} for name, a in self.arrays.items()}
        return {"against": self.against, "values": dict(self.values), "arrays": arrays}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Counterexample:
        """Rebuild what `to_json` returned."""
        arrays = {name: np.array(a["data"], dtype=a["dtype"]) for name, a in record["arrays"].items()}
        return cls(record["against"], dict(record["values"]), arrays)

    def save(self, path: Path) -> None:
        """Write the case as a JSON file; raises `StorageError` if the disk refuses."""
        write_atomically(path, json.dumps(self.to_json(), indent=1).encode())

    @classmethod
    def load(cls, path: Path) -> Counterexample:
        """Read a case that `save` wrote; raises `DataError` if the file does not hold one."""
        try:
            record = read_record(path, _Record, DataError, limit=_LARGEST)
            held = {name: np.array(array.data, dtype=array.dtype) for name, array in record.arrays.items()}
        except (DataError, ValueError, OverflowError, TypeError) as error:
            raise DataError(f"{path} holds no counterexample ({error}); write one with `save`") from error
        return cls(record.against, record.values, held)


class _Array(Struct, frozen=True):
    dtype: Literal["float64", "int64"]
    data: Any


class _Record(Struct, frozen=True):
    against: str
    values: dict[str, int | float | str]
    arrays: dict[str, _Array]


_LARGEST = 64 << 20


def arrays(**tensors: Tensor) -> dict[str, NDArray[Any]]:
    """Return tensors as arrays, detached."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
