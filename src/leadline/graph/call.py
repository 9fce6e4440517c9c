"""A model's call with its literals fixed: what is traced, replayed and perturbed."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from leadline.errors import TraceError
from leadline.graph.answers.questions import Questions
from leadline.graph.containers import apart, hollow, leaves, rebuilt, within_any


class Held(nn.Module):
    """A model within another: `torch.func.functional_call` takes any model that way, `nn.DataParallel` too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return self.model(*args, **kwargs)


class Call(nn.Module):
    """A call with its literals fixed: takes the tensors alone, returns the output's tensors alone, both by name."""

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        if not callable(model.forward):
            raise TraceError(f"{type(model).__name__}.forward is {model.forward!r}, which cannot be called")
        signature = inspect.signature(model.forward)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TraceError(f"{type(model).__name__}.forward does not take these inputs: {error}") from error
        self._args, self._kwargs = args, kwargs
        self.tensors = apart(_named(signature.bind_partial(*args), kwargs))
        self._questions: Questions | None = None
        self._seen = SimpleNamespace(outputs=(), runs=0)  # torch.export undoes assignments to the module itself

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the last call's output tensors."""
        return tuple(self._seen.outputs)

    @property
    def runs(self) -> int:
        """How often the call was made so far."""
        return int(self._seen.runs)

    @property
    def real(self) -> bool:
        """Whether every input holds values."""
        return not any(hollow(t) for t in self.tensors.values())

    @property
    def given(self) -> tuple[Any, ...]:
        """What the model is called with, as it was given."""
        return self._args, self._kwargs

    def replaced(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the same call on other tensors, given by name."""
        stream = iter([tensors.get(name, tensor) for name, tensor in self.tensors.items()])
        args, kwargs = rebuilt((self._args, dict(self._kwargs)), stream)
        return args, kwargs

    @contextmanager
    def traced(self) -> Iterator[Questions]:
        """Answer, while the context is open, what the model asks of values that rest on no input."""
        self._questions = Questions(self.model)
        try:
            yield self._questions
        finally:
            self._questions.open = False

    @property
    def decided(self) -> frozenset[str]:
        """The parameters whose values were asked for when the call was traced."""
        return frozenset(self._questions.read if self._questions else ())

    def blamed(self, text: str) -> str:
        """Say what the values rest on that a message of the trace speaks of: ``, those of the input 'x'``."""
        return self._questions.blamed(text, self.tensors) if self._questions else ""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the model and list the tensors of its output."""
        self._seen.runs += 1
        args, kwargs = self.replaced(given := dict(zip(self.tensors, tensors, strict=True)))
        asked = self._questions is not None and self._questions.open
        with self._questions.watching(self.model, given) if self._questions and asked else nullcontext():
            result = self.model(*args, **kwargs)
        named = apart(leaves(result)) or apart(leaves(result, "", within_any))
        if not named:
            raise TraceError(f"{type(self.model).__name__}.forward returns no tensor")
        self._seen.outputs = tuple(name or "output" for name in named)
        return tuple(named.values())


def _named(positional: inspect.BoundArguments, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a call with the names that `forward` gives them, in the order in which they are passed."""
    for name, value in positional.arguments.items():
        kind = positional.signature.parameters[name].kind
        alone = kind is inspect.Parameter.VAR_POSITIONAL and len(value) == 1
        yield from leaves(value[0] if alone else value, name, within_any)
    for name, value in kwargs.items():
        yield from leaves(value, name, within_any)
