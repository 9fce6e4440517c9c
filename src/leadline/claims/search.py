"""The search for counterexamples: gradient ascent on the violation of a statement, from random starts.

Nothing is planted: the starts are random, and a statement that survives is only said to have been searched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.claims.claim import Effort, Grounds, Outcome
from leadline.claims.counterexample import Counterexample, arrays

Point = dict[str, Tensor]
"""Named tensors, the first axis of each being the starts."""


@dataclass(frozen=True)
class Search:
    """How to look for a case in which a statement fails.

    `draw` draws random starts: named tensors with the starts as first axis. `excess` says by how much the statement is
    violated at each: differentiable, positive where it fails, and rounding up to `tolerance`. The ascent (Adam) takes
    `steps` steps of `rate`.
    """

    draw: Callable[[torch.Generator, int], Point]
    excess: Callable[[Point], Float[Tensor, " starts"]]
    tolerance: float = 1e-9
    starts: int = 16
    steps: int = 100
    rate: float = 0.1


def ascend(search: Search, effort: Effort) -> tuple[float, Point]:
    """Return the largest excess that the ascent meets, and where."""
    starts = search.starts * effort.pick(1, 4)
    point = {name: t.detach().requires_grad_() for name, t in search.draw(effort.generator(), starts).items()}
    optimiser = torch.optim.Adam(point.values(), lr=search.rate)
    best, where = -float("inf"), {name: t[:1].detach().clone() for name, t in point.items()}
    for _ in range(search.steps + 1):
        excess = search.excess(point)
        values = excess.detach().nan_to_num(-torch.inf)
        top = int(values.argmax())
        if values[top] > best:
            best, where = float(values[top]), {name: t[top].detach().clone() for name, t in point.items()}
        optimiser.zero_grad()
        torch.autograd.backward(-excess.sum())
        optimiser.step()
    return best, where


def searched(
    statement: str, search: Search, effort: Effort, values: Callable[[Point], dict[str, int | float | str]]
) -> Outcome:
    """Put a statement to the search; `values` says what to record about a case against it."""
    excess, at = ascend(search, effort)
    tries = f"{search.starts * effort.pick(1, 4)} random starts of {search.steps} steps of gradient ascent"
    if excess <= search.tolerance:
        return Outcome(statement, True, Grounds.SEARCHED, f"{tries} found no case against it; nearest: {excess:.3g}")
    case = Counterexample(statement, {"excess": excess} | values(at), arrays(**at))
    return Outcome(statement, False, Grounds.SEARCHED, f"{tries} found a case against it, excess {excess:.4g}", case)
