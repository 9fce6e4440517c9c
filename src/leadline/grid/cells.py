"""The weights of a stack of grid recurrences; and its cells: what they do with pre-activations, and their derivative.

A cell *carries* `states` vectors to its neighbours, its output h first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


class Weights(NamedTuple):
    """The weights of `d` layers of `k` units with `g` gates each; gates are the outer part of the first axis."""

    weight_in: Float[Tensor, "gk k_in"]
    weight_below: Float[Tensor, "d-1 gk k"]
    weight_north: Float[Tensor, "d gk k"]
    weight_west: Float[Tensor, "d gk k"]
    bias: Float[Tensor, "d gk"]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.weight_north.shape[0]

    @property
    def units(self) -> int:
        """Width of each layer's output."""
        return self.weight_north.shape[-1]

    def mixing(self) -> Float[Tensor, "d gk s"]:
        """Return, side by side, what multiplies the northern, western and lower neighbours; none is below the first."""
        sides = [self.weight_north, self.weight_west]
        if self.layers > 1:
            sides.append(pad(self.weight_below, (0, 0, 0, 0, 1, 0)))
        return torch.cat(sides, -1)

    def scaled(self, rows: Float[Tensor, " gk"]) -> Weights:
        """Multiply what each pre-activation is made of by a number."""
        column = rows[:, None]
        return Weights._make([*(weight * column for weight in self[:4]), self.bias * rows])


aten = torch.ops.aten
_MINUS_ONE = torch.tensor(-1.0)


class Cell(ABC):
    """What the grid recurrence asks of a cell of `k` units; leading axes are the caller's."""

    gates: ClassVar[int]
    """Pre-activations per unit."""
    states: ClassVar[int]
    """Vectors of k carried to the neighbours."""
    kept: ClassVar[int]
    """Gates per unit that the adjoint reads again; 0 where the carry tells them, and is given in their place."""

    @staticmethod
    def scale(weights: Weights) -> Weights:
        """Return the weights whose pre-activations `advance` takes."""
        return weights

    @staticmethod
    @abstractmethod
    def advance(
        pre: Float[Tensor, "d g k n"], states: Float[Tensor, "d t k n"], carry: Float[Tensor, "d s k n"]
    ) -> None:
        """Turn a front's pre-activations into gates, in place, and write its carry.

        `states` holds the neighbours' further states, for each one north, west and, with several layers, below.
        """

    @staticmethod
    @abstractmethod
    def slopes(
        gates: Float[Tensor, "d g k n"], carry: Float[Tensor, "d s k n"], near: Float[Tensor, "d s k 2 n"]
    ) -> tuple[Float[Tensor, "d g k n"], Float[Tensor, "d t k n"]]:
        """Return the slopes of all cells: by pre-activation, of whatever state it moves; and of h by further states.

        `near` holds the carries of the northern and western neighbours.
        """

    @staticmethod
    @abstractmethod
    def retreat(
        gates: Float[Tensor, "d g k n"],
        through: Float[Tensor, "d t k n"],
        grad: Float[Tensor, "d s k n"],
        delta: Float[Tensor, "d g k n"],
        states: Float[Tensor, "d r k n"],
    ) -> None:
        """Turn a front's slopes into the gradient of its pre-activations, in place.

        `states` receives what the front's further states pass on to the neighbours'; `grad` may be overwritten.
        """

    @staticmethod
    @abstractmethod
    def carry(
        pre: Float[Tensor, "*c gk"], north: Float[Tensor, "*c sk"], west: Float[Tensor, "*c sk"]
    ) -> Float[Tensor, "*c sk"]:
        """Return a cell's carry, from its pre-activations and its neighbours' carries: the cell's definition."""


