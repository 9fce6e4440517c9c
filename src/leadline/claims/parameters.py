"""What can be varied in a claim: a letter for each field of its mathematics, with its meaning and its range."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from leadline.claims.claim import Claim
from leadline.errors import UsageError, near_misses
from leadline.key_values import require


@dataclass(frozen=True)
class Parameter:
    """A letter, the field that it sets, what it is, and the least and the largest value that can be settled."""

    letter: str
    field: str
    meaning: str
    low: float
    high: float

    @property
    def range(self) -> str:
        """The range in words."""
        return f"{self.low:g} to {self.high:g}"


_LAYERS = Parameter("n", "layers", "layers", 1, 40)
_WEIGHT = Parameter("w", "weight", "weight of every layer", 0.01, 20)
_NORTH = Parameter("N", "north", "norm of N, the matrix from the north", 0.01, 2)
_WEST = Parameter("W", "west", "norm of W, the matrix from the west", 0.01, 2)
_DEPTH = Parameter("d", "layers", "layers, at most", 1, 8)

PARAMETERS: Mapping[str, tuple[Parameter, ...]] = MappingProxyType(
    {
        "A1": (_LAYERS, _WEIGHT),
        "A2": (_LAYERS, _WEIGHT, Parameter("b", "bias", "bias of the example that vanishes exponentially", 0, 1)),
        "A3": (
            Parameter("s", "norm", "largest singular value of W", 0, 4),
            Parameter("k", "units", "units", 1, 16),
            Parameter("n", "steps", "states", 1, 32),
        ),
        "A4": (
            Parameter("low", "smallest", "least singular value of A", 1e-4, 1e4),
            Parameter("high", "largest", "largest singular value of A", 1e-4, 1e4),
            Parameter("n", "size", "rows of A", 2, 12),
        ),
        "A5": (
            Parameter("a", "norm", "largest norm of a branch", 0, 4),
            _LAYERS,
            Parameter("k", "units", "units", 2, 16),
            Parameter("s", "spread", "standard deviation of the random law", 0.01, 0.99),
        ),
        "A6": (
            Parameter("g", "gamma", "scale γ", 0.01, 100),
            Parameter("e", "epsilon", "ε under the root", 0, 1),
        ),
        "A7": (
            Parameter("d", "layers", "layers", 8, 160),
            Parameter("n", "width", "units of a layer", 16, 1024),
            Parameter("m", "batch", "samples of a batch", 8, 512),
        ),
        "A8": (Parameter("b", "bias_variance", "variance of the biases", 0.01, 0.2),),
        "B1": (
            Parameter("k", "kernel", "taps of a convolution", 2, 4),
            Parameter("r", "base", "by which the dilation grows from layer to layer", 1, 4),
            _DEPTH,
        ),
        "B3": (
            Parameter("r", "dilation", "dilation of the convolutions", 1, 3),
            Parameter("d", "layers", "layers, at most", 1, 5),
            Parameter("g", "gated", "layers of the Gated PixelCNN", 1, 16),
        ),
        "B5": (_DEPTH,),
        "B6": (
            Parameter("H", "height", "rows of the grid", 3, 14),
            Parameter("W", "width", "columns of the grid", 2, 14),
        ),
        "B7": (Parameter("r", "radius", "radius of the PixelCNN", 1, 4),),
        "B8": (Parameter("d", "layers", "layers", 1, 6),),
        "C1": (
            _NORTH,
            _WEST,
            Parameter("D", "diagonal", "norm of a matrix that reads the cell to the north-west, 0 being none", 0, 2),
            Parameter("k", "units", "units", 1, 16),
        ),
        "C2": (_NORTH, _WEST, Parameter("k", "units", "units", 1, 16)),
        "C3": (
            Parameter("N", "north", "σ_N, standard deviation of N's entries times sqrt(k)", 0.01, 2),
            Parameter("W", "west", "σ_W, the same of W", 0.01, 2),
            Parameter("c", "correlation", "correlation of entries of N and W in the same place", -1, 1),
            Parameter("k", "width", "units", 24, 256),
        ),
    }
)
"""The parameters of each claim that has some, by its id."""


def varied(claim: Claim[Any], settings: Mapping[str, Any]) -> Any:
    """Return a claim's mathematics with other values of its parameters.

    Raises `UsageError` for a parameter that the claim does not have, or a value beyond its range.

    Examples
    --------
    >>> from leadline.claims import CLAIMS
    >>> varied(CLAIMS["A1"], {"n": 20, "w": 5})
    SigmoidChain(weight=5, layers=20)
    """
    known = {parameter.letter: parameter for parameter in PARAMETERS.get(claim.id, ())}
    types = {
        field.name: type(getattr(claim.mathematics, field.name)) for field in dataclasses.fields(claim.mathematics)
    }
    chosen = {}
    for letter, value in settings.items():
        if letter not in known:
            ways = [f"{p.letter} ({p.meaning}, {p.range})" for p in known.values()]
            has = f"its parameters are {'; '.join(ways)}" if ways else "it has none"
            close = f"; {near_misses(letter, known)}" if known and letter.lower() in map(str.lower, known) else ""
            raise UsageError(f"{claim.id} has no parameter {letter!r}{close}; {has}")
        parameter = known[letter]
        require(f"{letter} of {claim.id}", types[parameter.field], value)
        if not parameter.low <= value <= parameter.high:
            raise UsageError(f"{letter} of {claim.id} is {parameter.range} ({parameter.meaning}), got {value}")
        chosen[parameter.field] = value
    try:
        return dataclasses.replace(claim.mathematics, **chosen)
    except ValueError as error:
        raise UsageError(f"{claim.id}: {error}") from error


def values_of(claim_id: str, mathematics: object) -> dict[Parameter, Any]:
    """Return the parameters of a claim with the values that its mathematics has."""
    return {parameter: getattr(mathematics, parameter.field) for parameter in PARAMETERS.get(claim_id, ())}


def separated(words: tuple[str, ...]) -> tuple[list[str], dict[str, list[str]]]:
    """Part the words of a command line into ids and, by id, the settings that follow each.

    Examples
    --------
    >>> separated(("A1", "n=20", "w=5", "a4"))
    (['A1', 'A4'], {'A1': ['n=20', 'w=5'], 'A4': []})
    """
    settings: dict[str, list[str]] = {}
    last = ""
    for word in words:
        if "=" not in word:
            last = word.upper()
            settings.setdefault(last, [])
        elif not last:
            raise UsageError(f"{word!r} belongs to no claim: write the claim before it, A1 n=20")
        else:
            settings[last].append(word)
    return list(settings), settings
