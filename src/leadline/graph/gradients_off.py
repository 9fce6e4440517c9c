"""Which operations run where forward switches gradients off, or within a function with a backward pass of its own.

Traces run without gradients, and would not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import getattr_static
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx
from torch.autograd import Function, grad_mode
from torch.fx.experimental.proxy_tensor import PythonKeyTracer

from leadline.graph.call import Call
from leadline.graph.ir import Part, Passing, Role
from leadline.graph.table import Kind, kind_of

_SWITCHES: dict[Any, Callable[[Any], bool]] = {
    grad_mode.no_grad: lambda _: False,
    grad_mode.inference_mode: lambda manager: not manager.mode,
    grad_mode.enable_grad: lambda _: True,
}
_CUTTING = frozenset({torch.ops.aten.detach.default, torch.ops.aten.detach_.default})
_PASSING, _COPIED, _PART = "leadline_gradients", "leadline_copied", "leadline_part"
CHECKPOINTS = "torch.utils.checkpoint"
"""Where torch's checkpoints are, whose functions have no backward pass but that of what they run."""
PLAIN = frozenset({CHECKPOINTS, "leadline.grid.op"})
"""Where functions are whose backward pass is known: the grid recurrence has a rule as an operation."""


def passing(meta: dict[str, Any]) -> Passing:
    """Return how gradients pass an operation of a trace, by its `meta`."""
    return Passing((meta.get("custom") or {}).get(_PASSING, Passing.ALL))


def copied(meta: dict[str, Any]) -> bool:
    """Whether the result of an operation of a trace is copied into another tensor without gradients, by its `meta`."""
    return bool((meta.get("custom") or {}).get(_COPIED))


def part_of(meta: dict[str, Any]) -> Part | None:
    """Return what an operation of a trace is of a custom function, by its `meta`."""
    found = (meta.get("custom") or {}).get(_PART)
    return None if found is None else Part(found[0], found[1], Role(found[2]), found[3])


@contextmanager
def gradients_followed(call: Call) -> Iterator[None]:
    """Mark, while a call is traced, the operations that run without gradients or within a custom function."""
    switches, create = _Switches(call), PythonKeyTracer.create_node

    def created(tracer: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node: fx.Node = create(tracer, *args, **kwargs)
        if node.op == "call_function":
            _mark(node, {**switches.passing(node), **switches.part})
            cut_off = switches.on and _written(node) and _cut_off(node.args[0])
            if cut_off:
                _mark(node, {_COPIED: True})
            if node.target is torch.ops.aten.copy_.default and isinstance(node.args[1], fx.Node):
                _mark(node.args[1], {_COPIED: True} if cut_off or not switches.on else {})
        return node

    with switches.followed(), patch.object(PythonKeyTracer, "create_node", created):
        yield


def _written(node: fx.Node) -> bool:
    """Whether an operation writes into its first argument."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable and bool(node.args)


def _cut_off(node: Any) -> bool:
    """Whether it is a view of something without its gradient: what is written there is written into that too."""
    while isinstance(node, fx.Node) and node.op == "call_function" and node.target not in _CUTTING:
        node = node.args[0] if node.args and kind_of(str(node.target)) is Kind.VIEW else None
    return isinstance(node, fx.Node) and node.target in _CUTTING


def _mark(node: fx.Node, marks: dict[str, Any]) -> None:
    if marks:
        node.meta["custom"] = {**(node.meta.get("custom") or {}), **marks}


class _Switches:
    """Whether forward has gradients recorded now, and the custom function that runs, if one does."""

    def __init__(self, call: Call) -> None:
        self.on = True
        self.part: dict[str, Any] = {}
        self._passed_over = False
        self._call, self._run, self._applied = call, 0, 0

    def passing(self, node: fx.Node) -> dict[str, Any]:
        """Return what there is to say of an operation that runs now; later passes may turn `detach` into an alias."""
        self._follow()
        if self.on:
            return {_PASSING: Passing.NONE.value} if node.target in _CUTTING else {}
        return {_PASSING: (Passing.FIRST if _written(node) else Passing.NONE).value}

    def _follow(self) -> None:
        """Begin anew where torch's trace calls the model, as it may several times, with its own switches off."""
        if self._run != self._call.runs:
            self._run, self._applied, self.on = self._call.runs, 0, True

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow torch's switches, and custom functions, while the context is open."""
        with ExitStack() as stack:
            for cls, to in _SWITCHES.items():
                stack.enter_context(patch.object(cls, "__enter__", self._entering(cls.__enter__, to)))
                stack.enter_context(patch.object(cls, "__exit__", self._leaving(cls.__exit__)))
            setter = grad_mode.set_grad_enabled  # which switches as soon as it is made
            for name, turned in (
                ("__init__", self._entering(setter.__init__, lambda manager: manager.mode)),
                ("__call__", self._leaving(setter.__call__)),
                ("__exit__", self._leaving(setter.__exit__)),
            ):
                stack.enter_context(patch.object(setter, name, turned))
            applied = classmethod(self._applying(getattr_static(Function, "apply")))
            stack.enter_context(patch.object(Function, "apply", applied))
            yield

    def _entering(self, enter: Callable[..., Any], to: Callable[[Any], bool]) -> Callable[..., Any]:
        def entered(manager: Any, *args: Any, **kwargs: Any) -> Any:
            self._follow()
            before, passed_over = self.on, self._passed_over
            with torch._C.DisableTorchFunction():  # the trace would cut the graph into pieces there
                result = enter(manager, *args, **kwargs)
            self._passed_over = False
            if not passed_over:
                self.on = to(manager)
            manager.leadline_before = before
            return result

        return entered

    def _leaving(self, leave: Callable[..., Any]) -> Callable[..., Any]:
        def left(manager: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                with torch._C.DisableTorchFunction():
                    return leave(manager, *args, **kwargs)
            finally:
                self.on = manager.leadline_before

        return left

    def _applying(self, apply: Any) -> Callable[..., Any]:
        """Follow custom functions; that of a checkpoint runs without gradients what its backward runs with them."""

        def applied(cls: Any, *args: Any, **kwargs: Any) -> Any:
            before = self.on, self.part
            self._passed_over = cls.__module__ == CHECKPOINTS
            run, known = partial(apply.__get__(None, cls), **kwargs), cls.__module__ in PLAIN
            try:
                return run(*args) if known or self.part else self._marked(run, cls.__name__, args)
            finally:
                self.on, self.part = before
                self._passed_over = False

        return applied

    def _marked(self, run: Callable[..., Any], name: str, args: Sequence[Any]) -> Any:
        """Run a custom function between copies of what it takes and gives, by which its tensors are found again.

        One that it returns after having written into it stays as it is: what is read of it later is no copy.
        """
        self._follow()
        number, self._applied = self._applied, self._applied + 1
        taken = self._copies(name, number, Role.ARGUMENT, args)
        self.part = {_PART: (name, number, Role.WITHIN.value, 0)}
        found = run(*taken)
        written = {id(tensor) for tensor in taken}
        given = found if isinstance(found, tuple) else (found,)
        kept = [None if id(value) in written else value for value in given]
        marked = self._copies(name, number, Role.RESULT, kept)
        given = tuple(old if new is None else new for old, new in zip(given, marked, strict=True))
        return given if isinstance(found, tuple) else given[0]

    def _copies(self, name: str, number: int, role: Role, values: Sequence[Any]) -> list[Any]:
        made = []
        for place, value in enumerate(values):
            self.part = {_PART: (name, number, role.value, place)}
            made.append(torch.ops.aten.view.default(value, value.shape) if isinstance(value, Tensor) else value)
        return made
