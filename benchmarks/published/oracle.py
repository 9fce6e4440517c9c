"""The oracle: change one position of the input of the real model, and see which positions of the output change."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

ROUNDING = 1e-9  # relative to the largest output: sums in another order differ by less
_MOST_PLACES = 40

Place = tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """What changed.

    Attributes
    ----------
    lag
        The least rank of an output less that of an input that changed it; None if none did.
    last
        The positions changed that the last output saw.
    places
        The positions changed: all of them, or some of many.
    mixed
        Whether the output of a sample changed whose input did not.
    """

    lag: int | None
    last: frozenset[Place]
    places: tuple[Place, ...]
    mixed: bool


def look(model: nn.Module, draws: Sequence[Mapping[str, Tensor]], layout: Mapping[str, str | None]) -> Seen:
    """Change the first sample of the first input, one position after the other, to what it is in the other draws."""
    name, x = next(iter(draws[0].items()))
    (output,) = (key for key in layout if key not in draws[0])
    read, written = (str(layout[key]).split() for key in (name, output))
    positions = [axis for axis in read if axis in written and axis != "b"]
    sizes = [x.shape[read.index(axis)] for axis in positions]
    before = run(model, draws[0], output)
    least = ROUNDING * float(before.abs().max())
    gaps, last, mixed = [], set(), False
    places = _spread(list(itertools.product(*map(range, sizes))))
    for place in places:
        at = tuple(_index(axis, positions, place) for axis in read)
        changed = torch.zeros(before.shape, dtype=torch.bool)
        for moved in _moved(draws, name, at):
            changed |= ~((run(model, moved, output) - before).abs() <= least)
        mine, *others = _over(changed, written, positions)
        mixed |= any(bool(other.any()) for other in others)
        gaps.extend((mine.flatten().nonzero()[:1] - _rank(place, sizes)).flatten().tolist())
        last |= {place} if bool(mine.flatten()[-1]) else set()
    return Seen(min(gaps, default=None), frozenset(last), tuple(places), mixed)


def run(model: nn.Module, inputs: Mapping[str, Tensor], output: str) -> Tensor:
    """Run a model and pick an output by the name that leadline gives it."""
    torch.manual_seed(0)
    with torch.no_grad():
        return picked(model(**inputs), output)


def picked(out: Any, output: str) -> Tensor:
    """Return the output of a name: ``"output"``, ``"[0]"``, ``"logits"``, ``"a[0]"``."""
    if isinstance(out, Tensor):
        return out
    for key in output.replace("[", ".").replace("]", "").strip(".").split("."):
        out = out[int(key) if key.isdigit() else key]
    found: Tensor = out
    return found


def _moved(
    draws: Sequence[Mapping[str, Tensor]], name: str, at: tuple[slice | int, ...]
) -> Iterator[dict[str, Tensor]]:
    for draw in draws[1:]:
        x = draws[0][name].clone()
        x[at] = draw[name][at]
        yield {**draws[0], name: x}


def _index(axis: str, positions: Sequence[str], place: Place) -> slice | int:
    if axis == "b":
        return 0
    return place[positions.index(axis)] if axis in positions else slice(None)


def _spread(places: list[Place]) -> list[Place]:
    """All places, or as many as are affordable, evenly spread from the first to the last."""
    n, most = len(places), _MOST_PLACES
    return places if n <= most else [places[i * (n - 1) // (most - 1)] for i in range(most)]


def _over(changed: Tensor, axes: Sequence[str], positions: Sequence[str]) -> Tensor:
    """Put the batch first and then the positions, and take the other axes together."""
    wanted = [axis for axis in ("b", *positions) if axis in axes]
    others = [axis for axis in axes if axis not in wanted]
    changed = changed.permute([axes.index(axis) for axis in (*wanted, *others)])
    changed = changed.flatten(len(wanted)).any(-1) if others else changed
    return changed if "b" in axes else changed[None]


def _rank(place: Place, sizes: Sequence[int]) -> int:
    return sum(at * prod(sizes[i + 1 :]) for i, at in enumerate(place))
