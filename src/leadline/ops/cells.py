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

from leadline.ops.columns import Place, Side, Slots

aten = torch.ops.aten


class Cell(ABC):
    """What the grid recurrence asks of a cell of `k` units; leading axes are the caller's."""

    gates: ClassVar[int]
    """Pre-activations per unit."""
    states: ClassVar[int]
    """Vectors of k carried forwards; `pull` carries ``gates + 2 * (states - 1)``, the pre-activations' first."""

    kept: ClassVar[int]
    """Gates per unit that the adjoint reads again; 0 where the carry tells them, and is given in their place."""

    @staticmethod
    @abstractmethod
    def advance(pre: Float[Tensor, "d g k n"], carry: Float[Tensor, "d s k n"], place: Place) -> None:
        """Turn a front's pre-activations into gates, in place, and write its carry."""

    @staticmethod
    @abstractmethod
    def retreat(
        gates: Float[Tensor, "d g k n"],
        carry: Float[Tensor, "d s k n"],
        grad: Float[Tensor, "d s k n"],
        delta: Float[Tensor, "d g k n"],
        place: Place,
    ) -> None:
        """Write the gradient of a front's pre-activations, and add what reaches its neighbours' further states.

        The front's own part of `grad` may be overwritten; `delta` holds zeros there.
        """

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
    kept: ClassVar[int] = 0

    @staticmethod
    def advance(pre: Tensor, carry: Tensor, place: Place) -> None:
        """Squash."""
        at = place.layers, slice(None), slice(None), place.columns
        torch.tanh(pre[at], out=carry[at])

    @staticmethod
    def retreat(gates: Tensor, carry: Tensor, grad: Tensor, delta: Tensor, place: Place) -> None:  # noqa: ARG004
        """Multiply by the slopes."""
        at = place.layers, slice(None), slice(None), place.columns
        aten.tanh_backward.grad_input(grad[at], gates[at], grad_input=delta[at])

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
    kept: ClassVar[int] = 5

    @staticmethod
    def advance(pre: Tensor, carry: Tensor, place: Place) -> None:
        """Mix the neighbours' cell states and the candidate."""
        at = place.layers, slice(None), slice(None), place.columns
        here = pre[at]
        (o, i, g, _, _), (h, c) = here.unbind(1), carry[at].unbind(1)
        g.mul_(2)
        here.sigmoid_()
        g.mul_(2).sub_(1)  # tanh(a) = 2 σ(2a) - 1: one pass over all gates, and half the time of tanh
        torch.mul(i, g, out=c)
        for forget, ((layers, columns), (past, there)) in _remembered(place):
            carry[layers, 1, :, columns].addcmul_(pre[layers, forget, :, columns], carry[past, 1, :, there])
        torch.tanh(c, out=h).mul_(o)

    @staticmethod
    def retreat(gates: Tensor, carry: Tensor, grad: Tensor, delta: Tensor, place: Place) -> None:
        """Gather c's gradient, spread it over all that moved c, and through the gates' slopes."""
        at = place.layers, slice(None), slice(None), place.columns
        here, spread = gates[at], delta[at]
        (dh, dc), (d_o, d_i, d_g, _, _), (o, i, g, _, _) = grad[at].unbind(1), spread.unbind(1), here.unbind(1)
        # h = o tanh(c) gives tanh(c) again; where o underflows to 0, all that it is multiplied by below is 0 too.
        squashed = carry[place.layers, 0, :, place.columns] / o.clamp_min(torch.finfo(o.dtype).tiny)
        torch.mul(dh, squashed, out=d_o)
        dc += aten.tanh_backward(dh.mul_(o), squashed)
        torch.mul(dc, g, out=d_i)
        torch.mul(dc, i, out=d_g)
        for forget, ((layers, columns), (past, there)) in _remembered(place):
            arrived = grad[layers, 1, :, columns]
            torch.mul(arrived, carry[past, 1, :, there], out=delta[layers, forget, :, columns])
            grad[past, 1, :, there].addcmul_(arrived, gates[layers, forget, :, columns])
        for part in (slice(2), slice(3, 5)):
            slopes = spread[:, part]
            aten.sigmoid_backward.grad_input(slopes, here[:, part], grad_input=slopes)
        aten.tanh_backward.grad_input(d_g, g, grad_input=d_g)

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


def _remembered(place: Place) -> list[tuple[int, tuple[Slots, Slots]]]:
    """Return, for each neighbour that a front's cells have, the gate that remembers its state, and the slots."""
    gates: tuple[tuple[int, Side], ...] = (3, "north"), (4, "west")
    return [(gate, place.links[side]) for gate, side in gates if side in place.links]
