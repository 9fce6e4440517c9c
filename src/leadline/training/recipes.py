"""Documented settings: what `leadline train MODEL --data DATA` starts from.

Those of pixelcnn and mdrnn for the digits were chosen on the validation part; the others, for Fashion-MNIST, speech and
text, of the gated PixelCNN and the Transformer, are sized to their time and not tuned.
"""

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


# Of fixed length where figures are quoted: they do not depend on how busy the machine is. One thread: two are no faster
# for models of this size, and ten times slower on a core that others use.
_DEMO: Mapping[str, Any] = MappingProxyType({"steps": 3000, "threads": 1})

# A thousand images are few. What helps is more of them: turned, slanted and stretched, ever fewer towards the end.
_DIGITS: Mapping[str, Any] = MappingProxyType(
    {"batch": 32, "lr": 3e-3, "weight_decay": 0.3, "ema": 0.999, "turn": 0.7, "warp": 0.8, "fade": 1.0}
)
_FASHION: Mapping[str, Any] = MappingProxyType(
    {"minutes": 10.0, "batch": 16, "lr": 2e-3, "ema": 0.998, "validation_examples": 500}
)
_WIDE: Mapping[str, Any] = MappingProxyType(
    {"channels": 96, "inner": 48, "layers": 5, "first_kernel": 5, "positions": True, "dropout": 0.3}
)

_TEXT: Mapping[str, Any] = MappingProxyType({"minutes": 10.0, "batch": 16, "crop": 256, "lr": 1e-3, "ema": 0.99})

# (model, data, name) -> recipe
RECIPES: Mapping[tuple[str, str, str], Recipe] = MappingProxyType(
    {
        ("pixelcnn", "digits", DEFAULT): Recipe(_WIDE, {**_DIGITS, "minutes": 6.5, "steps": 8000}),
        ("mdrnn", "digits", DEFAULT): Recipe(
            {"hidden": 64, "layers": 1, "embedding": 16, "positions": True, "dropout": 0.3}, {**_DIGITS, "minutes": 6.5}
        ),
        ("gated-pixelcnn", "digits", DEFAULT): Recipe(
            {"channels": 48, "layers": 5, "first_kernel": 5, "positions": True, "dropout": 0.3},
            {**_DIGITS, "minutes": 6.5},
        ),
        # Equal numbers of parameters, to within two hundredths.
        ("pixelcnn", "digits", "demo"): Recipe(
            {"layers": 5, "first_kernel": 5, "positions": True, "dropout": 0.3}, {**_DIGITS, **_DEMO}
        ),
        ("mdrnn", "digits", "demo"): Recipe(
            {"hidden": 66, "layers": 1, "embedding": 16, "positions": True, "dropout": 0.3}, {**_DIGITS, **_DEMO}
        ),
        ("pixelcnn", "fashion-mnist", DEFAULT): Recipe(
            {"channels": 48, "inner": 24, "layers": 6, "first_kernel": 5}, _FASHION
        ),
        ("mdrnn", "fashion-mnist", DEFAULT): Recipe({"hidden": 48, "layers": 1, "embedding": 16}, _FASHION),
        ("gated-pixelcnn", "fashion-mnist", DEFAULT): Recipe(
            {"channels": 32, "layers": 6, "first_kernel": 5}, _FASHION
        ),
        ("transformer", "pydoc", DEFAULT): Recipe(
            {"lag": 1, "length": 256, "head_channels": 32, "layers": 4, "dropout": 0.1}, _TEXT
        ),
        ("transformer", "speech", DEFAULT): Recipe(
            {"lag": 1, "length": 512, "head_channels": 32, "layers": 4},
            {**_TEXT, "batch": 8, "crop": 512},
            {"piece": 512},
        ),
        ("transformer", "digits", DEFAULT): Recipe(
            {"lag": 1, "length": 64, "head_channels": 16, "layers": 4, "dropout": 0.2},
            {**_DIGITS, "minutes": 6.5, "lr": 1e-3},
            {"flatten": True},
        ),
        ("transformer", "fashion-mnist", DEFAULT): Recipe(
            {"lag": 1, "length": 784, "head_channels": 16, "layers": 4}, {**_FASHION, "lr": 1e-3}, {"flatten": True}
        ),
        ("wavenet", "pydoc", DEFAULT): Recipe({"channels": 64, "skip": 128, "head": 128}, _TEXT),
        ("wavenet", "speech", DEFAULT): Recipe(
            {"channels": 32, "skip": 64, "head": 128, "layers": 8, "stacks": 2},
            {
                "minutes": 10.0,
                "batch": 4,
                "crop": 4000,
                "lr": 2e-3,
                "warmup": 50,
                "weight_decay": 0.0,
                "ema": 0.99,
                "validation_examples": 8,
            },
        ),
    }
)


def find_recipe(model: str, data: str, name: str | None = None) -> Recipe:
    """Return the recipe called `name` for a model and a data set.

    Without a name: the default one, or an empty one if there is no default. Raises `UsageError` for an unknown name.

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
