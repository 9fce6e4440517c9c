"""Which operations run where forward switches gradients off, or within a function with a backward pass of its own.

Traces run without gradients, and would not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import getattr_static
from typing import Any
from unittest.mock import patch

import torch
from torch import fx
from torch.autograd import Function, grad_mode
from torch.fx.experimental.proxy_tensor import PythonKeyTracer

from leadline.graph.ir import Passing

_SWITCHES: dict[Any, Callable[[Any], bool]] = {
    grad_mode.no_grad: lambda _: False,
    grad_mode.inference_mode: lambda manager: not manager.mode,
    grad_mode.enable_grad: lambda _: True,
}
_CUTTING = frozenset({torch.ops.aten.detach.default, torch.ops.aten.detach_.default})
_PASSING, _COPIED, _OWN = "leadline_gradients", "leadline_copied", "leadline_own_backward"


def passing(meta: dict[str, Any]) -> Passing:
    """Return how gradients pass an operation of a trace, by its `meta`."""
    return Passing((meta.get("custom") or {}).get(_PASSING, Passing.ALL))


def copied(meta: dict[str, Any]) -> bool:
    """Whether the result of an operation of a trace is copied into another tensor without gradients, by its `meta`."""
    return bool((meta.get("custom") or {}).get(_COPIED))


def own_backward(meta: dict[str, Any]) -> str:
    """Name of the custom function that an operation of a trace was part of, by its `meta`; else empty."""
    return str((meta.get("custom") or {}).get(_OWN, ""))


@contextmanager
def gradients_followed() -> Iterator[None]:
    """Mark, while a model is traced, the operations that run without gradients or within a custom function."""
    switches, create = _Switches(), PythonKeyTracer.create_node

    def created(tracer: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node: fx.Node = create(tracer, *args, **kwargs)
        if node.op == "call_function":
            _mark(node, {**switches.passing(node), **({_OWN: switches.own} if switches.own else {})})
            if not switches.on and node.target is torch.ops.aten.copy_.default and isinstance(node.args[1], fx.Node):
                _mark(node.args[1], {_COPIED: True})
        return node

    with switches.followed(), patch.object(PythonKeyTracer, "create_node", created):
        yield


def _mark(node: fx.Node, marks: dict[str, Any]) -> None:
    if marks:
        node.meta["custom"] = {**(node.meta.get("custom") or {}), **marks}


class _Switches:
    """Whether forward has gradients recorded now, and the function that runs, if it has its own backward."""

    def __init__(self) -> None:
        self.on, self.own = True, ""
        self._passed_over = False

    def passing(self, node: fx.Node) -> dict[str, Any]:
        """Return what there is to say of an operation that runs now; later passes may turn `detach` into an alias."""
        target: Any = node.target
        if self.on:
            return {_PASSING: Passing.NONE.value} if target in _CUTTING else {}
        written = isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable
        return {_PASSING: (Passing.FIRST if written else Passing.NONE).value}

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
            before = self.on, self.own
            self._passed_over = checkpoint = cls.__module__ == "torch.utils.checkpoint"
            if not checkpoint:
                self.own = self.own or cls.__name__
            try:
                return apply.__get__(None, cls)(*args, **kwargs)
            finally:
                self.on, self.own = before
                self._passed_over = False

        return applied
