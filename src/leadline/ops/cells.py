"""The cells of the grid recurrence: what one does with its pre-activations, and the linearisation of that.

A cell *carries* `states` vectors to its neighbours, its output h first. Its derivative splits into coefficients, known
once the forward sweep has ended, and two linear steps: `push` for tangents (towards the
south-east) and `pull` for gradients (back towards the north-west), each other's transpose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor


class Cell(ABC):
    """What the grid recurrence asks of a cell of `k` units; leading axes are the caller's."""

    gates: ClassVar[int]
    """Pre-activations per unit."""
    states: ClassVar[int]
    """Vectors of k carried forwards; `pull` carries ``gates + 2 * (states - 1)``, the pre-activations' first."""

    @staticmethod
    @abstractmethod
    def advance(
        pre: Float[Tensor, "*c gk"], north: Float[Tensor, "*c sk"], west: Float[Tensor, "*c sk"]
    ) -> Float[Tensor, "*c sk"]:
        """Return a cell's carry from its pre-activations and its neighbours' carries."""

    @staticmethod
    @abstractmethod
    def linearise(*known: Float[Tensor, "*c _"]) -> Float[Tensor, "*c ak"]:
        """Return the derivative's coefficients.

        A cell of one state is given its output; a cell with more its pre-activations, its further states, and those of
        its north and west neighbours.
        """

    @staticmethod
    @abstractmethod
    def push(
        table: Float[Tensor, "*c ak"],
        pre: Float[Tensor, "*c gk"],
        north: Float[Tensor, "*c sk"],
        west: Float[Tensor, "*c sk"],
    ) -> Float[Tensor, "*c sk"]:
        """Return the carry's tangent from the tangents of the pre-activations and of the neighbours' carries."""

    @staticmethod
    @abstractmethod
    def pull(
        table: Float[Tensor, "*c ak"],
        carry: Float[Tensor, "*c sk"],
        south: Float[Tensor, "*c pk"],
        east: Float[Tensor, "*c pk"],
    ) -> Float[Tensor, "*c pk"]:
        """Return the pre-activations' gradient, then what reaches the north and west neighbours' further states.

        The first vector of `carry` is h's whole gradient, the others hold what arrives from outside the recurrence.
        """


class TanhCell(Cell):
    """``h = tanh(pre)``."""

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    @staticmethod
    def advance(pre: Tensor, north: Tensor, west: Tensor) -> Tensor:  # noqa: ARG004
        """Squash."""
        return pre.tanh()

    @staticmethod
    def linearise(*known: Tensor) -> Tensor:
        """Return the slopes ``1 - h²``."""
        (h,) = known
        return 1 - h * h

    @staticmethod
    def push(table: Tensor, pre: Tensor, north: Tensor, west: Tensor) -> Tensor:  # noqa: ARG004
        """Multiply by the slopes."""
        return table * pre

    @staticmethod
    def pull(table: Tensor, carry: Tensor, south: Tensor, east: Tensor) -> Tensor:  # noqa: ARG004
        """Multiply by the slopes: the derivative is diagonal."""
        return table * carry


class LSTMCell(Cell):
    """``c = f_N c_N + f_W c_W + i g``, ``h = o tanh(c)``; gates in the order o, i, g, f_N, f_W, all sigmoid but g.

    Source: Graves, Fernández, Schmidhuber, *Multi-dimensional recurrent neural networks* (2007), without peepholes.
    """

    gates: ClassVar[int] = 5
    states: ClassVar[int] = 2

    @staticmethod
    def advance(pre: Tensor, north: Tensor, west: Tensor) -> Tensor:
        """Mix the neighbours' cell states and the candidate."""
        o, i, g, f_north, f_west = LSTMCell._gates(pre)
        c = f_north * north.chunk(2, -1)[1] + f_west * west.chunk(2, -1)[1] + i * g
        return torch.cat([o * c.tanh(), c], -1)

    @staticmethod
    def linearise(*known: Tensor) -> Tensor:
        """Return ∂h/∂o, ∂h/∂c, then ∂c by the four other pre-activations and by the neighbours' cell states."""
        pre, c, c_north, c_west = known
        o, i, g, f_north, f_west = LSTMCell._gates(pre)
        squashed = c.tanh()
        return torch.cat(
            [
                squashed * o * (1 - o),
                o * (1 - squashed * squashed),
                g * i * (1 - i),
                i * (1 - g * g),
                c_north * f_north * (1 - f_north),
                c_west * f_west * (1 - f_west),
                f_north,
                f_west,
            ],
            -1,
        )

    @staticmethod
    def push(table: Tensor, pre: Tensor, north: Tensor, west: Tensor) -> Tensor:
        """Sum what moves c, then pass it on to h."""
        a, v = _split(table, 8), _split(pre, 5)
        states = torch.stack([north.chunk(2, -1)[1], west.chunk(2, -1)[1]], -2)
        c = (a[..., 2:, :] * torch.cat([v[..., 1:, :], states], -2)).sum(-2)
        return torch.cat([a[..., 0, :] * v[..., 0, :] + a[..., 1, :] * c, c], -1)

    @staticmethod
    def pull(table: Tensor, carry: Tensor, south: Tensor, east: Tensor) -> Tensor:
        """Gather c's gradient from h, the south and the east, then spread it over all that moved c."""
        a = _split(table, 8)
        h, c = carry.chunk(2, -1)
        k = h.shape[-1]
        c = c + a[..., 1, :] * h + south[..., 5 * k : 6 * k] + east[..., 6 * k :]
        return torch.cat([a[..., 0, :] * h, (a[..., 2:, :] * c.unsqueeze(-2)).flatten(-2)], -1)

    @staticmethod
    def _gates(pre: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        o, i, _, f_north, f_west = pre.sigmoid().chunk(5, -1)
        return o, i, pre.chunk(5, -1)[2].tanh(), f_north, f_west


def _split(table: Float[Tensor, "*c nk"], n: int) -> Float[Tensor, "*c n k"]:
    return table.reshape(*table.shape[:-1], n, table.shape[-1] // n)
