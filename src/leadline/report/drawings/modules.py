"""What each module does and keeps: equal blocks that follow one another share rows and bars."""

from __future__ import annotations

from leadline.audit.audited import Audit, Unavailable
from leadline.document import Bars, Table
from leadline.domains._count import Tally
from leadline.domains._memory import Memory
from leadline.report.folding import folded
from leadline.report.numbers import size, whole

_MOST = 12
"""The most rows on a terminal and on paper: the largest."""
_MOST_BARS = 20


def module_table(audit: Audit) -> tuple[Table, ...]:
    """Lay out the modules of an audit, the largest first, with what is known of them; nothing where that is nothing."""
    count, memory = audit.count, audit.memory
    tallies = {} if isinstance(count, Unavailable) else count.by_module
    kept = {} if isinstance(memory, Unavailable) else memory.by_module
    each = {path: (tallies.get(path, Tally()), kept.get(path, 0)) for path in {**tallies, **kept}}
    rows = [
        (group.name(member), _sum([each[path] for path in group.paths(member)]))
        for group in folded({path: (tally.macs, tally.parameters, held) for path, (tally, held) in each.items()})
        for member, _ in group.members
    ]
    rows.sort(key=lambda row: (-row[1][0].macs, -row[1][0].parameters, -row[1][1]))
    columns = [_name_column(rows), *([] if not tallies else _counts(rows)), *([] if not kept else [_kept(rows)])]
    if not rows:
        return ()
    head, *body = zip(*columns, strict=True)
    return (Table(head, tuple(body), "By module, equal blocks together", sortable=True, most=_MOST),)


Row = tuple[str, tuple[Tally, int]]


def _sum(parts: list[tuple[Tally, int]]) -> tuple[Tally, int]:
    return sum((tally for tally, _ in parts), Tally()), sum(held for _, held in parts)


def _name_column(rows: list[Row]) -> list[str]:
    return ["module", *(name for name, _ in rows)]


def _counts(rows: list[Row]) -> list[list[str]]:
    return [
        ["connections", *(whole(tally.connections) for _, (tally, _) in rows)],
        ["multiply-accumulates", *(whole(tally.macs) for _, (tally, _) in rows)],
        ["parameters", *(whole(tally.parameters) for _, (tally, _) in rows)],
    ]


def _kept(rows: list[Row]) -> list[str]:
    return ["kept for the backward pass", *(size(held) for _, (_, held) in rows)]


def memory_bars(memory: Memory) -> Bars | None:
    """Draw what each block keeps for the backward pass, in the order in which blocks run; None if nothing is kept."""
    blocks: dict[str, int] = {}
    for path, kept in memory.by_module.items():
        blocks[_block(path)] = blocks.get(_block(path), 0) + kept
    rows = [
        (group.name(member), float(group.times * kept), _times(group.times, kept))
        for group in folded(blocks)
        for member, kept in group.members
        if kept
    ]
    most = sorted(rows, key=lambda row: -row[1])[:_MOST_BARS]
    left = sum(row[1] for row in rows if row not in most)
    shown = [row for row in rows if row in most] + ([("all others", left, size(int(left)))] if left else [])
    return Bars(tuple(shown), "kept", "Kept for the backward pass, by block") if shown else None


def _block(path: str) -> str:
    """Return the path up to its first number, or its first part."""
    parts = path.split(".")
    ends = (place + 1 for place, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[: next(ends, 1)])


def _times(times: int, each: int) -> str:
    return size(each) if times == 1 else f"{size(times * each)}, {times} × {size(each)}"
