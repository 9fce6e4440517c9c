"""Symbols drawn front by front: from the outputs of a machine, and back into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leadline.errors import Diverged
from leadline.likelihoods import Bernoulli, Categorical, Likelihood
from leadline.sampling.machine import Machine
from leadline.sampling.plan import Plan

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What is drawn of a plan: the `likelihood` of an output, `lag` positions before the input that is called `name`.

    `encode` turns a drawn class into what the model reads; None: the likelihood's own way.
    """

    plan: Plan
    name: str
    likelihood: Likelihood
    lag: int
    encode: Encode | None

    def fill(
        self, machine: Machine, symbols: Tensor, kept: Tensor, u: Tensor, temperature: float, top_k: int | None
    ) -> None:
        """Fill `symbols` (n, *positions) where they are not kept."""
        compiled = self.encode is None and isinstance(self.likelihood, Categorical | Bernoulli)
        if compiled and hasattr(machine, "generate"):
            machine.generate(self.likelihood, self.lag, symbols, kept, u, temperature, top_k)
            return
        encode, plan = self.encode or self.likelihood.encode, self.plan
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
                        drawn = self.likelihood.draw(logits, u[where], temperature, top_k)
                    except Diverged as error:
                        raise Diverged(
                            f"a symbol of front {front} at {points.tolist()} cannot be drawn: {error}"
                        ) from error
                    symbols[where] = torch.where(kept[where], symbols[where], drawn)
                values = encode(symbols[where]).reshape(len(symbols), len(points), -1).movedim(0, 1)
                machine.write(self.name, points, values)
            machine.run(front)
