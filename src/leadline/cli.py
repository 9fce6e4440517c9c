"""The command line: parse, call, print.

Exit codes: 0 done; 1 `check --strict` found a leak; 2 unusable words; 3 the model does not work; 4 the data does not; 5 the
checkpoint does not; 6 not a finite number; 7 the disk refused; 70 a bug of leadline's; 130 interrupted.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from leadline.errors import LeadlineError, UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_EXIT_CODES = """\b
Exit codes:
  0    done
  1    check --strict found a leak
  2    unusable words: an unknown model, setting or option
  3    the model or its inputs do not work
  4    a data set is missing, empty or malformed
  5    a run folder or checkpoint is missing, corrupt or foreign
  6    a loss, activation or logit is not finite
  7    the disk refused a write; what was there is intact
  70   a bug of leadline's
  130  interrupted
"""


@click.group(epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="leadline")
def cli() -> None:
    """Take the depth of a neural network before anyone spends compute on it, then run it at that depth.

    MODEL is a name of the zoo with key=value settings, a run folder, or file.py:factory or package.module:factory of your
    own, where the factory returns the model and its example inputs.
    """


def _reported(command: Command) -> Command:
    """Add the options of every command that makes a report."""
    command = click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained HTML file.")(
        command
    )
    return click.option(
        "--json", type=click.Path(path_type=Path, allow_dash=True), help="Write JSON ('-': to stdout)."
    )(command)


def _read(command: Command) -> Command:
    """Add the options that say how to read a model's axes."""
    for flag, text in (
        ("--layout", "Axes in einops notation, 'b t -> b t v'; '_' for conditioning."),
        ("--order", "Generation order over position axes, 'h w'."),
        ("--output", "Name of the output asked about, where there are several."),
    ):
        command = click.option(flag, help=text)(command)
    return click.option("--seed", default=0, show_default=True, help="Seed of everything random.")(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error ends in one sentence and an exit code."""
    try:
        code = cli.main(args=arguments, prog_name="leadline", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except LeadlineError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:
        with tempfile.NamedTemporaryFile("w", prefix="leadline-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        _fail(f"this is a bug of leadline's: {type(error).__name__}: {error}; please report it with {file.name}", 70)


def _fail(message: str, code: int) -> None:
    print(f"leadline: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
