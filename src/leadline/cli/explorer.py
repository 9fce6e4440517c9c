"""The option of `check` that leaves what is known of each node for Model Explorer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leadline.cli.shared import Command, Named
from leadline.errors import UsageError, as_options
from leadline.files.streams import complain

if TYPE_CHECKING:
    from leadline.domains.engine import OnUnknown
    from leadline.graph.reading import Reading


def explorable(command: Command) -> Command:
    """Add the option."""
    text = "Write figures of each node into this folder, to see in Model Explorer beside the .pt2."
    return click.option("--explorer", type=Named(), metavar="FOLDER", callback=_folder, help=text)(command)


def _folder(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and os.path.isfile(value):
        raise UsageError(f"{value} is a file; name a folder")
    return value


def explored(reading: Reading, word: str, folder: Path | None, on_unknown: OnUnknown) -> None:
    """Write the node data of a model into a folder, if one was named, and say how to look at it."""
    if folder is None:
        return
    from leadline.audit.exported_program import load_program
    from leadline.files.streams import diverted
    from leadline.report.gates.model_explorer import save_for_explorer

    given = load_program(Path(word)) if word.endswith(".pt2") else None
    with diverted():
        written, missing = save_for_explorer(reading, folder, program=given, on_unknown=on_unknown)
    for path in written:
        complain(f"written: {path}")
    for measure in missing:
        complain(f"no {measure.name}.json: {as_options(measure.missing)}")
    program = written.pop(0) if given is None else Path(word)
    complain(f"look at it: model-explorer {program} --node_data_paths={','.join(map(str, written))}")
