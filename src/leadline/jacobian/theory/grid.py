"""Gradients over a grid recurrence ``h(i,j) = φ(U x(i,j) + N h(i-1,j) + W h(i,j-1))``.

With D(i,j) the slopes φ' of a cell, the Jacobians J(i,j) of h(i,j) by h(0,0) obey

    J(i,j) = D(i,j) (N J(i-1,j) + W J(i,j-1)),    J(0,0) = I,

so that J(i,j) is a sum over the paths from (0,0) to (i,j), one term for each way to put i steps south and j steps east
in order: ``C(i+j, i)`` of them.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

Taps = Mapping[tuple[int, int], Tensor]
"""Matrices (*n, k, k) by how many rows up and columns to the left lies the cell that they multiply."""


def grid_jacobians(
    taps: Taps, size: tuple[int, int], slopes: Float[Tensor, "h w k"] | None = None
) -> Float[Tensor, "h w *n k k"]:
    """Return the Jacobians of every cell's state by that of the first; slopes are 1 unless given.

    Examples
    --------
    >>> half = torch.eye(1) / 2
    >>> grid_jacobians({(1, 0): half, (0, 1): half}, (3, 3)).squeeze()  # the numbers of paths over 2^(i+j)
    tensor([[1.0000, 0.5000, 0.2500],
            [0.5000, 0.5000, 0.3750],
            [0.2500, 0.3750, 0.3750]])
    """
    first = next(iter(taps.values()))
    found = {(0, 0): torch.eye(first.shape[-1], dtype=first.dtype).expand_as(first)}
    for i, j in list(product(range(size[0]), range(size[1])))[1:]:
        terms = [matrix @ found[i - a, j - b] for (a, b), matrix in taps.items() if i >= a and j >= b]
        total = torch.stack(terms).sum(0) if terms else torch.zeros_like(first)
        found[i, j] = total if slopes is None else slopes[i, j].unsqueeze(-1) * total
    table: Tensor = torch.stack(list(found.values())).unflatten(0, size)
    return table


def path_bound(i: int, j: int, north: float, west: float) -> float:
    """Return ``C(i+j, i) ‖N‖^i ‖W‖^j``, the most that J(i,j) can be in norm where slopes are at most 1.

    It is infinite where float64 does not hold it.

    Examples
    --------
    >>> [round(path_bound(1, 1, 0.6, 0.6), 9), round(path_bound(6, 6, 0.6, 0.6), 9)]
    [0.72, 2.011346878]
    """
    powers = ((north, i), (west, j))
    if any(base == 0 and power for base, power in powers):
        return 0.0
    log = math.lgamma(i + j + 1) - math.lgamma(i + 1) - math.lgamma(j + 1)  # C(i+j, i) alone overflows beyond 1,029
    log += sum(power * math.log(base) for base, power in powers if power)
    return math.inf if log > _LARGEST else math.exp(log)


_LARGEST = math.log(sys.float_info.max)


@cache
def gaussian_moment(i: int, j: int, correlation: float = 0.0) -> dict[int, float]:
    """Return ``E‖J(i,j)‖²/k``, Frobenius, for Gaussian N and W with entries of variance 1/k, as powers of 1/k.

    Entry N_ab has the `correlation` with W_ab, any other two entries are independent. Exact for every k, by Wick's
    theorem: the mean of ``tr(A B^T)`` for two paths A and B is a sum over the ways to pair all factors of both. A pair
    identifies rows with rows and columns with columns, and each index that is left free contributes k.

    Examples
    --------
    >>> gaussian_moment(1, 1)  # two paths; that N W meets W N in the mean is smaller by 1/k²
    {0: 2.0, 2: 2.0}
    >>> gaussian_moment(1, 1, correlation=1.0)[0]
    4.0
    """
    n, found = i + j, dict[int, float]()
    orders = [word for word in product((0, 1), repeat=n) if sum(word) == j]
    for pairing in _pairings(tuple(range(2 * n))):
        order = n + 1 - _free(pairing, n)
        for first, second in product(orders, orders):
            word = first + second
            weight = math.prod(1.0 if word[a] == word[b] else correlation for a, b in pairing)
            if weight:
                found[order] = found.get(order, 0.0) + weight
    return dict(sorted(found.items()))


def _pairings(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Pair so many things in every way."""
    if not items:
        yield ()
    for place in range(1, len(items)):
        for rest in _pairings(items[1:place] + items[place + 1 :]):
            yield ((items[0], items[place]), *rest)


def _free(pairing: tuple[tuple[int, int], ...], n: int) -> int:
    """Count the indices of ``tr(A B^T)``, A and B of n factors each, that a pairing of the 2n factors leaves free.

    Factor t of A has row t and column t + 1. Those of B go from n + 1 on, but that its first row and its last column
    are A's.
    """
    row = [*range(n), 0, *range(n + 1, 2 * n)]
    column = [*range(1, n + 1), *range(n + 1, 2 * n), n]
    name = list(range(2 * n))
    for a, b in pairing:
        for x, y in ((row[a], row[b]), (column[a], column[b])):
            old, new = name[x], name[y]
            name = [new if other == old else other for other in name]
    return len(set(name))
