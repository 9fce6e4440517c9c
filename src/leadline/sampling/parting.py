"""Outputs of a run in parts beside those of a run on the whole sequence: the first that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Noted = list[tuple[str, Tensor]]
"""Outputs in the order in which they were made, each by the path of its module (``""`` is the model)."""


@dataclass(frozen=True)
class Parting:
    """Where a run in parts leaves the whole one: a position, a module by path (None: not known), and how far."""

    position: int
    module: str | None
    difference: float

    def __str__(self) -> str:
        inside = "" if self.module is None else f", first in {self.module or 'the model itself'}"
        return f"at position {self.position}{inside}, by {self.difference:.3g}"


def first_parting(
    noted: Noted, whole: Mapping[str, Tensor], length: int, tolerance: float, *, of: str | None = None
) -> tuple[float | None, Parting | None]:
    """Return the largest difference (None: nothing could be compared), and the first that is more than `tolerance`.

    Only outputs `of` one module are compared where it is named; the others say how long a call was. The tolerance is
    of the whole's largest number where that is above 1. The model goes from call to call: one that is longer than all
    before it begins anew, others go on. What a module makes in a call stands at its last positions.

    Examples
    --------
    >>> import torch
    >>> whole = torch.arange(8.0).reshape(1, 4, 2)
    >>> parts = [("a", whole[:, :2]), ("a", whole[:, 2:3]), ("a", whole[:, 3:] + 1)]
    >>> print(first_parting(parts, {"a": whole}, 4, 1e-4)[1])
    at position 3, first in a, by 1
    """
    end, largest, parting = 0, None, None
    for call in _calls(noted, whole, length):
        size = max((part.shape[axis] for _, part, axis in call), default=0)
        end = size if size > end else end + size
        for path, part, axis in call if end <= length else ():
            if of is not None and path != of:
                continue
            full, here = whole[path], part.shape[axis]
            gaps = (part - full.narrow(axis, end - here, here)).abs().nan_to_num(nan=float("inf"))
            gaps = gaps.movedim(axis, 0).flatten(1).amax(1)
            largest = max(largest or 0.0, float(gaps.max()))
            over = (gaps > tolerance * max(1.0, float(full.abs().max()))).nonzero()
            if parting is None and len(over):
                at = int(over[0])
                parting = Parting(end - here + at, path, float(gaps[at]))
    return largest, parting


def _calls(noted: Noted, whole: Mapping[str, Tensor], length: int) -> Iterator[list[tuple[str, Tensor, int]]]:
    """Part what was noted into calls of the model, which end where a module runs again."""
    call: list[tuple[str, Tensor, int]] = []
    seen: set[str] = set()
    for path, part in noted:
        if path in seen:
            yield call
            call, seen = [], set()
        axis = _axis(part, whole[path], length) if path in whole else None
        if axis is not None:
            seen.add(path)
            call.append((path, part, axis))
    yield call


def _axis(part: Tensor, full: Tensor, length: int) -> int | None:
    """Return the axis of the positions: the one along which the part is shorter, or which alone is so long."""
    if part.ndim != full.ndim:
        return None
    differing = [axis for axis in range(full.ndim) if part.shape[axis] != full.shape[axis]]
    differing = differing or [axis for axis in range(full.ndim) if full.shape[axis] == length][:1]
    fits = len(differing) == 1 and full.shape[differing[0]] == length
    return differing[0] if fits and part.shape[differing[0]] else None


def first_unlikely(
    tokens: Int[Tensor, "b n"], logits: Float[Tensor, "b n v"], begin: int, tolerance: float
) -> Parting | None:
    """Return where a token is not the likeliest of its logits; those closer than `tolerance` are as likely."""
    chosen = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    gaps = logits.amax(-1) - chosen
    over = (gaps[:, begin:] > tolerance * max(1.0, float(logits.abs().max()))).any(0).nonzero()
    if not len(over):
        return None
    at = begin + int(over[0])
    return Parting(at, None, float(gaps[:, at].max()))
