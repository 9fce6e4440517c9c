"""Documented settings: what `leadline train MODEL --data DATA` starts from.

Chosen on the validation part: the default ones of pixelcnn and mdrnn for the digits, and of pixelcnn for Fashion-MNIST.
All others, for every density model and data set of its kind, are sized to some ten minutes on a core of their own, the
longest to half an hour, and not tuned.

How those of pixelcnn for the digits were chosen, by the best validation of a network of 135,541 numbers, in bits/dim,
one run of each: slanted, stretched and turned images 1.8105 (3,000 steps), bent and turned ones 1.8009 (3,000) and
1.7963 (6,000: at step 4,200, then it rises to 1.826), or 1.804 with ``fade=1.5`` (5,000, falling to the end); bent,
slanted and turned ones, small bends to the end, 1.8088 (7,000), and with a dropout of 0.4 1.8311 (2,800). The mean of
two networks, bent and turned, has 1.7966 (3,000 steps each), and its validation stays where it is; the recipe has
three, as many as seven minutes take: 1.7932.

What helps most is the class, told in training and summed out in scores (recipes ``classes``). One network that is told
it, how its images were turned and whether they were bent, has 1.7750 after 1,800 of 3,000 steps; told the class alone,
of images that are bent and not turned, 1.7856 after 1,500, where the other one had 1.7826: the recipes do the latter.
Turns and bends told without a class bring 1.8069 (3,000 steps, ``fade=2``), no better than nothing told. Three networks
of pixelcnn have 1.7703 (at step 2,000, then it rises to 1.782), two of gated-pixelcnn, untuned, 1.7530 (3,000, falling
to the end), and six of them (``many``) 1.7450. What to try next: more dropout for pixelcnn, more steps for
gated-pixelcnn.

How that of pixelcnn for Fashion-MNIST was chosen, by the first 500 validation images, in bits/dim, one run of each, on
a machine that others used. In bfloat16, with a vector for each pixel and batches of 16, 110 CPU seconds took pixelcnn
of 244,384 numbers (channels 96, inner 48, six layers, first kernel 5; lr 3e-3) through 496 steps, to 3.107, and
pixelcnn-plus of 607,616 (channels 32, three scales, a logit for each class; lr 2e-3) through 233, to 3.461;
gated-pixelcnn of 230,648 (channels 40, five layers; lr 2e-3) was behind after half of that time, and stopped. A step of
those 96 channels takes half of the time that it takes in float32 (10.6 ms an image, not 19.8). The network of the
recipe had 3.003 after 280 CPU seconds, 500 steps of 4,500, before its learning rate came down. The recipe's 2,100
steps, in two processes, came to 2.923 (900), 2.879 (1,500) and 2.866 (2,100, its best), which is 2.874 over the whole
validation part, where one of 58,864 numbers in float32 had 2.989 after 597 CPU seconds. What to try next: more steps,
and a wider network yet; learning rate, batch and average were not tried.
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


# Steps, not minutes: figures then do not depend on how busy the machine is. One thread: two are no faster for models of
# this size, and ten times slower on a core that others use.
_ALONE: Mapping[str, Any] = MappingProxyType({"threads": 1})
_DEMO: Mapping[str, Any] = MappingProxyType({"steps": 3000, **_ALONE})

# A thousand images are few. What helps is more of them: turned, slanted and stretched, ever fewer towards the end.
_DIGITS: Mapping[str, Any] = MappingProxyType(
    {"batch": 32, "lr": 3e-3, "weight_decay": 0.3, "ema": 0.999, "turn": 0.7, "warp": 0.8, "fade": 1.0, **_ALONE}
)
_BENT: Mapping[str, Any] = MappingProxyType({**_DIGITS, "warp": 0.0, "bend": 0.8})
_FASHION: Mapping[str, Any] = MappingProxyType(
    {"batch": 16, "lr": 2e-3, "ema": 0.998, "validation_examples": 500, **_ALONE}
)
# In colour; of 3072 symbols an image.
_PHOTOGRAPHS: Mapping[str, Any] = MappingProxyType({"batch": 8, "lr": 2e-3, "ema": 0.998, **_ALONE})
_SPEECH: Mapping[str, Any] = MappingProxyType(
    {"lr": 2e-3, "warmup": 50, "weight_decay": 0.0, "ema": 0.99, "validation_examples": 8, **_ALONE}
)
_BRIEF: Mapping[str, Any] = MappingProxyType({"channels": 16, "skip": 32, "head": 64, "layers": 8})
_BRIEFLY: Mapping[str, Any] = MappingProxyType(
    {**_SPEECH, "steps": 300, "batch": 8, "crop": 1000, "validation_examples": 2}
)
_TEXT: Mapping[str, Any] = MappingProxyType({"batch": 16, "crop": 256, "lr": 1e-3, "ema": 0.99, **_ALONE})
_TONES: Mapping[str, Any] = MappingProxyType({"batch": 8, "crop": 400, "lr": 2e-3, "ema": 0.99, **_ALONE})

_SMALL: Mapping[str, Any] = MappingProxyType({"positions": True, "dropout": 0.3})
_CLASSES: Mapping[str, Any] = MappingProxyType({"labels": 10, "marginal": True})
_GATED: Mapping[str, Any] = MappingProxyType({"channels": 48, "layers": 5, "first_kernel": 5, **_SMALL})
_WIDE: Mapping[str, Any] = MappingProxyType({"channels": 96, "inner": 48, "layers": 5, "first_kernel": 5, **_SMALL})

_IMAGES: Mapping[tuple[str, str, str], Recipe] = MappingProxyType(
    {
        ("pixelcnn", "digits", DEFAULT): Recipe({**_WIDE, "members": 3}, {**_BENT, "batch": 96, "steps": 3000}),
        ("gated-pixelcnn", "digits", DEFAULT): Recipe({**_GATED, "members": 2}, {**_BENT, "batch": 64, "steps": 3000}),
        ("pixelcnn-plus", "digits", DEFAULT): Recipe(
            {"channels": 24, "layers": 1, "scales": 2, "components": 0, **_SMALL}, {**_BENT, "steps": 4000}
        ),
        ("pixelsnail", "digits", DEFAULT): Recipe(
            {"channels": 32, "layers": 2, "blocks": 1, "components": 0, **_SMALL}, {**_BENT, "steps": 4000}
        ),
        ("mdrnn", "digits", DEFAULT): Recipe(
            {"hidden": 64, "layers": 1, "embedding": 16, **_SMALL}, {**_DIGITS, "steps": 7000}
        ),
        # Told the class of each digit in training, and scored without it.
        ("pixelcnn", "digits", "classes"): Recipe(
            {**_WIDE, **_CLASSES, "members": 3},
            {**_BENT, "turn": 0.0, "batch": 96, "steps": 3000, "validate_every": 500},
        ),
        ("gated-pixelcnn", "digits", "classes"): Recipe(
            {**_GATED, **_CLASSES, "members": 2},
            {**_BENT, "turn": 0.0, "batch": 64, "steps": 3000, "validate_every": 500},
        ),
        ("gated-pixelcnn", "digits", "many"): Recipe(
            {**_GATED, **_CLASSES, "members": 6},
            {**_BENT, "turn": 0.0, "batch": 192, "steps": 3000, "validate_every": 1000},
        ),
        # Equal numbers of parameters, to within two hundredths.
        ("pixelcnn", "digits", "demo"): Recipe({"layers": 5, "first_kernel": 5, **_SMALL}, {**_DIGITS, **_DEMO}),
        ("mdrnn", "digits", "demo"): Recipe(
            {"hidden": 66, "layers": 1, "embedding": 16, **_SMALL}, {**_DIGITS, **_DEMO}
        ),
        ("pixelcnn", "fashion-mnist", DEFAULT): Recipe(
            {"channels": 128, "inner": 64, "layers": 7, "head": 128, "positions": True},
            {**_FASHION, "steps": 2100, "lr": 3e-3, "precision": "bf16", "validate_every": 300},
        ),
        ("gated-pixelcnn", "fashion-mnist", DEFAULT): Recipe(
            {"channels": 32, "layers": 6, "first_kernel": 5}, {**_FASHION, "steps": 2000}
        ),
        ("pixelcnn-plus", "fashion-mnist", DEFAULT): Recipe(
            {"channels": 16, "layers": 1, "scales": 3}, {**_FASHION, "steps": 1500}
        ),
        ("pixelsnail", "fashion-mnist", DEFAULT): Recipe(
            {"channels": 16, "layers": 2, "blocks": 1}, {**_FASHION, "steps": 1500}
        ),
        ("mdrnn", "fashion-mnist", DEFAULT): Recipe(
            {"hidden": 48, "layers": 1, "embedding": 16}, {**_FASHION, "steps": 2500}
        ),
        ("pixelcnn", "photographs", DEFAULT): Recipe(
            {"channels": 48, "inner": 24, "layers": 6, "first_kernel": 5}, {**_PHOTOGRAPHS, "steps": 1000}
        ),
        ("gated-pixelcnn", "photographs", DEFAULT): Recipe(
            {"channels": 48, "layers": 5, "first_kernel": 5}, {**_PHOTOGRAPHS, "batch": 6, "steps": 1000}
        ),
        ("pixelcnn-plus", "photographs", DEFAULT): Recipe(
            {"layers": 1, "components": 5}, {**_PHOTOGRAPHS, "steps": 1000}
        ),
        ("pixelsnail", "photographs", DEFAULT): Recipe(
            {"channels": 16, "layers": 2, "blocks": 1}, {**_PHOTOGRAPHS, "batch": 4, "steps": 500}
        ),
        ("mdrnn", "photographs", DEFAULT): Recipe(
            {"hidden": 48, "layers": 1, "embedding": 16}, {**_PHOTOGRAPHS, "steps": 500}
        ),
    }
)
_SEQUENCES: Mapping[tuple[str, str, str], Recipe] = MappingProxyType(
    {
        ("wavenet", "speech", DEFAULT): Recipe(
            {"channels": 32, "skip": 64, "head": 128, "layers": 8, "stacks": 2, "tiled": True},
            {**_SPEECH, "steps": 2100, "batch": 4, "crop": 4000},
        ),
        # Two small ones of equal steps: what a spectrogram of what is said tells beside the symbols before.
        ("wavenet", "speech", "brief"): Recipe(_BRIEF, _BRIEFLY),
        ("wavenet", "speech", "heard"): Recipe(_BRIEF, _BRIEFLY, {"spectrogram": 40}),
        # A table of positions wants pieces: each is scored without what went before it.
        ("transformer", "speech", DEFAULT): Recipe(
            {"head_channels": 32, "layers": 4}, {**_SPEECH, "steps": 1000, "batch": 16}, {"piece": 512}
        ),
        ("transformer", "digits", DEFAULT): Recipe(
            {"head_channels": 16, "layers": 4, "dropout": 0.2}, {**_BENT, "steps": 4000, "lr": 1e-3}, {"flatten": True}
        ),
        ("transformer", "fashion-mnist", DEFAULT): Recipe(
            {"head_channels": 16, "layers": 4}, {**_FASHION, "steps": 1000, "lr": 1e-3}, {"flatten": True}
        ),
        ("wavenet", "pydoc", DEFAULT): Recipe({"channels": 64, "skip": 128, "head": 128}, {**_TEXT, "steps": 2000}),
        ("transformer", "pydoc", DEFAULT): Recipe(
            {"head_channels": 32, "layers": 4, "dropout": 0.1}, {**_TEXT, "steps": 1000}
        ),
        ("wavenet", "tones", DEFAULT): Recipe({"channels": 16, "skip": 32}, {**_TONES, "steps": 300}),
        ("transformer", "tones", DEFAULT): Recipe({}, {**_TONES, "steps": 300}, {"piece": 400}),
    }
)

# (model, data, name) -> recipe
RECIPES: Mapping[tuple[str, str, str], Recipe] = MappingProxyType({**_IMAGES, **_SEQUENCES})


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
