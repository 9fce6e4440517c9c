"""A sweep as a document: what was swept, pictures with what theory says, the table, and what failed."""

from __future__ import annotations

from leadline.document import Block, Document, Row, Section, Table
from leadline.report.reproducing import how_to_repeat
from leadline.report.swept.heat_maps import sweep_pictures
from leadline.report.verdicts import cards
from leadline.sweeps.swept import Swept

_MOST = 24


def describe_sweep(swept: Swept, command: str = "") -> Document:
    """Lay a sweep out.

    Examples
    --------
    >>> row = {"layers": 2, "seed": 0, "span.steps": 2, "error": None}
    >>> found = Swept("chain", {"layers": (2,)}, 1, ("span.steps",), (row,), "leadline 0")
    >>> describe_sweep(found).sections[0].blocks[0].rows
    (('2', '0', '2'),)
    """
    fixed = ", ".join(f"{name}={values[0]}" for name, values in swept.settings.items() if len(values) == 1)
    seeds = "one seed" if swept.seeds == 1 else f"{swept.seeds} seeds"
    pictures = sweep_pictures(swept)
    drawn = (Section("Pictures", (Row(pictures) if len(pictures) > 1 else pictures[0],)),) if pictures else ()
    failed = (Section("Failed", (_failed(swept),)),) if swept.failed else ()
    cells = Section("Cells", (_cells(swept),))
    return Document(
        f"Sweep of {swept.model}",
        ", ".join(filter(None, (fixed, f"{len(swept.rows)} cells, {seeds}, {swept.made_with}"))),
        (*drawn, cells, *failed),
        cards(swept),
        how_to_repeat(command),
    )


def _cells(swept: Swept) -> Block:
    head = (*swept.varied, *(() if swept.varied else tuple(swept.settings)), "seed", *swept.measures)
    rows = tuple(tuple(_shown(row.get(name)) for name in head) for row in swept.rows)
    return Table(head, rows, sortable=True, most=_MOST)


def _failed(swept: Swept) -> Block:
    rows = tuple(
        (", ".join(f"{name}={row[name]}" for name in (*swept.settings, "seed")), str(row["error"]))
        for row in swept.rows
        if row["error"] is not None
    )
    return Table(("cell", "why"), rows, most=_MOST)


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
