"""The run folder of a process that follows another one: it reads what that one writes, and writes nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from leadline.training.folder import RunFolder
from leadline.training.state import TrainingState


class FollowedFolder(RunFolder):
    """A run folder in which another process holds the lock and writes the files.

    Examples
    --------
    >>> from pathlib import Path
    >>> with FollowedFolder(Path("nowhere")).held():
    ...     FollowedFolder(Path("nowhere")).log(b"")
    >>> Path("nowhere").exists()
    False
    """

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold nothing: the process that leads does."""
        yield

    @contextmanager
    def begun(self, record: Mapping[str, Any]) -> Iterator[None]:  # noqa: ARG002
        """Describe nothing."""
        yield

    def reopen(self) -> None:
        """Leave the result to the process that leads."""

    def save(self, state: TrainingState) -> None:
        """Leave the checkpoint to the process that leads, whose weights are the same."""

    def log(self, lines: bytes) -> None:
        """Leave the log to the process that leads."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Leave the result to the process that leads."""
