"""What the backward passes of custom autograd functions do, as a run of the model with gradients shows it.

No trace shows them: a function may hand on any gradient, compute its forward pass again, or differentiate within.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import getattr_static
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from leadline.domains.operations.kernels import CountedKernels
from leadline.domains.stand_ins import tensors_of
from leadline.errors import LeadlineError, UnknownOp
from leadline.graph.call import Held
from leadline.graph.containers import tensors_within
from leadline.graph.gradients_off import CHECKPOINTS, PLAIN
from leadline.graph.hints import branches_at_once
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import restored
from leadline.graph.user_code import first_line, raised_at, running


@dataclass
class OwnBackward:
    """The backward pass of one call of a custom function, filled in while it runs.

    Attributes
    ----------
    name
        The function's.
    results
        Whether each of its results has a gradient, those that are not tensors too.
    written
        Whether it returns, with a gradient, what it has written into.
    handed
        The arguments that are handed a gradient which goes further: those that are not leaves.
    macs, unknown
        Multiply-accumulates, and operations without a rule.
    """

    name: str
    results: tuple[bool, ...]
    written: bool
    handed: frozenset[int] = frozenset()
    macs: int = 0
    unknown: list[str] = field(default_factory=list)


def own_backwards(reading: Reading) -> Sequence[OwnBackward]:
    """Run a model with gradients, and return what each call of a custom function does backwards, in order.

    Calls within the forward or backward pass of another are part of it. Checkpoints keep all that they would compute
    again. `UnknownOp` where the backward pass fails.
    """
    return reading.once("own backwards", lambda: _run(reading))


def _run(reading: Reading) -> Sequence[OwnBackward]:
    model = reading.model.module if isinstance(reading.model, nn.DataParallel) else reading.model
    calls = _Calls()
    with ExitStack() as stack:
        before = stack.enter_context(restored(model, reading.inputs, reading.kwargs, lazily=True))
        own, inputs, _ = stack.enter_context(tensors_of(model, reading.call, None))
        given = {name: _fresh(tensor) for name, tensor in inputs.items()}
        args, kwargs = reading.call.replaced({name: copy for name, (_, copy) in given.items()})
        leaves = [*(own.values() or model.parameters()), *(leaf for leaf, _ in given.values())]
        apart = sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False)  # fused kernels hide products
        stack.enter_context(warnings.catch_warnings(action="ignore"))  # torch's own, of its flags
        for context in (branches_at_once(), *apart, torch.enable_grad(), calls.followed()):
            stack.enter_context(context)
        stack.enter_context(running(type(model).__name__, (args, kwargs)))
        stack.enter_context(before.contents.watched())
        step = _Step(model, calls, [leaf for leaf in leaves if leaf.requires_grad])
        functional_call(step, {f"model.{name}": tensor for name, tensor in own.items()}, (args, dict(kwargs)))
    return calls.found


def _fresh(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf that asks for a gradient if the tensor does, without its history, and what is given in its place.

    A leaf must not be written into, which what has a history may.
    """
    leaf = tensor.detach().requires_grad_(tensor.requires_grad)
    return leaf, leaf if tensor.is_leaf else leaf.clone()


class _Step(Held):
    """A model that carries gradients of all its outputs back as soon as it has run, while its tensors are in place."""

    def __init__(self, model: nn.Module, calls: _Calls, leaves: Sequence[Tensor]) -> None:
        super().__init__(model)
        self._calls, self._leaves = calls, leaves

    def forward(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Run the model forwards and backwards."""
        asking = [tensor for tensor in tensors_within(self.model(*args, **kwargs)) if tensor.requires_grad]
        if asking and self._leaves:
            with self._calls.backwards():
                ones = [torch.ones_like(tensor) for tensor in asking]
                torch.autograd.grad(asking, self._leaves, ones, allow_unused=True)


class _Calls:
    """The calls of custom functions in order, and what is counted while the backward pass of one runs."""

    def __init__(self) -> None:
        self.found: list[OwnBackward] = []
        self._kernels = CountedKernels()
        self._within = False
        self._last = ""

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow custom functions, without checkpoints and without what else packs saved tensors."""
        applied = classmethod(self._applying(getattr_static(Function, "apply")))
        with (
            patch.object(Function, "apply", applied),
            patch.object(saved_tensors_hooks, "__enter__", lambda _: None),
            patch.object(saved_tensors_hooks, "__exit__", lambda *_: None),
        ):
            yield

    @contextmanager
    def backwards(self) -> Iterator[None]:
        """Run a backward pass, in which functions that are called are part of those whose backward passes run."""
        self._within = True
        try:
            with self._kernels:
                yield
        except LeadlineError:
            raise
        except Exception as error:
            if not self._last:
                raise
            raise UnknownOp(
                f"the backward pass of {self._last} cannot be read ({type(error).__name__}: "
                f"{first_line(error)}){raised_at(error)}: count without backward=True"
            ) from error
        finally:
            self._within = False

    def _applying(self, apply: Any) -> Callable[..., Any]:
        def applied(cls: Any, *args: Any, **kwargs: Any) -> Any:
            run = partial(apply.__get__(None, cls), **kwargs)
            if cls.__module__ == CHECKPOINTS and callable(args[0]):
                return args[0](*args[2:])
            if self._within or cls.__module__ in PLAIN:
                return run(*args)
            self._within = True
            try:
                result = run(*args)
            finally:
                self._within = False
            self._listen(cls, args, result if isinstance(result, tuple) else (result,))
            return result

        return applied

    def _listen(self, cls: Any, args: Sequence[Any], results: Sequence[Any]) -> None:
        """Note down a call, and have its node of autograd's graph tell when its backward pass begins and ends."""
        asked = [isinstance(value, Tensor) and value.requires_grad for value in results]
        written = any(one and any(value is arg for arg in args) for value, one in zip(results, asked, strict=True))
        call = OwnBackward(cls.__name__, tuple(asked), written)
        self.found.append(call)
        tensors = [(place, arg) for place, arg in enumerate(args) if isinstance(arg, Tensor)]
        inner = [place if arg.grad_fn is not None else None for place, arg in tensors]
        of = [value.grad_fn for value, one in zip(results, asked, strict=True) if one]
        node = next((node for node in of if isinstance(node, cls._backward_cls)), None)
        if node is None:
            call.unknown.extend(["a view that is written into"] if of else [])
            return

        def begin(_: Any) -> None:
            self._kernels.macs, self._kernels.unknown, self._last = 0, [], call.name

        def end(handed: Sequence[Tensor | None], _: Any) -> None:
            call.macs, call.unknown = self._kernels.macs, self._kernels.unknown
            places = (place for place, gradient in zip(inner, handed, strict=True) if gradient is not None)
            call.handed, self._last = frozenset(place for place in places if place is not None), ""

        node.register_prehook(begin)
        node.register_hook(end)
