"""The machine of the CPU's fast path: a plan as a program, run by the compiled interpreter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import Diverged, UsageError
from leadline.likelihoods import Likelihood
from leadline.sampling import interpreter
from leadline.sampling.plan import Plan
from leadline.sampling.program import LINE, assemble

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from leadline.sampling.plan import Points

_TYPES: dict[torch.dtype, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


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
        real = _TYPES[dtype]
        self.program = program = assemble(plan, real, batch)
        operands, points, widest = program.most
        self._many = -(-points * batch // 4) * 4
        self._where = np.zeros(operands * self._many, np.int64)
        self._scratch = len(program.numbers) + program.state * batch
        self._memory = _on_a_line(self._scratch + plan.capacity + 2 * widest, real)
        self._memory[: len(program.numbers)] = program.numbers
        self._slope = np.array([*(*plan.schedule.slope, 1)[:2], *_step(plan.schedule.slope)], np.int64)

    @property
    def state_bytes(self) -> int:
        """Bytes of all rings, for one sample."""
        return self.program.state * self._memory.itemsize

    def _ring(self, name: str) -> NDArray[Any]:
        start, slots, width = self.program.rings[name]
        ring = self._memory[start : start + slots * width * self.batch].reshape(slots, self.batch, width)
        return ring[..., : self.plan.system[name].channels]

    def write(self, name: str, points: Points, values: Tensor) -> None:
        """Store values of shape (points, batch, channels)."""
        self._ring(name)[self.plan.slot(name, points)] = values.numpy()

    def read(self, name: str, points: Points) -> Tensor:
        """Return values of shape (points, batch, channels)."""
        return torch.from_numpy(self._ring(name)[self.plan.slot(name, points)])

    def run(self, front: int) -> None:
        """Compute everything that is due in a front."""
        none = np.zeros((1, 0), np.int64), np.zeros((1, 0), bool), np.zeros((1, 0))
        self._execute(front, front, (0, 0), 1, *none, 1.0, 1, 2)

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
        rows, columns = (*self.plan.schedule.sizes, 1)[:2]
        ends = self.plan.first, self.plan.last
        self._execute(*ends, (rows, columns), lag, flat, *others, float(temperature), top_k or classes, classes)
        symbols.copy_(torch.from_numpy(flat).reshape(symbols.shape))

    def _execute(self, first: int, last: int, grid: tuple[int, int], lag: int, *drawing: Any) -> None:
        """Run fronts.

        Raises
        ------
        Diverged
            If a logit that is to be drawn from is not finite.
        UsageError
            If a positional table ends, or a class has no embedding.
        """
        p, classes = self.program, drawing[-1]
        status, where = interpreter.execute(
            first, last, self._memory, p.words, p.instructions, self._slope, self.batch, self._where, self._many,
            self._scratch, *p.ends, lag, *grid, *drawing[:-1], np.zeros(classes + LINE),
            np.zeros(classes, np.int64),
        )  # fmt: skip
        if status == 1:
            place = tuple(int(p) for p in np.unravel_index(where, self.plan.schedule.sizes))
            raise Diverged(f"the symbol at position {place} cannot be drawn: its logits are not finite")
        if status == 2:
            raise UsageError(f"in front {where} a positional table ends, or a class has no embedding")


def _step(slope: tuple[int, ...]) -> tuple[int, int]:
    """Return the step from one point of a front to the next."""
    si, sj = (*slope, 1)[:2]
    common = math.gcd(si, sj)
    return sj // common, -si // common if sj else 1


def _on_a_line(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros that begin on a line."""
    zeros = np.zeros(length + LINE // dtype.itemsize, dtype)
    first = -zeros.ctypes.data % LINE // dtype.itemsize
    return zeros[first : first + length]
