"""Measures by name: ``gradient.rate``, ``reach.within(0.9)``, ``spectrum(k=3).values[0]`` of a model's results."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from torch import Tensor

from leadline.audit._read import DepthReading
from leadline.errors import UsageError, near_misses
from leadline.jacobian import lyapunov
from leadline.recurrence import Laws
from leadline.results import Bound, Estimate
from leadline.sweeps.grid import Value

QUESTIONS = (
    "bound",
    "causality",
    "context",
    "count",
    "generation",
    "gradient",
    "law",
    "lyapunov",
    "memory",
    "reach",
    "remedies",
    "span",
    "spectrum",
    "stream",
    "system",
    "train",
    "trial",
)
"""What a measure may begin with."""


def names_of(measures: Iterable[str] | str) -> tuple[str, ...]:
    """Return the measures of a text or a list, each a name that can be asked; raises `UsageError` for another one.

    Examples
    --------
    >>> names_of("gradient.rate, reach.within(0.9)")
    ('gradient.rate', 'reach.within(0.9)')
    """
    texts = [measures] if isinstance(measures, str) else list(measures)
    found: list[str] = []
    for text in texts:
        try:
            body = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise _not_a_measure(text) from None
        for part in body.elts if isinstance(body, ast.Tuple) else [body]:
            root = _root(part, text)
            if root not in QUESTIONS:
                raise UsageError(f"{text!r} asks for {root!r}, which is not a result; {near_misses(root, QUESTIONS)}")
            found.append(ast.unparse(part))
    if not found:
        raise UsageError("a sweep takes at least one measure, such as gradient.rate")
    return tuple(dict.fromkeys(found))


def _not_a_measure(text: str) -> UsageError:
    return UsageError(f"{text!r} is not a measure; write gradient.rate, reach.within(0.9) or spectrum.values[0]")


def _root(node: ast.expr, text: str) -> str:
    """Return the name that an expression begins with; nothing but attributes, items and calls may follow."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, name) if not name.startswith("_"):
            return _root(value, text)
        case ast.Subscript(value, ast.Constant() | ast.UnaryOp(ast.USub(), ast.Constant())):
            return _root(value, text)
        case ast.Call(value, arguments, named) if all(
            isinstance(each, ast.Constant) for each in (*arguments, *(pair.value for pair in named))
        ):
            return _root(value, text)
    raise _not_a_measure(text)


class Asked:
    """The results of one model, each worked out once, however many measures ask for it.

    `laws` finds those of its architecture, whose sizes vary where the model's own are not set.
    """

    def __init__(self, reading: DepthReading, seed: int, trained: Any, laws: Callable[[], Laws]) -> None:
        self._reading, self._seed, self._trained, self._laws = reading, seed, trained, laws
        self._known: dict[str, Any] = {}

    def value(self, measure: str) -> Value:
        """Return a measure as one value: of an estimate the mean, of a bound whose sides meet that number.

        Raises `UsageError` if the result has no such part, or it is not one value.
        """
        return _plain(measure, self._found(ast.parse(measure, mode="eval").body, measure))

    def _found(self, node: ast.expr, measure: str) -> Any:
        match node:
            case ast.Name(name):
                return self._result(name, (), {}, ast.dump(node))
            case ast.Call(ast.Name(name), arguments, named):
                return self._result(name, *_constants(arguments, named), ast.dump(node))
            case ast.Attribute(value, name):
                held = self._found(value, measure)
                if held is None:
                    return None
                if not hasattr(held, name):
                    known = [each for each in dir(held) if not each.startswith("_")]
                    raise UsageError(f"{measure}: {type(held).__name__} has no {name!r}; {near_misses(name, known)}")
                return getattr(held, name)
            case ast.Subscript(value, key):
                held, place = self._found(value, measure), ast.literal_eval(key)
                try:
                    return None if held is None else held[place]
                except (KeyError, IndexError, TypeError) as error:
                    raise UsageError(f"{measure}: {type(held).__name__} holds nothing at {place!r}") from error
            case ast.Call(function, arguments, named):
                given, keywords = _constants(arguments, named)
                called = self._found(function, measure)
                return None if called is None else called(*given, **keywords)
        raise _not_a_measure(measure)

    def _result(self, name: str, given: tuple[Any, ...], keywords: Mapping[str, Any], key: str) -> Any:
        if key not in self._known:
            if name == "train" and self._trained is None:
                raise UsageError("measures of train need a training: say for how many minutes, train=1 (--train 1)")
            ask = self._trained if name == "train" else self._question(name)
            self._known[key] = ask(*given, **keywords) if callable(ask) else ask
        return self._known[key]

    def _question(self, name: str) -> Callable[..., Any]:
        """Return what asks for a result, with the cell's seed where it draws anything."""
        reading, seed = self._reading, self._seed
        if name == "lyapunov":
            return lambda **how: lyapunov(reading.model, *reading.inputs, **{"seed": seed, **how})
        if name == "law":
            return self._laws
        if name == "trial":
            from leadline.sweeps.trials.lessons import teach

            return lambda: teach(reading.model, seed)
        ask: Callable[..., Any] = getattr(reading, name)
        if "seed" not in inspect.signature(ask).parameters:
            return ask
        return lambda *given, **how: ask(*given, **{"seed": seed, **how})


def _constants(arguments: list[ast.expr], named: list[ast.keyword]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    given = tuple(map(ast.literal_eval, arguments))
    return given, {str(pair.arg): ast.literal_eval(pair.value) for pair in named}


def _plain(measure: str, value: Any) -> Value:
    if isinstance(value, Estimate):
        value = value.value
    if isinstance(value, Bound) and value.lo == value.hi:
        value = value.lo
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(f"{measure} is not one value but {type(value).__name__}: go on to a part of it, as in {measure}.…")
