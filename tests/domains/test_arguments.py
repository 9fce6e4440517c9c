"""Arguments of a wrong kind: every public function refuses each of its own by name, before it looks at the model."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

import leadline
from leadline.domains.arguments import TAKEN
from leadline.errors import ModelError, UsageError

MODEL, X = nn.Linear(4, 3), torch.zeros(2, 5, 4)
LAYOUT = "b t c -> b t v"
METHODS = [
    *("bound", "causality", "check", "context", "count", "generation", "gradient", "memory", "span", "spectrum"),
    *("stream", "system"),
]


def _each() -> Iterator[tuple[str, str]]:
    for function in (*METHODS, "read", "law", "lyapunov"):
        named = signature(getattr(leadline, function)).parameters
        yield from ((function, key) for key in named if key in TAKEN and (function, key) != ("context", "output"))


def _refused(called: Callable[..., Any], *given: Any, **named: Any) -> str:
    with pytest.raises((UsageError, TypeCheckError)) as found:  # under test, types may be checked first
        called(*given, **named)
    return str(found.value) if found.type is UsageError else ""


@pytest.mark.parametrize(("function", "key"), list(_each()))
def test_functions_refuse_what_an_argument_does_not_take(function: str, key: str) -> None:
    given = (lambda **_: None,) if function == "law" else (MODEL, X)
    said = _refused(getattr(leadline, function), *(() if key == "build" else given), **{key: object()})
    assert not said or f"{function} takes as {key} " in said


@pytest.mark.parametrize("method", METHODS)
def test_a_reading_refuses_them_too(method: str) -> None:
    reading = leadline.read(MODEL, X, layout=LAYOUT)
    for key in signature(getattr(leadline.DepthReading, method)).parameters.keys() & TAKEN.keys():
        said = _refused(getattr(reading, method), **{key: object()})
        assert not said or f"{method} takes as {key} " in said


@pytest.mark.parametrize(
    "fitting", [3, -1, (3,), [3], torch.tensor(3), torch.tensor([3]), torch.ones(7).long().numpy()[0] * 3]
)
def test_places_are_whole_numbers_of_any_kind(fitting: Any) -> None:
    assert leadline.context(MODEL, X, layout=LAYOUT, position=fitting).size == 1


@pytest.mark.parametrize("wrong", ["1", 1.0, (1.0,), [None], {"t": "1"}, torch.ones(1)])
def test_other_places_are_none(wrong: Any) -> None:
    assert "position" in _refused(leadline.context, MODEL, X, layout=LAYOUT, position=wrong)


@pytest.mark.parametrize("build", [lambda **_: MODEL, lambda **_: (MODEL,), lambda **_: 1 / 0, lambda: (MODEL, (X,))])
def test_a_law_says_what_its_function_must_return(build: Any) -> None:
    with pytest.raises((UsageError, ModelError), match="build"):
        leadline.law(build, k=(1, 2, 3))


def test_a_stream_refuses_them_too() -> None:
    stream = leadline.stream(MODEL, X, layout=LAYOUT, backend="torch")
    for method in (stream.reset, stream.generate):
        for key in signature(method).parameters.keys() & TAKEN.keys():
            said = _refused(method, **{key: object()})
            assert not said or f"{method.__name__} takes as {key} " in said
