"""Repeats folded: modules of equal blocks as one row, and a chain through equal blocks as one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True)
class Group(Generic[V]):
    """Modules, by what follows their block in their paths, with the value of each; the blocks are all equal.

    `prefix` is the path of what holds the blocks, `indices` are theirs; a module outside of any block is a group alone,
    without indices.
    """

    prefix: str
    indices: tuple[int, ...]
    members: tuple[tuple[str, V], ...]

    @property
    def times(self) -> int:
        """How many equal blocks there are."""
        return max(1, len(self.indices))

    def paths(self, member: str) -> list[str]:
        """Return the paths that a member stands for."""
        if not self.indices:
            return [self.prefix]
        return [".".join(filter(None, (self.prefix, str(index), member))) for index in self.indices]

    def name(self, member: str = "") -> str:
        """Return how a member is called: ``"blocks 0 to 11, 12 ×: attention.out"``."""
        if not self.indices:
            return self.prefix or "(the model itself)"
        if self.times == 1:
            path = ".".join(filter(None, (self.prefix, str(self.indices[0]), member)))
            return path or "(the model itself)"
        called = f"{self.prefix or 'layers'} {ranged(self.indices)}, {self.times} ×"
        return f"{called}: {member}" if member else called


def ranged(indices: Sequence[int]) -> str:
    """Return ascending numbers as a range.

    Examples
    --------
    >>> ranged([0, 1, 2]), ranged([0, 2, 4, 6]), ranged([3, 4])
    ('0 to 2', '0, 2 … 6', '3 and 4')
    """
    if len(indices) < 3:
        return " and ".join(map(str, indices))
    if indices[-1] - indices[0] == len(indices) - 1:
        return f"{indices[0]} to {indices[-1]}"
    return f"{indices[0]}, {indices[1]} … {indices[-1]}"


def folded(values: Mapping[str, V]) -> list[Group[V]]:
    """Group module paths whose values are the same in blocks that follow one another at equal distances.

    Examples
    --------
    >>> groups = folded({"embed": 5, "blocks.0.up": 1, "blocks.0.down": 2, "blocks.1.up": 1, "blocks.1.down": 2})
    >>> [group.name(member) for group in groups for member, _ in group.members]
    ['embed', 'blocks 0 and 1, 2 ×: up', 'blocks 0 and 1, 2 ×: down']
    """
    blocks: dict[tuple[str, int | None], list[tuple[str, V]]] = {}
    for path, value in values.items():
        prefix, index, member = split(path)
        blocks.setdefault((prefix, index), []).append((member, value))
    groups: list[Group[V]] = []
    for (prefix, index), members in blocks.items():
        last = groups[-1] if groups else None
        alike = last is not None and last.prefix == prefix and last.members == tuple(members)
        if alike and last is not None and index is not None and _goes_on(last.indices, index):
            groups[-1] = Group(prefix, (*last.indices, index), last.members)
        else:
            groups.append(Group(prefix, () if index is None else (index,), tuple(members)))
    return groups


def split(path: str) -> tuple[str, int | None, str]:
    """Split a module path at its first number: ``("blocks", 0, "attention.out")``; without one, the whole is first.

    Examples
    --------
    >>> split("blocks.0.attention.out"), split("3"), split("embed")
    (('blocks', 0, 'attention.out'), ('', 3, ''), ('embed', None, ''))
    """
    found = re.match(r"(?:(.*?)\.)?(\d+)(?:\.(.*))?$", path)
    return (found[1] or "", int(found[2]), found[3] or "") if found else (path, None, "")


def _goes_on(indices: Sequence[int], index: int) -> bool:
    return len(indices) < 2 or index - indices[-1] == indices[1] - indices[0]


def folded_chain(steps: Iterable[tuple[str, str]]) -> list[str]:
    """Return a chain, given as module paths with what each step does there, as one line for each run of equal blocks.

    Examples
    --------
    >>> chain = [(f"blocks.{i}.{name}", "1 × linear") for i in range(3) for name in ("up", "down")]
    >>> folded_chain([*chain, ("logits", "1 × linear")])
    ['blocks 0 to 2, 3 ×: up (1 × linear) → down (1 × linear)', 'logits (1 × linear)']
    """
    parts = [(*split(path), what) for path, what in steps]
    groups: list[Group[str]] = []
    for (prefix, index), run in groupby(parts, key=lambda part: part[:2]):
        members = tuple((member, what) for _, _, member, what in run)
        last = groups[-1] if groups else None
        alike = last is not None and (last.prefix, last.members) == (prefix, members)
        if alike and last is not None and last.indices and index is not None and _goes_on(last.indices, index):
            groups[-1] = Group(prefix, (*last.indices, index), members)
        else:
            groups.append(Group(prefix, () if index is None else (index,), members))
    return [_line(group) for group in groups]


def _line(group: Group[str]) -> str:
    if group.times == 1:
        return " → ".join(f"{group.name(member)} ({what})" for member, what in group.members)
    inner = " → ".join(f"{member} ({what})" if member else what for member, what in group.members)
    return f"{group.name()}: {inner}"
