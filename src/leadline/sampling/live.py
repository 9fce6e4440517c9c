"""A sequence that `step` goes on with: how far it is, and what was worked out for chunks of kinds that came before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from leadline.errors import UsageError
from leadline.sampling.buffers import writable
from leadline.sampling.interface import NOTHING, Interface
from leadline.sampling.machine import Machine
from leadline.sampling.plan import ENDLESS, Plan

if TYPE_CHECKING:
    from leadline.sampling.buffers import Array

Go: TypeAlias = Callable[[int, int, int], int]
"""Goes on at a position, with inputs and outputs at two addresses; returns 0, 2 where that failed, 3 where refused."""

_KINDS = 16  # of chunks that are remembered


@dataclass(frozen=True)
class _Kind:
    """What was worked out for chunks of one shape: how to go on, and a tensor laid out as the outputs."""

    go: Go
    positions: int
    like: Tensor


@dataclass
class _Held:
    """The two buffers that `step_into` was given last: while they are what they were, they are not checked again."""

    chunk: Any
    out: Any
    looks: tuple[Any, Any]
    given: int
    found: int
    positions: int
    go: Go


class Live:
    """A machine within a sequence, for a batch; see `leadline.sampling.Stream.step`."""

    def __init__(self, machine: Machine, plan: Plan, batch: int, interface: Interface) -> None:
        self.machine, self.plan, self.batch, self.interface = machine, plan, batch, interface
        self.at, self.lost = 0, False
        self._sure = ENDLESS if plan.reaches(ENDLESS) else plan.capacity  # positions that are not asked about
        self._bound: Callable[..., Go | None] | None = getattr(machine, "bound", None) if interface.sides else None
        self._kinds: dict[Any, _Kind] = {}
        self._held: _Held | None = None

    # -- chunks --------------------------------------------------------------------------------------------------------

    def go_on(self, chunk: Tensor, others: Mapping[str, Any] = NOTHING) -> Tensor:
        """Check a chunk, go on with it, and return the outputs; remember what chunks like it need."""
        values = self.interface.arranged(chunk, others)
        self._check(len(values), values.shape[1])
        self.lost = True  # unless the machine comes through
        found = self.machine.feed(values, self.at)
        self.lost, self.at = False, self.at + len(values)
        outputs = self.interface.as_output(found)
        if self._bound is not None and type(chunk) is Tensor and not others:
            self._remember(chunk, outputs)
        return outputs

    def _check(self, positions: int, batch: int) -> None:
        if self.lost:
            raise UsageError("an error has ended this sequence midway: begin another one with reset()")
        if batch != self.batch:
            raise UsageError(
                f"the chunk is for {batch} samples and this sequence for {self.batch}: "
                f"begin one with reset(batch={batch})"
            )
        end = self.at + positions
        if end > self._sure and not self.plan.reaches(end):
            raise UsageError(
                f"this stream holds {self.plan.capacity} positions and {end} are asked for: attention, positional "
                "tables, and models that change with their length need `reset(length=...)` with the whole length"
            )

    def _remember(self, chunk: Tensor, outputs: Tensor) -> None:
        given, found = self.interface.sides or (None, None)
        if given is None or found is None or chunk.dtype not in given.dtypes or chunk.is_neg():
            return
        like = torch.empty_like(outputs)
        one, two = given.buffer(chunk), found.buffer(like)
        go = None if self._bound is None else self._bound(one, two, self.interface.classes)
        if go is not None:
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            key = chunk.shape, chunk.stride(), chunk.dtype
            self._kinds[key] = _Kind(go, one.positions, like)

    def again(self, chunk: Tensor) -> Tensor | None:
        """Go on with a chunk of a kind that came before, in microseconds; None where it has to be looked at."""
        if type(chunk) is not Tensor or chunk.layout is not torch.strided or not chunk.is_cpu or chunk.is_neg():
            return None
        kind = self._kinds.get((chunk.shape, chunk.stride(), chunk.dtype))
        if kind is None or self.lost or self.at + kind.positions > self._sure:
            return None
        given = _address(chunk)
        if not given:
            return None
        found = torch.empty_like(kind.like)
        return found if self._gone(kind.go(self.at, given, found.data_ptr()), kind.positions) else None

    def _gone(self, status: int, positions: int) -> bool:
        """Note how far the sequence is; return False where nothing was done, since an input is not a class."""
        if status == 3:
            return False
        if status:
            self.lost = True
            raise UsageError("a class was computed that has no row in a table, or a positional table ends")
        self.at += positions
        return True

    # -- buffers -------------------------------------------------------------------------------------------------------

    def fill(self, chunk: Array, out: Array) -> None:
        """Go on with a chunk, and write the outputs where the caller wants them."""
        held = self._held
        if held is None or held.chunk is not chunk or held.out is not out or held.looks != (_looks(chunk), _looks(out)):
            held = self._held = self._hold(chunk, out)
        if self.lost or self.at + held.positions > self._sure:
            self._check(held.positions, self.batch)
        if not self._gone(held.go(self.at, held.given, held.found), held.positions):
            raise UsageError(f"the chunk holds what is not a class: they are 0 to {(self.interface.classes or 0) - 1}")

    def _hold(self, chunk: Array, out: Array) -> _Held:
        """Look at two buffers, and work out how to go on with them."""
        if self.interface.sides is None:
            raise UsageError("step_into takes models of one input, one axis and one precision; step takes this one")
        given, found = (side.buffer(array) for side, array in zip(self.interface.sides, (chunk, out), strict=True))
        writable(out)
        self._check(given.positions, given.batch)
        if (given.positions, given.batch) != (found.positions, found.batch):
            raise UsageError(
                f"chunk has {given.positions} positions of {given.batch} samples, and out has room for "
                f"{found.positions} of {found.batch}"
            )
        if given.clashes(found):
            raise UsageError("chunk and out share memory, in part: outputs would be read as inputs")
        go = None if self._bound is None else self._bound(given, found, self.interface.classes)
        looks = _looks(chunk), _looks(out)
        return _Held(
            chunk, out, looks, given.address, found.address, given.positions, go or self._by_way_of_step(chunk, out)
        )

    def _by_way_of_step(self, chunk: Array, out: Array) -> Go:
        """Return a call that goes through tensors, for machines and layouts that no quicker one is made for."""
        made = out if isinstance(out, Tensor) else torch.from_numpy(out)

        def go(at: int, into: int, out: int) -> int:  # noqa: ARG001 - the tensors stand at those addresses
            values = self.interface.arranged(chunk if isinstance(chunk, Tensor) else torch.from_numpy(chunk.copy()))
            self.lost = True
            made.copy_(self.interface.as_output(self.machine.feed(values, at)))
            self.lost = False
            return 0

        return go


def _looks(array: Array) -> Any:
    """Return what may change of an array while it stays the same object; those of numpy keep their memory."""
    if isinstance(array, Tensor):
        return array.data_ptr(), array.shape, array.stride()
    return array.shape, array.strides


def _address(tensor: Tensor) -> int:
    """Return where a tensor's numbers stand; 0 where it has none of its own."""
    try:
        return tensor.data_ptr()
    except RuntimeError:  # a tensor within a transform of torch's
        return 0
