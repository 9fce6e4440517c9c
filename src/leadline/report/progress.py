"""What is being done, on a terminal, while it is done: the depth being taken, and the verdicts so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner

from leadline.document import Document
from leadline.report.terminal import Page
from leadline.report.verdicts import cards
from leadline.results import Result

_DOING = {
    "memory": "running the model, to see what training keeps",
    "trace": "tracing the model",
    "axes": "reading the axes",
    "causality": "causality: does an output see later inputs?",
    "context": "context: what does an output see?",
    "reach": "reach: from how far does an output learn?",
    "count": "work: counting connections",
    "span": "steps: the longest chain",
    "generation": "generation: what must be drawn one after another?",
    "wavefronts": "wavefronts: what can be computed at once?",
    "gradient": "gradient: how far does it reach?",
    "remedies": "remedies: what mends the gradient?",
}


@contextmanager
def watching(console: Console, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Yield what an audit tells of its progress; shown on a terminal only, and gone at the end.

    Examples
    --------
    >>> import io
    >>> with watching(Console(file=io.StringIO())) as watch:
    ...     watch("trace")
    """
    if quiet or not console.is_terminal:
        yield lambda *_: None
        return
    so_far: list[Any] = []
    with Live(Spinner("line", "building the model"), console=console, transient=True, refresh_per_second=8) as live:

        def watch(what: str, *found: Any) -> None:
            if found and isinstance(found[0], Result):
                so_far.extend(cards(found[0]))
            known = [Page(Document("", "", (), tuple(so_far)))] if so_far else []
            live.update(Group(*known, Spinner("line", _DOING.get(what, what))), refresh=True)

        yield watch
