"""What the interpreter has no instruction for: it calls back, and torch computes it on the interpreter's rings."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from leadline.recurrence import ir
from leadline.sampling.machine import TorchMachine
from leadline.sampling.plan import Plan

if TYPE_CHECKING:
    from leadline.sampling.plan import Points

_TOGETHER = (ir.Pointwise, ir.Reduction, ir.Embedding, ir.Contraction, ir.Rowwise)
"""Equations that torch works out at several points at once."""


class Called(TorchMachine):
    """Torch's rules for the equations of some variables, whose values stand in another machine's rings.

    Compiled code calls the function at `address` with the number of a variable, its first point, and how many points
    there are; it returns 0, or 3 if torch raised what `failed` raises again.
    """

    def __init__(
        self,
        plan: Plan,
        batch: int,
        dtype: torch.dtype,
        variables: Sequence[tuple[ir.Variable, str]],
        read: Callable[[str, Points], Tensor],
        write: Callable[[str, Points, Tensor], None],
    ) -> None:
        super().__init__(plan, batch, dtype, rings=False)
        self._variables = [variable for variable, _ in variables]
        self._read, self._write = read, write
        self._error: BaseException | None = None
        word = ctypes.c_int64
        self._function = ctypes.CFUNCTYPE(word, word, word, word, word)(self._call)

    @property
    def address(self) -> int:
        """Where the function stands."""
        return ctypes.cast(self._function, ctypes.c_void_p).value or 0

    def failed(self) -> None:
        """Raise what torch raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def read(self, name: str, points: Points) -> Tensor:
        """Return values in the type that the variable has in a machine of torch."""
        return self._read(name, points).to(self._dtype(self.plan.system[name].equation))

    def write(self, name: str, points: Points, values: Tensor) -> None:
        """Store values in the other machine's type."""
        self._write(name, points, values.to(self.dtype))

    def _value(self, equation: ir.Equation, points: Points) -> Tensor:
        if not (isinstance(equation, ir.Pointwise) and equation.types):
            return super()._value(equation, points)
        pairs = zip(equation.operands, equation.types, strict=True)
        return equation.call(*(self._operand(operand, points).to(dtype) for operand, dtype in pairs))

    @torch.no_grad()
    def _call(self, which: int, i: int, j: int, count: int) -> int:
        try:
            variable = self._variables[which]
            steps = np.arange(count, dtype=np.int64)[:, None] * np.array(self.plan.step)
            points = (np.array([[i, j]], np.int64) + steps)[:, : len(self.plan.schedule.slope)]
            together = isinstance(variable.equation, _TOGETHER)
            for part in [points] if together else np.split(points, count):
                self.write(variable.name, part, self._value(variable.equation, part))
        except BaseException as error:
            self._error = error
            return 3
        return 0
