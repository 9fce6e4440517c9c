"""The machine of `backend="c"`: a plan as exported C, compiled here, with a state for each sample of a batch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import UsageError
from leadline.sampling.buffers import Buffer
from leadline.sampling.exported.keeping import kept_library
from leadline.sampling.exported.library import checked, compiler, opened
from leadline.sampling.exported.source import Code, c_code
from leadline.sampling.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from leadline.sampling.plan import Points

NAME = "stream"
_SERVE = """
#include <stdint.h>

/* One call for a whole batch. What it needs stands in words, which the caller keeps: the states' address and size, how
   many there are, positions, classes (0: any number is taken), and for inputs whether they are long integers, then for
   inputs and outputs the address, and the bytes from sample to sample and numbers from position to position and from
   channel to channel. Returns 3, and has done nothing, where an input is not a class. */
int stream_serve(const int64_t *a) {
    const int64_t n = a[3], classes = a[4];
    for (int64_t b = 0; classes && b < a[2]; b++)
        for (int64_t t = 0; t < n; t++)
            for (int c = 0; c < STREAM_INPUTS; c++) {
                const char *const in = (const char *)(intptr_t)a[6] + b * a[7];
                const int64_t i = t * a[8] + c * a[9];
                const int64_t which = a[5] ? ((const int64_t *)in)[i] : ((const int32_t *)in)[i];
                if (which < 0 || which >= classes) return 3;
            }
    for (int64_t b = 0; b < a[2]; b++) {
        const int error = run((STATE *)((char *)(intptr_t)a[0] + b * a[1]), (const char *)(intptr_t)a[6] + b * a[7],
                              (int)a[5], (long)a[8], (long)a[9], (real *)(void *)((char *)(intptr_t)a[10] + b * a[11]),
                              (long)a[12], (long)a[13], (long)n);
        if (error) return error;
    }
    return 0;
}
"""
IN, OUT = 6, 10  # the words of addresses
WORDS = 14


@dataclass(frozen=True)
class Built:
    """The C of a plan, compiled and loaded: calls that let other threads go on, and `serve`, which is quick instead."""

    code: Code
    free: Any
    serve: Any
    size: int


class CMachines:
    """The C of a stream's plans, by their lengths: written when it is asked for, compiled when it is run."""

    def __init__(self, dtype: torch.dtype, model: str) -> None:
        self._dtype, self._model = dtype, model
        self._made: dict[int, tuple[Code, Built | None]] = {}

    def require(self, plan: Plan) -> str:
        """Return the compiler; `UsageError` where there is none, `NotUniform` where no C is written for a plan."""
        if (program := compiler()) is None:
            raise UsageError(
                "backend='c' needs a C compiler, and this system has neither cc, gcc nor clang (nor what $CC names): "
                "install one, or use backend='numba'"
            )
        if plan.schedule.sizes[0] not in self._made:
            code = c_code(plan, NAME, self._dtype, self._model)
            self._made[plan.schedule.sizes[0]] = code, None
        return program

    def machine(self, plan: Plan, batch: int) -> CMachine:
        """Return a machine of a plan, compiled now, before, or by an earlier process."""
        program, length = self.require(plan), plan.schedule.sizes[0]
        code, made = self._made[length]
        if made is None:
            self._made[length] = code, made = code, _built(code, program)
        return CMachine(made, plan, batch)


def _built(code: Code, program: str) -> Built:
    free, quick = opened(kept_library(code.source + _SERVE, code.header, code.name, program))
    size = free.stream_bytes
    size.restype = ctypes.c_size_t
    return Built(code, free, quick.stream_serve, -(-size() // 64) * 64)


class CMachine:
    """Runs a plan as compiled C, one sample of the batch after another."""

    def __init__(self, made: Built, plan: Plan, batch: int) -> None:
        self.plan, self.batch, self._made = plan, batch, made
        self._states = np.zeros(batch * made.size + 64, np.uint8)
        self._first = self._states.ctypes.data + -self._states.ctypes.data % 64
        code = made.code
        self._given = np.zeros((1, batch, code.inputs), np.int64 if code.integer else code.real_type)
        self._found = np.zeros((1, batch, code.outputs), code.real_type)
        self._begin()

    @property
    def state_bytes(self) -> int:
        """Bytes of one sample's state."""
        return self._made.size

    def _begin(self) -> None:
        for n in range(self.batch):
            checked(self._made.free.stream_reset(ctypes.c_void_p(self._first + n * self._made.size)))

    def write(self, name: str, points: Points, values: Tensor) -> None:  # noqa: ARG002 - there is one input
        """Keep the input of the next position, of shape (1, batch, channels)."""
        self._given[:] = values.numpy()

    def run(self, front: int) -> None:
        """Go on with the input that was written; fronts before the first input begin the sequence."""
        if front == self.plan.first:
            self._begin()
        if front >= 0:
            self._execute(self._given, self._found)

    def read(self, name: str, points: Points) -> Tensor:  # noqa: ARG002 - one position is kept
        """Return the latest output: that of the next position where it does not rest on the input there."""
        if self._made.code.ahead:
            for n in range(self.batch):
                state, out = self._first + n * self._made.size, self._found[0, n].ctypes.data
                self._made.free.stream_next(ctypes.c_void_p(state), ctypes.c_void_p(out))
        return torch.from_numpy(self._found.copy())

    def feed(self, values: Tensor, at: int = 0) -> Tensor:
        """Go on with inputs (positions, batch, channels), or begin with them; see `Machine.feed`."""
        if at == 0:
            self._begin()
        given = np.asarray(values.numpy(), self._given.dtype)
        found = np.empty((*given.shape[:2], self._made.code.outputs), self._found.dtype)
        self._execute(given, found)
        return torch.from_numpy(found)

    def _execute(self, given: NDArray[Any], found: NDArray[Any]) -> None:
        words = self._words(_as_buffer(given), _as_buffer(found), 0)
        checked(self._made.free.stream_serve(words))

    def _words(self, given: Buffer, found: Buffer, classes: int) -> Any:
        return (ctypes.c_int64 * WORDS)(
            self._first, self._made.size, self.batch, given.positions, classes, given.dtype is torch.int64,
            given.address, given.sample * given.dtype.itemsize, given.position, given.channel,
            found.address, found.sample * found.dtype.itemsize, found.position, found.channel,
        )  # fmt: skip

    def bound(self, given: Buffer, found: Buffer, classes: int | None) -> Callable[[int, int, int], int]:
        """Return a call that goes on with a chunk and fills buffers like these, wherever those begin.

        It takes their addresses, and returns 0, or 2 where the sequence is over, or 3, having done nothing, where an
        input is not a class. It allocates nothing, and other threads of Python wait for it.
        """
        words = self._words(given, found, classes or 0)
        serve, argument = self._made.serve, ctypes.c_void_p(ctypes.addressof(words))

        def go(at: int, into: int, out: int) -> int:  # noqa: ARG001 - the state knows
            words[IN] = into
            words[OUT] = out
            return serve(argument)  # type: ignore[no-any-return]

        go.states = self._states  # type: ignore[attr-defined] # they live as long as the call may be made
        return go


def _as_buffer(array: NDArray[Any]) -> Buffer:
    size = array.itemsize
    return Buffer(
        array.ctypes.data, getattr(torch, array.dtype.name), *array.shape, *(s // size for s in array.strides)
    )
