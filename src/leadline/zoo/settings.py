"""Settings of zoo models: what a factory accepts, checked and parsed in one place.

A config is a frozen dataclass whose annotations say which values are allowed: `Positive`, `Natural`, `Depth`,
`Fraction`, `bool`, `float`, or a `Literal` of choices. The decorator `factory` turns ``make(config, batch)`` into
``name(**settings)``, which takes the config's fields by name, and beside them `batch` and `seed`.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import torch

from leadline.errors import SEEDS, UsageError, near_misses
from leadline.zoo.specimen import Specimen

Factory = Callable[..., Specimen]


@dataclass(frozen=True)
class Range:
    """The values from `lo` to `hi`, both allowed.

    Examples
    --------
    >>> print(Range(1), Range(0, 1))
    of at least 1 from 0 to 1
    """

    lo: int | float
    hi: int | float = math.inf

    def __contains__(self, value: int | float) -> bool:
        return self.lo <= value <= self.hi

    def __str__(self) -> str:
        return f"of at least {self.lo}" if self.hi == math.inf else f"from {self.lo} to {self.hi}"


@dataclass(frozen=True)
class Odd:
    """Odd integers from `lo` on."""

    lo: int

    def __contains__(self, value: int) -> bool:
        return value >= self.lo and value % 2 == 1

    def __str__(self) -> str:
        return f"that is odd and at least {self.lo}"


Positive = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Depth = Annotated[
    int, Range(1, 100_000)
]  # each layer is built one by one: more would take hours before anything is said
Lag = Annotated[int, Range(0, 1)]
Members = Annotated[int, Range(1, 1_000)]
Seed = Annotated[int, Range(0, SEEDS - 1)]
Fraction = Annotated[float, Range(0, 1)]
Kernel = Annotated[int, Odd(1)]
WideKernel = Annotated[int, Odd(3)]
Activation = Literal["identity", "relu", "sigmoid", "tanh"]

_SIZES: Mapping[str, Any] = {"batch": Positive, "seed": Seed}
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def factory(make: Callable[[Any, int], Specimen]) -> Factory:
    """Turn ``make(config, batch)`` into a factory that takes settings by name.

    The factory checks every setting, draws the weights and example inputs from its `seed` (default 0) and leaves the
    global random state as it was; `batch` (default 2) is the number of example inputs. It raises
    `UsageError` for an unknown setting, or a value of the wrong type or outside its range.
    """
    config_class = get_type_hints(make)["config"]

    @functools.wraps(make)
    def build(**settings: Any) -> Specimen:
        checked = check_settings(make.__name__.replace("_", "-"), hints, settings)
        batch, seed = checked.pop("batch", 2), checked.pop("seed", 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                return make(config_class(**checked), batch)
            except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # a size that no tensor can have
                said = str(error).partition("\n")[0] or type(error).__name__
                raise UsageError(f"{build.__name__} cannot be built at these sizes: {said}") from error

    hints = {**get_type_hints(config_class, include_extras=True), **_SIZES}
    build.__annotations__ = {**hints, "return": Specimen}
    del build.__wrapped__  # its signature is that of `make`, not of the factory
    return build


def settings_of(make: Factory) -> dict[str, Any]:
    """Return the settings that a zoo factory accepts, as name -> annotation.

    Examples
    --------
    >>> from leadline.zoo.chain import chain
    >>> sorted(settings_of(chain))
    ['activation', 'batch', 'bias', 'layers', 'seed', 'weight']
    """
    return {name: hint for name, hint in get_type_hints(make, include_extras=True).items() if name != "return"}


def check_settings(model: str, hints: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, integers widened where a float is meant; raise `UsageError` for one not allowed."""
    for name in settings:
        if name not in hints:
            raise UsageError(f"{model} has no setting {name!r}; {near_misses(name, hints)}")
    return {name: _check(f"{model}: {name}", hints[name], value) for name, value in settings.items()}


def parse_settings(model: str, make: Factory, words: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words as settings of a factory; see `leadline.zoo.parse_settings`."""
    hints, settings = settings_of(make), dict[str, Any]()
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"settings of {model} are written key=value, got {word!r}")
        if name not in hints:
            raise UsageError(f"{model} has no setting {name!r}; {near_misses(name, hints)}")
        if name in settings:
            raise UsageError(f"{model}: {name} is set twice; give it once")
        settings[name] = _check(f"{model}: {name}", hints[name], _read(hints[name], text))
    return settings


def _kind(hint: Any) -> type:
    """Return the plain type behind an annotation: int, float, bool or str."""
    if get_origin(hint) is Literal:
        return str
    kind: type = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return kind


def _read(hint: Any, text: str) -> Any:
    """Turn text into a value of the annotation's type; what cannot be read stays text, which `_check` refuses."""
    kind = _kind(hint)
    if kind is bool:
        return _BOOLEANS.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def _check(where: str, hint: Any, value: Any) -> Any:
    kind = _kind(hint)
    if kind is float and type(value) is int:
        value = float(value)
    flag = isinstance(value, bool) and kind is not bool
    if isinstance(value, kind) and not flag and _allowed(hint, value):
        return value
    raise UsageError(f"{where} must be {_describe(hint)}, got {value!r}")


def _allowed(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is Annotated:
        return all(value in allowed for allowed in get_args(hint)[1:])
    return not isinstance(value, float) or math.isfinite(value)


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    words = {
        int: "an integer",
        float: "a number" if get_origin(hint) is Annotated else "a finite number",
        bool: "true or false",
        str: "text",
    }[_kind(hint)]
    ranges = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return " ".join([words, *map(str, ranges)])


LETTERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "d": ("layers",),
        "k": ("channels", "hidden", "inputs", "head_channels"),
        "s": ("skip",),
        "H": ("height",),
        "W": ("width",),
        "T": ("length",),
    }
)
"""Letter -> the settings that it stands for: depth, width (in and out), skip channels, and the sizes of the grid."""


def settings_behind(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the settings of one model that a letter or a setting's own name stands for, if it has any.

    Examples
    --------
    >>> settings_behind("k", ["inputs", "hidden", "layers"]), settings_behind("layers", ["layers"])
    (('hidden', 'inputs'), ('layers',))
    """
    known = set(known)
    return (name,) if name in known else tuple(s for s in LETTERS.get(name, ()) if s in known)
