"""The letters in which growth laws are customarily written, for the settings of the zoo's models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

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
