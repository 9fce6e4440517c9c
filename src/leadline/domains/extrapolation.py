"""Guess how a table of times goes on from the part of it that is known: periodic, but for a constant rise."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def extrapolated(
    times: Int[Tensor, "..."], known: Bool[Tensor, "..."], ranks: Int[Tensor, "..."]
) -> Int[Tensor, "..."] | None:
    """Go on from the known times of the positions that come first in an order; None where they do not show how.

    Examples
    --------
    >>> times = torch.tensor([0, 2, 3, 5, 6, 8, 9, 0, 0])
    >>> extrapolated(times, times >= torch.arange(9), torch.arange(9)).tolist()
    [0, 2, 3, 5, 6, 8, 9, 11, 12]
    """
    origin = ranks[(0,) * ranks.dim()]
    strides = [int(ranks.select(axis, size - 1).flatten()[0] - origin) for axis, size in enumerate(ranks.shape)]
    backwards = [axis for axis, stride in enumerate(strides) if stride < 0]
    slowest_first = sorted(range(ranks.dim()), key=lambda axis: -abs(strides[axis]))

    def turned(x: Tensor) -> Tensor:
        return x.flip(backwards).permute(slowest_first)

    found = _continued(turned(times), turned(known))
    fastest = [slowest_first.index(axis) for axis in range(ranks.dim())]
    return None if found is None else found.permute(fastest).flip(backwards)


def _continued(times: Int[Tensor, "n *rest"], known: Bool[Tensor, "n *rest"]) -> Int[Tensor, "n *rest"] | None:
    """Continue row by row as far as the rows show how, then go on in whole rows."""
    if times.dim() == 1:
        return _repeated(times[: int(known.long().cumprod(0).sum())], len(times))
    rows: list[Tensor] = []
    for row, known_of_row in zip(times, known, strict=True):
        if (continued := _continued(row, known_of_row)) is None:
            break
        rows.append(continued)
    return _repeated(torch.stack(rows), len(times)) if rows else None


def _repeated(head: Int[Tensor, "k *rest"], size: int) -> Int[Tensor, "n *rest"] | None:
    """Repeat the last period of a head, each time later by its rise, which half of the head must have shown."""
    if len(head) == size:
        return head
    for period in range(1, len(head) // 3 + 1):
        rises = head[period:] - head[:-period]
        if bool((rises[-max(2 * period, len(head) // 2) :] == rises[-1]).all()):
            further = torch.arange(size - len(head))
            times = (further // period + 1).reshape(-1, *(1 for _ in head.shape[1:]))
            return torch.cat([head, head[-period:][further % period] + times * rises[-1]])
    return None
