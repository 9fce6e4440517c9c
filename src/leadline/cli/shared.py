"""What several commands share: options of every report, and where progress is shown."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leadline.errors import SEEDS, UsageError
from leadline.files.streams import printable, taken
from leadline.files.writing import check_writable

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])

SEED = click.IntRange(0, SEEDS - 1)
COUNT = click.IntRange(1, 1 << 30)
TRUST = click.option("--trust", is_flag=True, help="Run the user's code that a run folder's model is built by.")
DATA_OPTION = click.option(
    "--data-option",
    "-d",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the data: binarise=fixed.",
)


class Named(click.Path):
    """A path that names something: ``''``, what a shell makes of a variable that is not set, is not the folder here."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """Refuse an empty word."""
        if value == "":
            self.fail("it is empty; '.' is the working directory", parameter, context)
        return super().convert(value, parameter, context)


class Rate(click.FloatRange):
    """A positive number that is finite."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """Refuse NaN, which no comparison does, and infinity."""
        found = super().convert(value, parameter, context)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number", parameter, context)
        return found


def read_as(command: Command) -> Command:
    """Add the options that say how to read a model's axes."""
    for flag, text in (
        ("--output", "Name of the output asked about, where there are several."),
        ("--order", "Generation order over position axes, e.g. 'h w'."),
        ("--layout", "Axes in einops notation, e.g. 'b t -> b t v'; '_' for conditioning."),
    ):
        command = click.option(flag, help=text)(command)
    return command


def reported(command: Command) -> Command:
    """Add the options of every command that makes a report."""
    html = click.option(
        "--html", type=click.Path(path_type=Path), callback=writable, help="Write one self-contained HTML file."
    )
    return html(_as_json(command))


def spread(command: Command) -> Command:
    """Add the options that say where the cells of a sweep are worked on."""
    workers = click.option(
        "--workers",
        "--jobs",
        "workers",
        type=click.IntRange(0),
        help="Processes of one thread, by default one for each processor; 0: none but this one.",
    )
    there = click.option("--scheduler", metavar="tcp://…", help="A Dask scheduler, whose workers see the folder.")
    return workers(there(command))


def paged(command: Command) -> Command:
    """Add the same options, where a name that does not end in ``.html`` is a folder for several pages."""
    text = "Write one self-contained HTML file, or a page for each into a folder."
    html = click.option("--html", type=click.Path(path_type=Path), callback=_page_or_folder, help=text)
    return html(_as_json(command))


def _as_json(command: Command) -> Command:
    file = click.Path(path_type=Path, allow_dash=True)
    return click.option("--json", type=file, callback=writable, help="Write JSON ('-': to stdout).")(command)


def _page_or_folder(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is None or path.suffix == ".html" or not path.name:
        return writable(context, parameter, path)
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"{path} is a file: name a folder for pages, or one page that ends in .html")
    return path


def writable(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Refuse what can never be written before the work, not after it."""
    if path is not None and str(path) != "-":
        check_writable(path)
    return path


def of_users_own(command: Command) -> Command:
    """Add the options that say what the product of a user's factory does not."""
    name = click.option(
        "--likelihood", help="Of your own model: categorical, logistics or bernoulli; default: as outputs are."
    )
    layout = click.option("--layout", help="Of your own model, where shapes do not tell: 'b t -> b v t'.")
    return name(layout(command))


def terminal() -> Console:
    """Return where progress is shown, which is not where results go."""
    from rich.console import Console

    return Console(stderr=True)


def say(text: str) -> None:
    """Print a line on standard output."""
    with taken():
        print(printable(text))


def as_folder(word: str) -> str:
    """Return a word as part of a folder's name: ``models/own.py:build`` becomes ``own-build``."""
    where, colon, name = word.rpartition(":")
    return re.sub(r"[^\w.-]", "-", f"{Path(where).stem}-{name}" if colon else word)


def place(text: str) -> tuple[int, ...]:
    """Read an output position, ``5,3``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} is not a position; write one number per position axis, e.g. 5,3") from None
