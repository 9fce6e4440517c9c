"""Where the rows of a stream's variables stand: on their own, or where others stood that are no longer read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from leadline.recurrence.ir import Variable
from leadline.sampling.exported.parts import parts
from leadline.sampling.plan import Plan

BLOCK = 64  # positions that are computed together
LINE = 64  # bytes
ENDLESS_LENGTH = 2**40


@dataclass
class Layout:
    """Rows of columns, one row for each channel and one column for each position.

    What is read of earlier blocks is `kept`: ``s->v3`` has its rows, and ``s->c3`` the column of the next position.
    Other rows are `shared`, from a row of ``s->b`` on: what no later equation reads makes room.
    Rows begin on lines of the cache, and are not a power of two apart: all rows at one column would take the same few
    places of the cache.
    """

    plan: Plan
    itemsize: int
    shared: dict[str, int] = field(init=False)
    order: list[tuple[tuple[Variable, ...], bool]] = field(init=False)

    def __post_init__(self) -> None:
        self.system = self.plan.system
        self.line = LINE // self.itemsize
        self.length = None if self.plan.reaches(ENDLESS_LENGTH) else self.plan.capacity
        self.lifetimes = self.plan.schedule.lifetimes()
        self.number = {v.name: n for n, v in enumerate(self.system.variables)}
        self.order = list(parts(self.system))
        self.shared = self._shared()

    @property
    def kept(self) -> Iterator[tuple[int, Variable]]:
        """The variables that have rows of their own, by number."""
        return ((n, v) for n, v in enumerate(self.system.variables) if v.name not in self.shared)

    @property
    def shared_rows(self) -> int:
        """How many rows the others take together."""
        return max((at + self.system[name].channels for name, at in self.shared.items()), default=0)

    def row(self, name: str, channel: str, late: int = 0) -> str:
        """Return the place in C of a channel at the first column of a block, or so many columns before it."""
        n = self.number[name]
        back = f" - {late}" if late else ""
        if name in self.shared:
            first = self.shared[name]
            row = str(first + int(channel)) if channel.isdigit() else f"{first} + {channel}" if first else channel
            return f"s->b[{row}]{back}"
        return f"s->v{n}[{channel}] + s->c{n}{back}"

    def apart(self, name: str) -> str:
        """Return how far one row is from the next, in C."""
        return "BLOCK" if name in self.shared else f"WIDTH{self.number[name]}"

    def history(self, variable: Variable) -> int:
        """Return how many columns before a block are read."""
        if variable.name in self.plan.grown:
            return 0
        ahead = -self.plan.schedule.delay[variable.name] if variable.name == self.system.output else 0
        # an output that sees no input of its own place comes before it
        return max(self.lifetimes[variable.name], ahead)

    def before(self, variable: Variable) -> int:
        """Return how many columns are kept before a block, in whole lines."""
        return -(-self.history(variable) // self.line) * self.line

    def width(self, variable: Variable) -> int:
        """Return the columns of a variable: what is read of the past, and room for blocks, so that moves are rare."""
        if variable.name in self.plan.grown:
            assert self.length is not None
            columns = self.length - self.plan.first + max(0, *self.plan.schedule.delay.values()) + 1 + self.line
        else:
            columns = self.before(variable) + BLOCK * max(1, min(8, -(-self.history(variable) // BLOCK)))
        return (-(-columns // self.line) | 1) * self.line

    def _shared(self) -> dict[str, int]:
        """Give rows to what is read within its own block alone, and may be overwritten by what comes after that."""
        after, last = {}, {}
        for place, (variables, _) in enumerate(self.order):
            for v in variables:
                after[v.name] = place
                last.update(dict.fromkeys((tap.source for tap in v.equation.taps), place))
        last[self.system.output] = len(self.order)
        turning = {v.name for variables, turns in self.order if turns for v in variables}
        found: dict[str, int] = {}
        for v in sorted(self.system.variables, key=lambda v: after.get(v.name, -1)):
            if v.name in self.plan.grown or v.name in turning or self.history(v) or self._begins_later(v):
                continue
            begin = after.get(v.name, -1)
            taken = [(at, at + self.system[name].channels) for name, at in found.items() if last.get(name, -1) >= begin]
            found[v.name] = _first_gap(sorted(taken), v.channels)
        return found

    def _begins_later(self, variable: Variable) -> bool:
        """Whether a reader reads before the variable's first position, where its fill has to stand."""
        delay = self.plan.schedule.delay
        readers = (e.reader for e in self.system.edges if e.source == variable.name)
        return any(delay[reader] != delay[variable.name] for reader in readers)


def _first_gap(taken: list[tuple[int, int]], size: int) -> int:
    """Return where so many rows are free first, below or between those taken."""
    at = 0
    for begin, end in taken:
        if begin - at >= size:
            break
        at = max(at, end)
    return at
