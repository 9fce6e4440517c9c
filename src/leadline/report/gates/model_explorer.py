"""Node data for Model Explorer: what is known of each node, beside the ``.pt2`` file that it draws.

One JSON file for each measure, in the form of `GraphNodeData` of its package: a value by the name of a node.
https://github.com/google-ai-edge/model-explorer/wiki/2.-User-Guide#custom-node-data
"""

from __future__ import annotations

import json
import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from leadline.audit.by_node import LEAK, Measure, exported, measures
from leadline.domains.engine import OnUnknown
from leadline.errors import ModelError, UsageError
from leadline.files.writing import make_directory, write_atomically
from leadline.graph.reading import Reading
from leadline.graph.user_code import first_line

PROGRAM = "model.pt2"

_LIGHT, _DARK = "#fffefb", "#56b4e9"  # the page's paper and blue: black letters are read on both
_GOOD, _BAD, _INK = "#7fd6bb", "#f3a77a", "#1d2730"


def node_data(measure: Measure) -> dict[str, Any]:
    """Return what Model Explorer reads of one measure: numbers are coloured by their size, words by what they say.

    Examples
    --------
    >>> found = node_data(Measure("macs", "multiply-accumulates", {"conv1d": 30}))
    >>> found["name"], found["results"]
    ('multiply-accumulates', {'conv1d': {'value': 30}})
    """
    results = {node: {"value": value, **_coloured(value)} for node, value in measure.values.items()}
    data: dict[str, Any] = {"name": measure.what, "results": results}
    if all(isinstance(value, int) for value in measure.values.values()):
        data["gradient"] = [
            {"stop": stop, "bgColor": colour, "textColor": _INK} for stop, colour in ((0, _LIGHT), (1, _DARK))
        ]
    return data


def _coloured(value: int | str) -> dict[str, str]:
    if isinstance(value, int):
        return {}
    return {"bgColor": _BAD if value == LEAK else _GOOD, "textColor": _INK}


def save_for_explorer(
    reading: Reading, folder: str | Path, *, program: ExportedProgram | None = None, on_unknown: OnUnknown = "raise"
) -> tuple[list[Path], list[Measure]]:
    """Write the node data of a model into a folder, and its `program` where it was not given.

    Returns the files, the program's first if it was written, and the measures that are missing, with the reason.
    Raises `UsageError` if `folder` is a file, `TraceError` if torch cannot export the model, `ModelError` if it cannot
    save it, and `StorageError` if the disk refuses.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import leadline
    >>> of = leadline.read(torch.nn.Conv1d(1, 2, 3, padding=1), torch.zeros(1, 1, 5), layout="b c t -> b v t")
    >>> with TemporaryDirectory() as folder:
    ...     written, missing = save_for_explorer(of, folder)
    >>> [path.name for path in written], missing
    (['model.pt2', 'macs.json', 'connections.json', 'depth.json', 'memory.json', 'causality.json'], [])
    """
    path = Path(folder)
    if os.path.isfile(path):
        raise UsageError(f"{path} is a file; name a folder")
    contents: dict[str, bytes] = {}
    if program is None:
        program = exported(reading)
        contents[PROGRAM] = _saved(program)
    found = measures(reading, program, on_unknown=on_unknown)
    contents |= {
        f"{measure.name}.json": (json.dumps(node_data(measure), indent=1) + "\n").encode()
        for measure in found
        if not measure.missing
    }
    make_directory(path)
    for name, content in contents.items():
        write_atomically(path / name, content)
    return [path / name for name in contents], [measure for measure in found if measure.missing]


def _saved(program: ExportedProgram) -> bytes:
    buffer = BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(program, buffer)
    except Exception as error:
        raise ModelError(f"torch.export cannot save this model: {first_line(error)}") from error
    return buffer.getvalue()
