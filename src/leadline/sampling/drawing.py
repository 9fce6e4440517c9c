"""Symbols drawn front by front, from outputs that a machine computes as their inputs become known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from leadline.errors import Diverged
from leadline.likelihoods import Bernoulli, Categorical, Likelihood
from leadline.sampling.machine import Machine
from leadline.sampling.plan import Plan

if TYPE_CHECKING:
    from leadline.sampling.plan import Points

Encode: TypeAlias = Callable[[Tensor], Tensor]


def drawer_of(machine: Machine, likelihood: Likelihood | None, encode: Encode | None) -> Callable[..., None] | None:
    """Return how a machine draws symbols itself: classes, from a logit for each; None where it does not."""
    if encode is not None or not isinstance(likelihood, Categorical | Bernoulli):
        return None
    found: Callable[..., None] | None = getattr(machine, "generate", None)
    return found


@dataclass(frozen=True)
class Drawing:
    """What is drawn, and how: symbols of a likelihood, which the model reads as `encode` makes them."""

    likelihood: Likelihood
    encode: Encode | None
    lag: int
    temperature: float
    top_k: int | None

    def fill(self, machine: Machine, plan: Plan, symbols: Tensor, kept: Tensor, u: Tensor) -> None:
        """Fill `symbols` (n, *positions) where they are not kept, front by front; `u` are uniforms of that shape."""
        drawer = drawer_of(machine, self.likelihood, self.encode)
        if drawer is not None:
            drawer(self.likelihood, self.lag, symbols, kept, u, self.temperature, self.top_k)
            return
        rows = plan.schedule.sizes[0]
        first, last = plan.fronts(0, rows)
        draws = plan.draws or {plan.system.inputs[0]: plan.system.output}
        for front in range(first, last + 1):
            for inside, (name, output) in enumerate(draws.items()):
                points = plan.inside(front, rows, name)
                if len(points):
                    where = (slice(None), *map(torch.from_numpy, points.T), *((inside,) if plan.draws else ()))
                    values = self._drawn(machine, plan, points, where, output, (symbols, kept, u))
                    machine.write(name, points, values)
            machine.run(front)

    def _drawn(
        self, machine: Machine, plan: Plan, points: Points, where: Any, output: str, drawing: tuple[Tensor, ...]
    ) -> Tensor:
        """Draw the symbols of points, `where` they stand, and return them as the model reads them."""
        symbols, kept, u = drawing
        if not kept[where].all():
            logits = machine.read(output, points if self.lag else points - 1).movedim(0, 1)
            logits = logits if plan.system.shape else logits.squeeze(-1)
            try:
                drawn = self.likelihood.draw(logits, u[where], self.temperature, self.top_k)
            except Diverged as error:
                raise Diverged(f"a symbol at {points.tolist()} cannot be drawn: {error}") from error
            symbols[where] = torch.where(kept[where], symbols[where], drawn)
        encode = self.encode or self.likelihood.encode
        return encode(symbols[where]).reshape(len(symbols), len(points), -1).movedim(0, 1)
