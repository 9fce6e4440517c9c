"""What the public functions take besides a model and its inputs: what is of another kind is refused before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeGuard, TypeVar

import numpy as np
from torch import Tensor, nn

from leadline.errors import UsageError
from leadline.graph.layout import Layout
from leadline.graph.user_code import foreseen

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Taken:
    """What an argument of some name is, in words and as a question; None is taken where it is the default."""

    what: str
    fits: Callable[[Any], bool]


def public(name: str, *but: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function refuse arguments of a wrong kind (`UsageError`), `but` some, and let no bare error escape.

    See `foreseen` for what else escapes.

    Examples
    --------
    >>> @public("halve")
    ... def halve(length, lag=1):
    ...     return length // 2 - lag
    >>> halve(8, lag="one")
    Traceback (most recent call last):
        ...
    leadline.errors.UsageError: halve takes as lag a whole number, not 'one' (str)
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        parameters = signature(function).parameters
        first = [key for key, of in parameters.items() if of.kind is of.POSITIONAL_OR_KEYWORD]
        named = {key for key, of in parameters.items() if key in TAKEN.keys() - but and of.kind not in _SEVERAL}
        nothing = {key for key in named if parameters[key].default is None}

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with foreseen(name):
                for key, value in (*zip(first, args, strict=False), *kwargs.items()):
                    if key in named and not (value is None and key in nothing):
                        require(name, key, value)
                return function(*args, **kwargs)

        return called

    return decorated


def require(function: str, key: str, value: Any) -> None:
    """Refuse an argument that is not of the kind that its name takes everywhere."""
    taken = TAKEN[key]
    if not taken.fits(value):
        shown = repr(value) if len(repr(value)) < 60 else "one"
        raise UsageError(f"{function} takes as {key} {taken.what}, not {shown} ({type(value).__name__})")


def whole(value: Any) -> TypeGuard[int]:
    """Whether something is a whole number, also one of numpy's or a tensor's."""
    return isinstance(value, Integral) or (_tensor(value) and value.ndim == 0 and "int" in str(value.dtype))


def _place(value: Any) -> bool:
    return whole(value) or (_listed(value) and all(map(whole, value)))


def _listed(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str) and not (_tensor(value) and value.ndim == 0)


def _tensor(value: Any) -> TypeGuard[Tensor | np.ndarray]:
    return isinstance(value, Tensor | np.ndarray)


def _layout(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(axes, str | None) for axes in value.values())
    return isinstance(value, str | Layout)


_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_WHOLE = Taken("a whole number", whole)
_NUMBER = Taken("a number", lambda value: isinstance(value, Real))
_YES_OR_NO = Taken("True or False", lambda value: isinstance(value, bool | np.bool_) or value in (0, 1))
_FUNCTION = Taken("a function", callable)
TAKEN: Mapping[str, Taken] = {
    "layout": Taken('a string as "b t -> b t v", or a dict from names to strings as "b t" or None', _layout),
    "order": Taken(
        'the position axes as a string, "h w", or a tensor of ranks', lambda value: isinstance(value, str | Tensor)
    ),
    "output": Taken("the name of an output", lambda value: isinstance(value, str)),
    "position": Taken("a whole number, or one for each position axis", _place),
    "positions": Taken(
        "a list of positions of the output, each a whole number or one for each position axis",
        lambda value: _listed(value) and all(map(_place, value)),
    ),
    "costs": Taken(
        "a dict from kinds of operations to whole numbers",
        lambda value: isinstance(value, Mapping) and all(map(whole, value.values())),
    ),
    "box": Taken(
        "two numbers (lo, hi), or a dict from inputs to intervals",
        lambda value: (
            isinstance(value, Mapping)
            or (isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, Real) for end in value))
        ),
    ),
    "only": Taken(
        "a list of depths by name",
        lambda value: isinstance(value, Iterator) or (_listed(value) and all(isinstance(word, str) for word in value)),
    ),
    "likelihood": Taken("a likelihood, as leadline.likelihoods.Categorical(256)", lambda value: hasattr(value, "draw")),
    "name": Taken("a string", lambda value: isinstance(value, str)),
    "build": Taken(
        "a function from sizes to a model and its inputs",
        lambda value: callable(value) and not isinstance(value, nn.Module),
    ),
    **dict.fromkeys(("strict", "longer", "backward", "wavefront"), _YES_OR_NO),
    **dict.fromkeys(("lag", "probes", "k", "steps", "transient", "block", "batch", "n", "length", "top_k"), _WHOLE),
    **dict.fromkeys(("every", "start", "reach_every"), _WHOLE),
    **dict.fromkeys(("tolerance", "rate", "temperature"), _NUMBER),
    **dict.fromkeys(("encode", "loss", "step", "log"), _FUNCTION),
    "f": Taken(
        "a function, a module or an operator",
        lambda value: callable(value) or hasattr(value, "matmat"),
    ),
    "state": Taken(
        "a tensor, or a list of some",
        lambda value: isinstance(value, Tensor) or (isinstance(value, Sequence) and all(map(_tensor, value))),
    ),
}
"""By the name of an argument, which means the same in all functions; what is not listed they look at themselves."""
