"""Tables on a page: which columns hold numbers, what they are sorted by, and what is copied from them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from leadline.document import Table
from leadline.report.tables import LATEX

_UNITS = {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_NUMBER = re.compile(
    r"(?P<number>[-+−]?\d[\d   ,]*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(?P<unit>B|KiB|MiB|GiB|TiB|%|ms|s|×)?"
    r"(?:\s*\([a-z]\))?"
)
_A_FEW_WORDS = 24
"""The most characters that are read well when they end at one line."""


@dataclass(frozen=True)
class Cell:
    """A cell as the page shows it; `key` is the number to sort by, if it is one."""

    text: str
    key: float | None


def key(text: str) -> float | None:
    """Return the number that a cell holds, in its smallest unit; None if it is something else.

    Examples
    --------
    >>> key("1 234 567"), key("3.0 MiB"), key("12 (p)"), key("proved")
    (1234567.0, 3145728.0, 12.0, None)
    """
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    digits = re.sub(r"[   ,]", "", found["number"]).replace("−", "-")
    return float(digits) * _UNITS.get(found["unit"] or "", 1.0)


def cells_of(table: Table) -> list[list[Cell]]:
    """Return the rows with the numbers read."""
    return [[Cell(text, key(text)) for text in row] for row in table.rows]


def numeric(table: Table) -> list[bool]:
    """Tell of each column whether it holds numbers, and at most a few words: those stand right-aligned.

    Columns that are compared are all aligned alike.
    """
    columns = list(zip(*table.rows, strict=True)) or [() for _ in table.head]
    right = [_mostly_numbers(column) for column in columns[1:]]
    return [False, *(right if not table.differing else [all(right)] * len(right))]


def _mostly_numbers(column: tuple[str, ...]) -> bool:
    filled = [text for text in column if text]
    short = all(len(text) <= _A_FEW_WORDS for text in filled)
    return short and 2 * sum(key(text) is not None for text in filled) > len(filled)


def as_csv(table: Table) -> str:
    """Return the table with commas; what a spreadsheet would take for a formula gets an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_no_formula(text) for text in row] for row in (table.head, *table.rows))
    return buffer.getvalue()


def _no_formula(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@" and text and key(text) is None else text


def as_markdown(table: Table) -> str:
    """Return the table in Markdown, numbers to the right."""
    ruled = ["---:" if right else "---" for right in numeric(table)]
    rows = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in (table.head, *table.rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], ruled, *rows[1:]))


def as_latex(table: Table) -> str:
    """Return the table in LaTeX, with the rules of booktabs."""
    form = "".join("r" if right else "l" for right in numeric(table))
    head, *rows = (
        " & ".join("".join(LATEX.get(c, c) for c in text) for text in row) for row in (table.head, *table.rows)
    )
    body = "".join(f"{row} \\\\\n" for row in rows)
    return f"\\begin{{tabular}}{{{form}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
