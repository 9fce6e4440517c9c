"""Options of `check` that hold a project to what was found: a budget, and files for CI servers and tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leadline.cli.shared import Command, writable
from leadline.errors import UsageError
from leadline.files.streams import complain, printable, taken

if TYPE_CHECKING:
    from leadline.audit.audited import Audit

_NEAREST = "pyproject.toml"
_FLAGS = ("budget", "sarif", "junit", "write_test")


def gated(command: Command) -> Command:
    """Add the options; their values are taken out again by `gates_of`."""
    file = click.Path(path_type=Path, dir_okay=False)
    for flag, text in (
        ("--write-test", "Write a pytest file that holds what was found."),
        ("--junit", "Write the verdicts as tests, in JUnit's XML."),
        ("--sarif", "Write leaks and exceeded limits for code scanning."),
    ):
        command = click.option(flag, type=file, callback=writable, help=text)(command)
    return click.option(
        "--budget", metavar="[FILE]", is_flag=False, flag_value=_NEAREST, callback=_toml,
        help="Exit with 1 if a limit under [tool.leadline] is exceeded; default: the nearest pyproject.toml.",
    )(command)  # fmt: skip


def _toml(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a word that was meant for something else: the value of the option may be left out."""
    if value is not None and not value.endswith(".toml"):
        raise UsageError(f"{value!r} is not a .toml file: write --budget last, or as --budget=FILE")
    return value


def gates_of(how: dict[str, Any]) -> dict[str, Any]:
    """Take the values of the options out of all options."""
    return {name: how.pop(name) for name in _FLAGS}


def passed(
    audit: Audit,
    word: str,
    settings: Sequence[str],
    axes: dict[str, Any],
    *,
    budget: str | None,
    sarif: Path | None,
    junit: Path | None,
    write_test: Path | None,
    aside: bool,
) -> bool:
    """Hold an audit against the budget, print its lines, write what was asked for; whether no limit is exceeded."""
    from leadline.audit.budget import read_budget
    from leadline.files.writing import write_atomically
    from leadline.report.gates.junit import junit as junit_of
    from leadline.report.gates.sarif import sarif as sarif_of
    from leadline.report.gates.written_test import written_test
    from leadline.report.writing import to_json

    judgement = None
    if budget is not None:
        judgement = read_budget(None if budget == _NEAREST else Path(budget)).judge(audit)
        for line in judgement.lines:
            _say(str(line), aside)
    source = Path(word.rpartition(":")[0])
    texts: dict[Path | None, Callable[[], str]] = {
        sarif: lambda: to_json(sarif_of(audit, judgement, model_file=source if os.path.isfile(source) else None)),
        junit: lambda: junit_of(audit, judgement),
        write_test: lambda: written_test(audit, word, settings, file=write_test or Path(), **axes),
    }
    for path, text in texts.items():
        if path is not None:
            write_atomically(path, text().encode())
            complain(f"written: {path}")
    return judgement is None or judgement.holds


def _say(text: str, aside: bool) -> None:
    """Print a line where results go, or `aside`, where standard output holds something else."""
    if aside:
        complain(text)
        return
    with taken():
        print(printable(text))
