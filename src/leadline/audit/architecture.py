"""Architectures at many sizes: which of a named model's settings vary, over which values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leadline import zoo
from leadline.audit.named_model import NamedModel, find_factory, from_specimen
from leadline.errors import UsageError, near_misses
from leadline.graph.layout import LayoutLike, Order
from leadline.key_values import literals
from leadline.recurrence import Laws, law
from leadline.zoo.settings import LETTERS, settings_behind

_DEPTHS, _WIDTHS, _LONGER = range(1, 7), range(1, 5), 3
_MOST_VALUES = 1000


@dataclass(frozen=True)
class Architecture:
    """An architecture, by the name that the user called it, whose sizes vary.

    `make` builds the model at given sizes, `sizes` holds the values of those that vary, as `leadline.law` takes them,
    and `settings` what is the same at all sizes.
    """

    name: str
    make: Callable[..., NamedModel]
    sizes: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, Any]

    def laws(self, layout: LayoutLike = None, order: Order = None, output: str | None = None) -> Laws:
        """Return the growth laws; the axes default to the model's own. Raises what `leadline.law` does."""
        first = self.make(**{name: values[0] for name, values in self.sizes.items()})

        def build(**sizes: int) -> tuple[Any, Any]:
            made = self.make(**sizes)
            return made.model, dict(made.keywords) or made.inputs

        return law(build, layout=layout or first.layout, order=order or first.order, output=output, **self.sizes)


def find_architecture(word: str, words: Sequence[str] = ()) -> Architecture:
    """Find the architecture that `word` names, and read which of its sizes vary.

    It is a name of the zoo, ``file.py:factory`` or ``package.module:factory``; a factory takes sizes as keywords. Among
    `words`, ``name=1..5`` or ``name=1,2,4,8`` is a size that varies, ``name=value`` a setting that does not. A model of
    the zoo takes the letters of the theory too (d, k, s, H, W, T); if nothing is said to vary, its depth d and width k
    do, as far as they are not set. `UsageError` if nothing is called so, a name is unknown, or nothing varies.

    Examples
    --------
    >>> find_architecture("grid-rnn", ["d=1..4", "k=3", "H=5,8"]).sizes
    {'d': (1, 2, 3, 4), 'H': (5, 8), 'W': (8, 11)}
    """
    varied, fixed = _parted(word, words)
    if ":" in word:
        if not varied:
            raise UsageError(f"say which sizes of {word} vary, by the names of its keywords: depth=1..5 width=1..4")
        make, settings = find_factory(word), literals(fixed)
        return Architecture(word, lambda **sizes: make(**settings, **sizes), varied, settings)
    if word not in zoo.ZOO:
        raise UsageError(
            f"no architecture is called {word!r} (a zoo name, file.py:factory or package.module:factory); "
            f"{near_misses(word, zoo.ZOO)}"
        )
    return _of_zoo(word, varied, fixed)


def _parted(word: str, words: Sequence[str]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Separate sizes that vary from settings that do not."""
    varied: dict[str, tuple[int, ...]] = {}
    fixed = []
    for item in words:
        name, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"{item!r} is not a size of {word}; write name=1..5, name=1,2,4 or name=value")
        values = _values(text)
        if values is None:
            fixed.append(item)
        elif name in varied:
            raise UsageError(f"{name} is given twice; give it once")
        else:
            varied[name] = values
    return varied, fixed


def _values(text: str) -> tuple[int, ...] | None:
    """Read ``1..5`` or ``1,2,4``, two numbers at least: one to be fitted, one to be checked. None for anything else."""
    values: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        try:
            new = range(int(first), int(last) + 1) if dots else [int(first)]
        except ValueError:
            return None
        if len(new[: _MOST_VALUES + 1]) + len(values) > _MOST_VALUES:
            raise UsageError(f"'{text}' holds more than {_MOST_VALUES} numbers, at each of which the model is read")
        values += new
    if not (".." in text or "," in text):
        return None
    if len(set(values)) < 2:
        raise UsageError(
            f"'{text}' holds fewer than two numbers; a size that varies needs some to fit a formula to, "
            "and one more to check it"
        )
    return tuple(sorted(set(values)))


def _of_zoo(word: str, varied: dict[str, tuple[int, ...]], words: Sequence[str]) -> Architecture:
    known = zoo.settings_of(zoo.ZOO[word])
    fixed: list[str] = []
    for item in words:
        name, _, text = item.partition("=")
        fixed += [f"{setting}={text}" for setting in settings_behind(name, known) or (name,)]
    settings = zoo.parse_settings(word, fixed)
    if not varied:
        for letter, values in (("d", _DEPTHS), ("k", _WIDTHS)):
            if (meant := settings_behind(letter, known)) and not any(setting in settings for setting in meant):
                varied[letter] = tuple(values)
    behind = {name: settings_behind(name, known) for name in varied}
    for name, meant in behind.items():
        if not meant:
            raise UsageError(f"{word} has no size {name!r}; {near_misses(name, [*known, *LETTERS])}")
        if twice := [s for s in meant if s in settings or any(s in o for n, o in behind.items() if n != name)]:
            raise UsageError(f"{word}: {twice[0]} is given twice; give it once")
    taken = {*settings, *(setting for meant in behind.values() for setting in meant)}
    config = zoo.build(word, **settings).config
    for letter in "HWT":  # sizes of the grid are in the formulas anyway: trace at two, to see that they do not matter
        (axis,) = LETTERS[letter]
        if axis in known and axis not in taken:
            size = getattr(config, axis)
            varied, behind = varied | {letter: (size, size + _LONGER)}, behind | {letter: (axis,)}

    def make(**sizes: int) -> NamedModel:
        chosen = {setting: value for name, value in sizes.items() for setting in behind[name]}
        return from_specimen(word, zoo.build(word, **{"batch": 1, **settings, **chosen}))

    return Architecture(word, make, varied, settings)
