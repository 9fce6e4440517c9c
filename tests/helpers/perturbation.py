"""The oracle of dependence: change one input position, see which outputs change."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


def dependence(
    model: nn.Module, inputs: tuple[Tensor, ...], layout: str, *, draws: int = 3, axes: str | None = None
) -> np.ndarray:
    """Boolean array [output position..., input position...]: which outputs change when the first input changes there.

    The model runs in float64 and eval mode. A position is changed in all its features and in the whole batch, `draws`
    times, so that a dead unit or a lucky cancellation does not hide a path.
    """
    model = model.double().eval()
    x, *rest = (value.double() if value.is_floating_point() else value for value in inputs)
    into, out = (side.split() for side in layout.split("->"))
    into = [name.rstrip(",") for name in into][: x.ndim]
    positions = (axes or " ".join(name for name in into if name != "b" and name in out)).split()
    sizes = [x.shape[into.index(name)] for name in positions]
    seen = np.zeros((*sizes, *sizes), dtype=bool)
    with torch.no_grad():
        before = model(x, *rest)
        for place in itertools.product(*map(range, sizes)):
            where = [slice(None)] * x.ndim
            for name, index in zip(positions, place, strict=True):
                where[into.index(name)] = index
            for _ in range(draws):
                changed = model(_changed(x, tuple(where)), *rest) != before
                seen[(..., *place)] |= _over_positions(changed, out, positions)
    return seen


def _changed(x: Tensor, where: tuple[slice | int, ...]) -> Tensor:
    y, part = x.clone(), x[where]
    if x.is_floating_point():
        y[where] = part + torch.randn_like(part)
    else:  # another class: a step of 1 … n - 1 around the circle of n classes
        n = int(x.max()) + 1
        y[where] = (part + torch.randint(1, n, part.shape)) % n
    return y


def _over_positions(changed: Tensor, out: list[str], positions: list[str]) -> np.ndarray:
    other = [axis for axis, name in enumerate(out) if name not in positions]
    array: np.ndarray = changed.numpy().any(axis=tuple(other))
    return array


def expected(sizes: tuple[int, ...], sees: Callable[..., bool]) -> np.ndarray:
    """Array of the same form from a closed form: ``sees(*offsets)``, offset = output position - input position."""
    array = np.zeros((*sizes, *sizes), dtype=bool)
    for out in itertools.product(*map(range, sizes)):
        for into in itertools.product(*map(range, sizes)):
            array[(*out, *into)] = sees(*(o - i for o, i in zip(out, into, strict=True)))
    return array
