"""The machine that runs a plan on tensors: one front at a time, wherever torch runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from leadline.errors import UsageError
from leadline.recurrence import ir
from leadline.recurrence.scores import Attention
from leadline.sampling.attending import attend
from leadline.sampling.plan import Plan

if TYPE_CHECKING:
    from leadline.sampling.plan import Points


@runtime_checkable
class Machine(Protocol):
    """What a stream asks of a backend. Values have shape (points, batch, channels)."""

    def write(self, name: str, points: Points, values: Tensor) -> None:
        """Store an input."""

    def run(self, front: int) -> None:
        """Compute everything that is due in a front, after its inputs are stored."""

    def feed(self, values: Tensor, at: int = 0) -> Tensor:
        """Store inputs (*positions, batch, channels), whose rows begin at `at`, and return the outputs there."""

    def read(self, name: str, points: Points) -> Tensor:
        """Return values that are still kept."""

    @property
    def state_bytes(self) -> int:
        """Bytes of all rings."""


class TorchMachine:
    """Runs a plan with torch, a batch at a time; rings are tensors of shape (slots, batch, channels)."""

    def __init__(self, plan: Plan, batch: int, dtype: torch.dtype, rings: bool = True) -> None:
        if not (dtype.is_floating_point or dtype.is_complex):
            raise UsageError(f"a stream carries numbers, and the output is {dtype}: return the numbers before it")
        self.plan, self.batch, self.dtype = plan, batch, dtype
        self._rings = {
            v.name: torch.zeros(plan.slots[v.name], batch, v.channels, dtype=self._dtype(v.equation))
            for v in (plan.system.variables if rings else ())
        }
        self._channels = {id(tap): torch.tensor(tap.channels) for v in plan.system.variables for tap in v.equation.taps}

    def _dtype(self, equation: ir.Equation) -> torch.dtype:
        return torch.int64 if isinstance(equation, ir.Input) and equation.integer else self.dtype

    @property
    def state_bytes(self) -> int:
        """Bytes of all rings, for one sample."""
        return sum(ring.numel() * ring.element_size() for ring in self._rings.values()) // self.batch

    def write(self, name: str, points: Points, values: Tensor) -> None:
        """Store values of shape (points, batch, channels)."""
        ring = self._rings[name]
        if ring.dtype != values.dtype:
            ring = self._rings[name] = ring.to(values.dtype)  # integers, or a precision that the model changes to
        ring[torch.from_numpy(self.plan.slot(name, points))] = values.to(ring.dtype)

    def read(self, name: str, points: Points) -> Tensor:
        """Return values of shape (points, batch, channels)."""
        return self._rings[name][torch.from_numpy(self.plan.slot(name, points))]

    def feed(self, values: Tensor, at: int = 0) -> Tensor:
        """Run the fronts of given inputs one by one; see `Machine.feed`."""
        system = self.plan.system
        found = torch.empty(*values.shape[:-1], system[system.output].channels, dtype=self.dtype)
        first, last = self.plan.fronts(at, len(values))
        for front in range(first, last + 1):
            points = self.plan.inside(front, at + len(values))
            here = tuple(torch.from_numpy(points - np.array([at, 0, 0])[: points.shape[1]]).T)
            if len(points):
                self.write(system.inputs[0], points, values[here])
            self.run(front)
            if len(points):
                found[here] = self.read(system.output, points).to(self.dtype)
        return found

    @torch.no_grad()
    def run(self, front: int) -> None:
        """Compute every variable's points of this front, in the order of the variables."""
        for variable in self.plan.system.variables:
            if not isinstance(variable.equation, ir.Input):
                points = self.plan.points(variable.name, front)
                if len(points):
                    self.write(variable.name, points, self._value(variable.equation, points))

    def _value(self, equation: ir.Equation, points: Points) -> Tensor:
        if isinstance(equation, ir.Contraction):
            return self._contract(equation, points)
        if isinstance(equation, ir.Pointwise):
            return equation.call(*(self._operand(operand, points) for operand in equation.operands))
        if isinstance(equation, ir.Embedding):
            classes = self._tap(equation.tap, points).long()
            if int(classes.min()) < 0 or int(classes.max()) >= len(equation.rows):
                raise UsageError(f"a class was computed that is outside the {len(equation.rows)} rows of an embedding")
            return equation.rows[classes].flatten(-2)
        if isinstance(equation, ir.Reduction):
            value = self._tap(equation.tap, points).reshape(-1, *equation.shape)
            return equation.call(value).reshape(len(points), self.batch, -1)
        if isinstance(equation, ir.Rowwise):
            operands = (self._operand(operand, points).flatten(0, 1) for operand in equation.operands)
            rows = (values.reshape(len(values), equation.rows, -1) for values in operands)
            return equation.call(*rows).reshape(len(points), self.batch, -1)
        assert isinstance(equation, Attention), f"no rule for {type(equation).__name__}"
        return attend(equation, points, self._tap)

    def _operand(self, operand: ir.Operand, points: Points) -> Tensor:
        if isinstance(operand, ir.Tap):
            return self._tap(operand, points)
        if isinstance(operand, ir.Constant):
            return operand.values.expand(len(points), self.batch, -1)
        assert isinstance(operand, ir.Table)
        if points[:, 0].max() >= operand.values.shape[0]:
            raise UsageError(f"a table that the model adds by position ends after {operand.values.shape[0]} positions")
        index = tuple(torch.from_numpy(points[:, axis]) for axis in range(points.shape[1]))
        return operand.values[index].unsqueeze(1).expand(-1, self.batch, -1)

    def _tap(self, tap: ir.Tap, points: Points) -> Tensor:
        """Read a tap: (points, batch, channels of the tap), its fill beyond the source's range."""
        origin = points - np.array(tap.offset)
        inside = ((origin >= 0) & (origin < np.array(self.plan.ranges[tap.source]))).all(axis=1)
        values = self.read(tap.source, np.where(inside[:, None], origin, 0))[..., self._channels[id(tap)]]
        if not inside.all():
            fill = tap.fill.to(values.dtype) if isinstance(tap.fill, Tensor) else tap.fill
            values[torch.from_numpy(~inside)] = fill
        return values

    def _contract(self, equation: ir.Contraction, points: Points) -> Tensor:
        rows = len(points), self.batch
        out = len(equation.weights[0]) if equation.weights else len(equation.bias if equation.bias is not None else ())
        total: Tensor | float = 0.0 if equation.bias is None else equation.bias.expand(*rows, out)
        for tap, weight in zip(equation.taps, equation.weights, strict=True):
            values = self._tap(tap, points)
            if equation.groups == 1:
                total = total + values @ weight.mT
            else:
                grouped = values.reshape(*rows, equation.groups, 1, -1)
                matrix = weight.reshape(equation.groups, -1, weight.shape[1])
                total = total + (matrix * grouped).sum(-1).reshape(*rows, out)
        return total if isinstance(total, Tensor) else torch.zeros(*rows, out, dtype=self.dtype)
