"""Where a report goes: the terminal, and files that are written whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from leadline.document import Document
from leadline.report import html as html_page
from leadline.report.encode import to_json
from leadline.report.terminal import show
from leadline.training.files import write_atomically


def publish(describe: Callable[[], Document], result: Any, *, json: Path | None, html: Path | None) -> None:
    """Print a result, and write it as JSON and HTML where asked.

    With JSON on standard output nothing else is printed there. Raises `StorageError` if the disk refuses; files that
    stood there are intact.
    """
    to_stdout = json is not None and str(json) == "-"
    document = describe() if html is not None or not to_stdout else None
    if to_stdout:
        sys.stdout.write(to_json(result))
    elif document is not None:
        show(document, Console())
    if json is not None and not to_stdout:
        _write(json, to_json(result))
    if html is not None and document is not None:
        _write(html, html_page.render(document))


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode())
    print(f"written: {path}", file=sys.stderr)
