"""What it takes to make a report again: the command, versions, and the commit of the user's repository."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import version

import torch


def how_to_repeat(command: str, *facts: str) -> tuple[str, ...]:
    """Return the command that made a report, and on a second line versions, the facts given and the commit.

    Examples
    --------
    >>> how_to_repeat("leadline law mlp", "seed 0")[0]
    'reproduce: leadline law mlp'
    """
    versions = f"leadline {version('leadline')}", f"torch {torch.__version__}"
    made_at = f"commit {commit()}" if command and commit() else ""
    again = f"reproduce: {command}" if command else ""
    return tuple(filter(None, (again, " · ".join(filter(None, (*versions, *facts, made_at))))))


@cache
def commit() -> str:
    """Return the short name of the working folder's commit, with a plus if files differ from it; empty without one.

    Examples
    --------
    >>> len(commit()) != 1
    True
    """
    name = _git("rev-parse", "--short", "HEAD")
    changed = name and _git("status", "--porcelain", "--untracked-files=no")
    return f"{name}+" if changed else name


def _git(*words: str) -> str:
    try:
        run = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()
