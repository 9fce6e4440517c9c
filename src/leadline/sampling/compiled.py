"""The machine of the CPU's fast path: a plan as a program, run by the compiled interpreter."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import Diverged, UsageError
from leadline.likelihoods import Likelihood
from leadline.sampling import interpreter
from leadline.sampling.plan import Plan
from leadline.sampling.program import assemble

if TYPE_CHECKING:
    from leadline.sampling.plan import Points

_TYPES = {torch.float32: (np.float32, np.int32), torch.float64: (np.float64, np.int64)}


class NumbaMachine:
    """Runs a plan on the CPU in one thread; all rings stand in one array.

    Raises
    ------
    UsageError
        If the model works in another type than float32 or float64, or a function has no instruction.
    """

    def __init__(self, plan: Plan, batch: int, dtype: torch.dtype) -> None:
        if dtype not in _TYPES:
            raise UsageError(
                f"the numba backend works in float32 and float64, the model in {dtype}; use backend='torch'"
            )
        self.plan, self.batch = plan, batch
        real, whole = _TYPES[dtype]
        self.program = program = assemble(plan, np.dtype(real))
        rows = program.width * batch
        size = program.scratch * rows + plan.capacity
        self._state = np.zeros(program.state * batch, real)
        self._x, self._y, self._power = np.zeros(4 * size, real), np.zeros(size, real), np.zeros(size, real)
        self._bits = self._power.view(whole)
        self._points = np.zeros((2, max(1, program.width)), np.int64)
        self._place = {v.name: i for i, v in enumerate(plan.system.variables)}

    @cached_property
    def _arguments(self) -> tuple[object, ...]:
        p = self.program
        limits = (-708.0, 709.0) if self._state.dtype == np.float64 else (-87.0, 88.0)
        high = 0.693359375  # ln 2 in two parts; the first has few bits, so that its multiples are exact
        terms = [1 / math.factorial(13 - i) for i in range(14)]
        k = np.array([1 / math.log(2), high, math.log(2) - high, *limits, 0.5, *terms, 0.0], self._state.dtype)
        return (
            p.variables, p.code, p.taps, p.index, p.numbers, p.slope, self._state, self.batch, self._x, self._y,
            self._power, self._bits, self._points, k,
        )  # fmt: skip

    @property
    def state_bytes(self) -> int:
        """Bytes of all rings, for one sample."""
        return self.program.state * self._state.itemsize

    def _ring(self, name: str) -> np.ndarray:
        base, channels, slots = self.program.variables[self._place[name]][:3]
        start = base * self.batch
        return self._state[start : start + slots * channels * self.batch].reshape(slots, self.batch, channels)

    def write(self, name: str, points: Points, values: Tensor) -> None:
        """Store values of shape (points, batch, channels)."""
        self._ring(name)[self.plan.slot(name, points)] = values.numpy()

    def read(self, name: str, points: Points) -> Tensor:
        """Return values of shape (points, batch, channels)."""
        return torch.from_numpy(self._ring(name)[self.plan.slot(name, points)])

    def run(self, front: int) -> None:
        """Compute everything that is due in a front."""
        self._execute(front, front, 1, np.zeros((1, 0), np.int64), np.zeros((1, 0), bool), np.zeros((1, 0)), 1.0, 1, 1)

    def generate(
        self,
        likelihood: Likelihood,
        lag: int,
        symbols: Tensor,
        kept: Tensor,
        u: Tensor,
        temperature: float,
        top_k: int | None,
    ) -> None:
        """Fill `symbols` (n, *positions) where they are not kept, drawing as `likelihoods.Categorical` does."""
        if not temperature >= 0:
            raise UsageError(f"the temperature must be at least 0, got {temperature}")
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k must be at least 1, got {top_k}")
        flat = symbols.reshape(len(symbols), -1).numpy()
        others = (t.reshape(len(symbols), -1).numpy() for t in (kept, u))
        classes = likelihood.levels
        self._execute(
            self.plan.first, self.plan.last, lag, flat, *others, float(temperature), top_k or classes, classes
        )
        symbols.copy_(torch.from_numpy(flat).reshape(symbols.shape))

    def _execute(self, first: int, last: int, lag: int, *drawing: Any) -> None:
        """Run fronts.

        Raises
        ------
        Diverged
            If a logit that is to be drawn from is not finite.
        UsageError
            If a positional table ends, or a class has no embedding.
        """
        system, shape = self.plan.system, self.plan.schedule.sizes
        places = self._place[system.inputs[0]], self._place[system.output]
        status, where = interpreter.execute(
            first, last, *self._arguments, *places, lag, (*shape, 1)[1], *drawing[:-1], np.zeros(drawing[-1])
        )
        if status == 1:
            place = tuple(int(p) for p in np.unravel_index(where, shape))
            raise Diverged(f"the symbol at position {place} cannot be drawn: its logits are not finite")
        if status == 2:
            raise UsageError(f"in front {where} a positional table ends, or a class has no embedding")
