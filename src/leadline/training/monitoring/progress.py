"""Progress of training: a bar in a terminal, a line per validation elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Show steps and scores on a console; None: show nothing."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._steps = 0
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("training", total=None)

    def step(self, done: int, steps: int) -> None:
        """Say how many steps are done, of how many."""
        self._steps = steps
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=steps)

    def validation(self, step: int, train: float | None, bits: float, best: bool) -> None:
        """Show one validation, in bits per dimension."""
        losses = ("" if train is None else f"train {train:.4f}, ") + f"validation {bits:.4f} bits/dim"
        if self._bar is not None:
            self._bar.update(self._task, description=losses)
        elif self._console is not None:
            mark = " (best)" if best else ""
            self._console.print(f"step {step} of {self._steps}: {losses}{mark}")

    def __enter__(self) -> Reporter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
