"""What every result can do: `leadline.results.Result` looks these functions up by their names."""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from leadline.audit._compare import Comparison
from leadline.audit.audited import Audit
from leadline.document import Card, Document, Section
from leadline.errors import UsageError
from leadline.files.writing import write_atomically
from leadline.report import html, terminal
from leadline.report.audit_document import describe_audit
from leadline.report.comparison_document import describe_comparison
from leadline.report.records import record
from leadline.report.swept.document import describe_sweep
from leadline.report.swept.trials import describe_trial
from leadline.report.tables import frame, latex, markdown, table
from leadline.report.verdicts import cards
from leadline.results import Result
from leadline.sweeps.swept import Swept
from leadline.sweeps.trials._trial import Tried

__all__ = ["fragment", "frame", "json_text", "latex", "markdown", "record", "renderable", "save", "show", "verdict"]


def verdict(result: Result) -> str:
    """Return what `print` shows: a line for each verdict, under the title of an audit."""
    lines = [result.title] if isinstance(result, Audit) else []
    found = cards(result)
    if len(found) == 1 and not lines:
        return f"{found[0].text} ({found[0].known})" if found[0].known else found[0].text
    return "\n".join([*lines, *map(str, found)])


def json_text(result: Result) -> str:
    """Return the record as text, indented."""
    return json.dumps(record(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(result: Result, *, full: bool = False) -> Document:
    """Return the page of a result: verdicts, and figures or, of audits and comparisons, all sections."""
    match result:
        case Audit():
            return describe_audit(result, full=full)
        case Comparison():
            return describe_comparison(result, full=full)
        case Swept():
            return describe_sweep(result)
        case Tried():
            return describe_trial(result)
    return Document(type(result).__name__, "", (Section("Figures", (table(result),)),), cards(result))


def renderable(result: Result) -> RenderableType:
    """Return what rich prints."""
    return terminal.Page(document(result))


def fragment(result: Result) -> str:
    """Return the verdicts and the table for a notebook, which has styles of its own."""
    laid = document(result)
    title = f"<strong>{escape(laid.title)}</strong><br><small>{escape(laid.subtitle)}</small>"
    verdicts = "".join(_card(card) for card in laid.cards)
    figures = table(result)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in figures.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in figures.rows)
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    folded = f"<details><summary>figures</summary>{body}</details>"
    return f'<div class="leadline"><p>{title}</p><ul>{verdicts}</ul>{folded}</div>'


def _card(card: Card) -> str:
    known = f" <em>({escape(card.known)})</em>" if card.known else ""
    advice = f"<br><small>→ {escape(card.advice)}</small>" if card.advice else ""
    mark = terminal.MARKS[card.mark]
    return f"<li>{mark} <strong>{escape(card.subject)}</strong> {escape(card.text)}{known}{advice}</li>"


def show(result: Result) -> None:
    """Display the result in a notebook, or print its page."""
    if (shell := sys.modules.get("IPython")) is not None and shell.get_ipython() is not None:
        from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

        display(result)  # type: ignore[no-untyped-call, unused-ignore]  # IPython comes with the docs
        return
    terminal.show(document(result), Console())


def save(result: Result, path: Path) -> None:
    """Write the result whole, in the form that the suffix names."""
    forms: dict[str, Any] = {
        ".html": lambda: html.render(document(result, full=True)),
        ".json": lambda: json_text(result),
        ".md": lambda: markdown(result) + "\n",
        ".tex": lambda: latex(result) + "\n",
        ".csv": lambda: frame(result).to_csv(index=isinstance(result, Comparison)),
        ".txt": lambda: f"{result}\n",
    }
    suffix = path.suffix.lower()
    if suffix not in forms:
        raise UsageError(f"results are saved as {', '.join(forms)}, not {suffix or 'without a suffix'}")
    write_atomically(path, forms[suffix]().encode())
