"""Symbols drawn front by front, from outputs that a machine computes as their inputs become known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from leadline.errors import Diverged
from leadline.likelihoods import Bernoulli, Categorical, Likelihood
from leadline.sampling.machine import Machine
from leadline.sampling.plan import Plan

Encode: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Drawing:
    """What is drawn, and how: symbols of a likelihood for the input `name`, which reads them as `encode` makes them."""

    name: str
    likelihood: Likelihood
    encode: Encode | None
    lag: int
    temperature: float
    top_k: int | None

    def fill(self, machine: Machine, plan: Plan, symbols: Tensor, kept: Tensor, u: Tensor) -> None:
        """Fill `symbols` (n, *positions) where they are not kept, front by front; `u` are uniforms of that shape."""
        n, likelihood = len(symbols), self.likelihood
        if self.encode is None and isinstance(likelihood, Categorical | Bernoulli) and hasattr(machine, "generate"):
            machine.generate(likelihood, self.lag, symbols, kept, u, self.temperature, self.top_k)
            return
        encode = self.encode or likelihood.encode
        rows = plan.schedule.sizes[0]
        first, last = plan.fronts(0, rows)
        for front in range(first, last + 1):
            points = plan.inside(front, rows)
            if len(points):
                where: Any = (slice(None), *map(torch.from_numpy, points.T))
                if not kept[where].all():
                    logits = machine.read(plan.system.output, points if self.lag else points - 1).movedim(0, 1)
                    logits = logits if plan.system.shape else logits.squeeze(-1)
                    try:
                        drawn = likelihood.draw(logits, u[where], self.temperature, self.top_k)
                    except Diverged as error:
                        raise Diverged(
                            f"a symbol of front {front} at {points.tolist()} cannot be drawn: {error}"
                        ) from error
                    symbols[where] = torch.where(kept[where], symbols[where], drawn)
                values = encode(symbols[where]).reshape(n, len(points), -1).movedim(0, 1)
                machine.write(self.name, points, values)
            machine.run(front)
