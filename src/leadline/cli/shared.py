"""What several commands share: options of every report, and where progress is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def reported(command: Command) -> Command:
    """Add the options of every command that makes a report."""
    html = click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained HTML file.")
    json = click.option("--json", type=click.Path(path_type=Path, allow_dash=True), help="Write JSON ('-': to stdout).")
    return html(json(command))


def terminal() -> Console:
    """Return where progress is shown, which is not where results go."""
    from rich.console import Console

    return Console(stderr=True)