class TanhCell(Cell):
    """``h = tanh(pre)``."""

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    kept: ClassVar[int] = 0

    @staticmethod
    def advance(pre: Tensor, states: Tensor, carry: Tensor) -> None:  # noqa: ARG004
        """Squash; the pre-activations stand in the carry's place."""
        carry.tanh_()

    @staticmethod
    def slopes(gates: Tensor, carry: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        """Return ``1 - h²``; there is no further state."""
        return torch.addcmul(carry.new_ones(()), carry, carry, value=-1), carry[:, 1:].clone()

    @staticmethod
    def retreat(gates: Tensor, through: Tensor, grad: Tensor, delta: Tensor, states: Tensor) -> None:  # noqa: ARG004
        """Multiply by the slopes."""
        delta.mul_(grad)

    @staticmethod
    def carry(pre: Tensor, north: Tensor, west: Tensor) -> Tensor:  # noqa: ARG004
        """Squash."""
        return pre.tanh()


class LSTMCell(Cell):
    """``c = f_N c_N + f_W c_W + i g``, ``h = o tanh(c)``; gates in the order o, i, g, f_N, f_W, all sigmoid but g.

    Source: Graves, Fernández, Schmidhuber, *Multi-dimensional recurrent neural networks* (2007), without peepholes.
    """

    gates: ClassVar[int] = 5
    states: ClassVar[int] = 2
    kept: ClassVar[int] = 5

    @staticmethod
    def scale(weights: Weights) -> Weights:
        """Double the candidate's rows: tanh(a) = 2 σ(2a) - 1, so that one pass serves all gates."""
        rows = weights.bias.new_ones(5, weights.units)
        rows[2] = 2
        return weights.scaled(rows.flatten())

    @staticmethod
    def advance(pre: Tensor, states: Tensor, carry: Tensor) -> None:
        """Mix the neighbours' cell states and the candidate."""
        o, i, g, keep_north, keep_west = pre.sigmoid_().unbind(1)
        (h, c), (north, west, *_) = carry.unbind(1), states.unbind(1)
        torch.add(_MINUS_ONE, g, alpha=2, out=g)
        torch.mul(i, g, out=c).addcmul_(keep_north, north).addcmul_(keep_west, west)
        torch.mul(c, 2, out=h).sigmoid_()
        torch.add(_MINUS_ONE, h, alpha=2, out=h).mul_(o)

    @staticmethod
    def slopes(gates: Tensor, carry: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        """Return by what o moves h, and the others c; and by what c moves h."""
        slopes, (o, i, g, keep_north, keep_west) = torch.empty_like(gates), gates.unbind(1)
        # h = o tanh(c) gives tanh(c) again; where o underflows to 0, all that it is multiplied by is 0 too.
        squashed = carry[:, 0] / o.clamp_min(torch.finfo(o.dtype).tiny)
        north, west = near[:, 1].unbind(2)
        factors = {0: (squashed, o), 1: (g, i), 3: (north, keep_north), 4: (west, keep_west)}
        for gate, (factor, value) in factors.items():
            aten.sigmoid_backward.grad_input(factor, value, grad_input=slopes[:, gate])
        aten.tanh_backward.grad_input(i, g, grad_input=slopes[:, 2])
        return slopes, aten.tanh_backward(o, squashed)[:, None]

    @staticmethod
    def retreat(gates: Tensor, through: Tensor, grad: Tensor, delta: Tensor, states: Tensor) -> None:
        """Gather c's gradient, and spread it over all that moved c."""
        (dh, dc), (out, others) = torch.split(grad, 1, 1), torch.split(delta, [1, 4], 1)
        dc.addcmul_(through, dh)
        out.mul_(dh)
        others.mul_(dc)
        torch.mul(gates[:, 3:], dc, out=states[:, :2])

    @staticmethod
    def carry(pre: Tensor, north: Tensor, west: Tensor) -> Tensor:
        """Mix the neighbours' cell states and the candidate."""
        o, i, g, keep_north, keep_west = pre.chunk(5, -1)
        c_north, c_west = north.chunk(2, -1)[1], west.chunk(2, -1)[1]
        c = keep_north.sigmoid() * c_north + keep_west.sigmoid() * c_west + i.sigmoid() * g.tanh()
        return torch.cat([o.sigmoid() * c.tanh(), c], -1)
