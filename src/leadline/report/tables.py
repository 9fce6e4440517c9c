"""The figures of a result as one table, in Markdown, LaTeX and pandas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from leadline.audit._compare import Comparison
from leadline.audit.audited import Audit
from leadline.document import Table
from leadline.errors import UsageError
from leadline.report.figures import Figure, figures
from leadline.results import Bound, Estimate, Result
from leadline.sweeps.swept import Swept

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$",
    "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\to$", "Θ": r"$\Theta$", "σ": r"$\sigma$", "τ": r"$\tau$", "χ": r"$\chi$",
    "²": r"$^2$", "³": r"$^3$", "…": r"\dots{}", "∞": r"$\infty$", "√": r"$\surd$", "∝": r"$\propto$", "‖": r"$\|$",
}  # fmt: skip


def table(result: Result) -> Table:
    """Return the figures as text; of a comparison, a column for each model.

    Examples
    --------
    >>> from leadline.results import Estimate
    >>> table(Estimate(1.5, 0.25, n=4)).rows
    (('mean of 4', '1.5 ± 0.25', 'estimate'),)
    """
    if isinstance(result, Comparison):
        named = [{figure.name: figure for figure in figures(audit)} for audit in result.audits]
        rows = [(name, *(str(of.get(name, "")) for of in named)) for name in _names(named)]
        return Table(("quantity", *(audit.title for audit in result.audits)), tuple(rows))
    found = figures(result)
    return Table(("quantity", "value", "status"), tuple((f.name, str(f), f.status) for f in found))


def _names(named: Sequence[dict[str, Figure]]) -> list[str]:
    return list(dict.fromkeys(name for figures in named for name in figures))


def markdown(result: Result) -> str:
    """Return the table in Markdown, numbers to the right."""
    laid = table(result)
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (laid.head, *laid.rows)]
    widths = [max(4, *map(len, column)) for column in zip(*rows, strict=True)]
    right = [False, *_numeric(result, laid)]
    rule = [":" + "-" * (w - 1) if not r else "-" * (w - 1) + ":" for w, r in zip(widths, right, strict=True)]
    lines = [
        "| " + " | ".join(_aligned(cell, w, r) for cell, w, r in zip(row, widths, right, strict=True)) + " |"
        for row in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(lines)


def _numeric(result: Result, laid: Table) -> list[bool]:
    """Whether each column after the first holds values."""
    return [True] * (len(laid.head) - 1) if isinstance(result, Comparison) else [True, False]


def _aligned(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def latex(result: Result) -> str:
    """Return a tabular, with the rules of booktabs; characters that LaTeX reads are escaped."""
    laid = table(result)
    columns = "l" + "".join("r" if right else "l" for right in _numeric(result, laid))
    rows = [" & ".join("".join(LATEX.get(c, c) for c in cell) for cell in row) + r" \\" for row in laid.rows]
    head = " & ".join("".join(LATEX.get(c, c) for c in cell) for cell in laid.head) + r" \\"
    lines = [r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *(f"  {line}" for line in lines), r"\end{tabular}"])


def frame(result: Result) -> Any:
    """Return a DataFrame with the values as numbers: a row for each figure, of a comparison for each model.

    Of a sweep, a row for each cell.
    """
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("tables for pandas need pandas: pip install 'leadline[tables]'") from None

    if isinstance(result, Comparison):
        rows = {audit.title: {f.name: plain(f)["value"] for f in figures(audit)} for audit in result.audits}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    if isinstance(result, Swept):
        return pd.DataFrame.from_records(list(result.rows))
    columns = ["quantity", "value", "low", "high", "unit", "status"]
    records = [
        {"depth": f.depth, "quantity": f.name, **plain(f), "unit": f.unit, "status": f.status} for f in figures(result)
    ]
    return pd.DataFrame.from_records(records, columns=["depth", *columns] if isinstance(result, Audit) else columns)


def plain(figure: Figure) -> dict[str, Any]:
    """Return a figure's value and the interval that holds it as numbers; of a bound that is not tight no value."""
    match figure.value:
        case Bound(lo, hi):
            return {"value": _whole(lo) if lo == hi else None, "low": _whole(lo), "high": _whole(hi)}
        case Estimate(value):
            low, high = figure.value.interval()
            return {"value": value, "low": low, "high": high}
    return {"value": figure.value, "low": None, "high": None}


def _whole(value: float) -> int | float:
    return int(value) if math.isfinite(value) and value == int(value) else value
