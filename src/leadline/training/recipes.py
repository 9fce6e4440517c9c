"""Documented settings: what `leadline train MODEL --data DATA` starts from.

All were chosen on the validation part only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from leadline.errors import UsageError, near_misses

DEFAULT = "default"


@dataclass(frozen=True)
class Recipe:
    """Settings of the model, of the data and of the training loop (fields of `TrainConfig`)."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


# (model, data, name) -> recipe
RECIPES: Mapping[tuple[str, str, str], Recipe] = MappingProxyType(
    {
        ("pixelcnn", "digits", DEFAULT): Recipe(training={"minutes": 7.0}),
        ("mdrnn", "digits", DEFAULT): Recipe(training={"minutes": 7.0}),
        ("pixelcnn", "digits", "demo"): Recipe(training={"minutes": 2.0}),
        ("mdrnn", "digits", "demo"): Recipe(training={"minutes": 2.0}),
    }
)


def find_recipe(model: str, data: str, name: str | None = None) -> Recipe:
    """Return the recipe called `name` for a model and a data set.

    Without a name: the default one, or an empty one where there is none.

    Raises
    ------
    UsageError
        If there is no recipe of that name.

    Examples
    --------
    >>> find_recipe("chain", "digits")
    Recipe(settings={}, training={}, options={})
    """
    found = RECIPES.get((model, data, name or DEFAULT))
    if found is not None:
        return found
    if name is None:
        return Recipe()
    known = [key[2] for key in RECIPES if key[:2] == (model, data)]
    raise UsageError(f"there is no recipe {name!r} for {model} on {data}; {near_misses(name, known)}")
