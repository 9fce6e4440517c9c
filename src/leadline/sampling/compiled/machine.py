"""The machine of the CPU's fast path: a plan as a program, run by the compiled interpreter."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from leadline.errors import Diverged, UsageError
from leadline.graph.restoring.flags import uncollected
from leadline.graph.table import Planar
from leadline.likelihoods import Likelihood, check_drawing
from leadline.recurrence import ir
from leadline.sampling.buffers import Buffer
from leadline.sampling.compiled import instructions as word
from leadline.sampling.compiled import interpreter
from leadline.sampling.compiled.called import Called
from leadline.sampling.compiled.kept import LINE, Kept, on_a_line
from leadline.sampling.compiled.lanes import WORDS
from leadline.sampling.compiled.packing import Packing
from leadline.sampling.compiled.program import assemble
from leadline.sampling.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from leadline.sampling.plan import Points

_TYPES: dict[torch.dtype, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
BLOCK = 64  # rows that one instruction works on, where positions are given

_Drawing: TypeAlias = "tuple[int, int, NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64], float]"
_NO_DRAWING: _Drawing = 1, 1, np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0), 1.0


class NumbaMachine:
    """Runs a plan on the CPU in one thread; all rings stand in one array.

    Weights are stored as `packing` says. Where positions are given, not drawn, `blocks` of them run together.
    Raises `UsageError` where `unable` says why.
    """

    def __init__(
        self, plan: Plan, batch: int, dtype: torch.dtype, packing: Packing | None = None, blocks: bool = False
    ) -> None:
        if reason := unable(plan.system, dtype):
            raise UsageError(f"the numba backend {reason}; use backend='torch'")
        self.plan, self.batch = plan, batch
        real, linear = _TYPES[dtype], plan.schedule.slope == (1,)
        block = max(1, BLOCK // batch) if blocks and linear else 1
        self.program = program = assemble(plan, real, batch, packing, block)
        lists, points, widest = program.most
        many = -(-points * block * batch // WORDS) * WORDS
        self._where = np.zeros(lists * many, np.int64)
        scratch = len(program.numbers) + program.room * batch
        self._memory = on_a_line(scratch + plan.capacity + 2 * widest, real)
        self._memory[: len(program.numbers)] = program.numbers
        self._called = Called(plan, batch, dtype, program.called, self.read, self.write) if program.called else None
        self._frame = np.zeros(word.FRAME, np.int64)
        self._frame[[word.BLOCK, word.LINEAR]] = block, linear
        self._frame[[word.SLOPE_I, word.SLOPE_J, word.STEP_I, word.STEP_J]] = *(*plan.schedule.slope, 1)[:2], *plan.step
        self._frame[[word.OUTPUT, word.INPUT, word.INSTRUCTIONS]] = *program.ends, program.instructions
        self._frame[[word.BATCH, word.MANY, word.SCRATCH]] = batch, many, scratch
        self._frame[[word.INSIDE, word.DELAYS]] = program.inside
        self._frame[word.CALLED] = self._called.address if self._called else 0

    def kept(self, lag: int, classes: int, axes: tuple[int, ...], about: dict[str, Any]) -> Kept | None:
        """Return what draws whole samples again; `axes` puts those of the machine into the layout's order.

        None where torch computes a part, which a program alone does not hold.
        """
        if self._called is not None:
            return None
        sizes = self.plan.schedule.sizes
        return Kept(
            words=self.program.words,
            frame=self._frame,
            numbers=self.program.numbers,
            weights=self.program.weights,
            length=len(self._memory),
            where=len(self._where),
            fronts=self.plan.fronts(0, sizes[0]),
            n=self.batch,
            grid=tuple(map(int, (*sizes, 1)[:2])),
            sizes=tuple(map(int, self._sizes)),
            axes=axes,
            lag=lag,
            classes=classes,
            about=about,
        )

    @property
    def _sizes(self) -> tuple[int, ...]:
        """The sizes of the axes of symbols."""
        return (*self.plan.schedule.sizes, *([len(self.plan.draws)] if self.plan.draws else []))

    @property
    def state_bytes(self) -> int:
        """Bytes of all rings, for one sample."""
        return self.program.state * self._memory.itemsize

    def go_on_from(self, other: NumbaMachine) -> None:
        """Take the state of a machine whose plan keeps the same values."""
        self._memory[:] = other._memory

    def _ring(self, name: str) -> NDArray[Any]:
        start, slots, width = self.program.rings[name]
        ring = self._memory[start : start + slots * width * self.batch].reshape(slots, self.batch, width)
        return ring[..., : self.plan.system[name].channels]

    def write(self, name: str, points: Points, values: Tensor) -> None:
        """Store values of shape (points, batch, channels)."""
        self._ring(name)[self._slots(name, points)] = values.numpy()

    def read(self, name: str, points: Points) -> Tensor:
        """Return values of shape (points, batch, channels)."""
        return torch.from_numpy(self._ring(name)[self._slots(name, points)])

    def _slots(self, name: str, points: Points) -> Points:
        return self.plan.number(name, points) % self.program.rings[name][1]

    def run(self, front: int) -> None:
        """Compute everything that is due in a front."""
        self._execute((front, front))

    def feed(self, values: Tensor, at: int = 0) -> Tensor:
        """Run the fronts of given inputs, all within compiled code; see `Machine.feed`."""
        grid = values.shape[:-2]
        given = np.ascontiguousarray(values.numpy(), self._memory.dtype).reshape(-1)
        shape = *values.shape[:-1], self.plan.system[self.plan.system.output].channels
        found = np.zeros(math.prod(shape), given.dtype)
        rows, columns = (*grid, 1)[:2]
        self._execute(self.plan.fronts(at, rows), (at + rows, columns), exchange=(at * columns, given, found))
        return torch.from_numpy(found).reshape(shape)

    def bound(self, given: Buffer, found: Buffer, classes: int | None) -> Callable[[int, int, int], int] | None:
        """Return a call that goes on with a chunk like `given` and fills one like `found`, at two addresses.

        None where they are not laid out as they are stored; see `CMachine.bound`.
        """
        if not (given.in_order and found.in_order):
            return None
        real, rows = self._memory.dtype, given.positions
        whole = given.dtype is torch.int64
        read = np.zeros(rows * given.batch * given.channels, np.int64 if whole else real)
        fed, made = (np.zeros(len(read), real) if whole else read), np.zeros(rows * found.batch * found.channels, real)
        frame, first, move = self._frame, self.plan.first, ctypes.memmove
        to, size, back, length = read.ctypes.data, read.nbytes, made.ctypes.data, made.nbytes
        lag, top_k, *arrays = _NO_DRAWING
        frame[[word.LAG, word.CLASSES, word.TOP_K, word.FED, word.WIDTH]] = lag, 2, top_k, 1, 1
        words, where, memory, weights = self.program.words, self._where, self._memory, self.program.weights
        rest, called = (*arrays, np.zeros(2 + LINE), np.zeros(2, np.int64), fed, made), self._called

        def go(at: int, into: int, out: int) -> int:
            move(to, into, size)
            if whole:
                if classes is not None and (read.min() < 0 or read.max() >= classes):
                    return 3
                fed[:] = read
            frame[word.BEGIN], frame[word.END] = at or first, at + rows - 1
            frame[word.HEIGHT], frame[word.ORIGIN] = at + rows, at
            status, _ = interpreter.execute(frame, memory, weights, words, where, *rest)
            if status == 3 and called is not None:
                called.failed()
            move(out, back, length)
            return int(status)

        return go

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
        check_drawing(temperature, top_k)
        flat, held, uniforms = symbols.flatten().numpy(), kept.flatten().byte().numpy(), u.flatten().numpy()
        classes = likelihood.levels
        rows, columns = (*self.plan.schedule.sizes, 1)[:2]
        drawing = lag, top_k or classes, flat, held, uniforms, float(temperature)
        self._execute(self.plan.fronts(0, rows), (rows, columns), drawing, classes)
        symbols.copy_(torch.from_numpy(flat).reshape(symbols.shape))

    def _execute(
        self,
        fronts: tuple[int, int],
        grid: tuple[int, int] = (0, 0),
        drawing: _Drawing = _NO_DRAWING,
        classes: int = 2,
        exchange: tuple[int, NDArray[Any], NDArray[Any]] | None = None,
    ) -> None:
        """Run fronts, with what is drawn, or given and found, at the points of a grid.

        Raises `Diverged` if a logit that is to be drawn from is not finite; `UsageError` if a positional table ends, or
        a class has no embedding; and what a function raises that torch computes.
        """
        nothing = self._memory[:0]
        lag, top_k, *arrays = drawing
        origin, given, found = exchange or (0, nothing, nothing)
        frame = self._frame
        frame[[word.BEGIN, word.END, word.HEIGHT, word.WIDTH]] = *fronts, *grid
        frame[[word.LAG, word.CLASSES, word.TOP_K]] = lag, classes, top_k
        frame[[word.FED, word.ORIGIN]] = exchange is not None, origin
        with uncollected():
            status, where = interpreter.execute(
                frame, self._memory, self.program.weights, self.program.words, self._where, *arrays,
                np.zeros(classes + LINE), np.zeros(classes, np.int64), given, found,
            )  # fmt: skip
        if status == 3 and self._called is not None:
            self._called.failed()
        if status == 1:
            place = tuple(int(p) for p in np.unravel_index(where, self._sizes))
            raise Diverged(f"the symbol at position {place} cannot be drawn: its logits are not finite")
        if status == 2:
            raise UsageError(f"in front {where} a positional table ends, or a class has no embedding")


def unable(system: ir.System, dtype: torch.dtype) -> str:
    """Return why no machine runs equations in a type of numbers; nothing where one does."""
    if dtype not in _TYPES:
        return f"works in float32 and float64, and the output is {dtype}"
    if len(system.axes) > 2:
        return "runs grids of one or two axes"
    found = next((v for v in system.variables if _complex(v.equation)), None)
    return "" if found is None else f"works with real numbers, and {found.place} makes complex ones"


def _complex(equation: ir.Equation) -> bool:
    """Say whether an equation makes, or reads, complex numbers."""
    made = isinstance(equation, ir.Pointwise) and equation.facts is not None and equation.facts.planar
    types = equation.types if isinstance(equation, ir.Pointwise) else ()
    held = any(tensor.is_complex() for tensor in ir.tensors_of(equation))
    return made in (Planar.PAIR, Planar.POLAR) or any(dtype.is_complex for dtype in types) or held
