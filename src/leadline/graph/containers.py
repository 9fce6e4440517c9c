"""Tensors within nested containers and objects of any kind: found, named and replaced."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_LISTED = (list, tuple, deque)
Parts: TypeAlias = "Mapping[Any, Any] | None"
"""What a container holds, by key, index or attribute; None: it is none."""


def _within(value: Any) -> Parts:
    """Look into mappings, sequences and dataclasses."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {_Attribute(name): getattr(value, name) for name in value._fields}
    if isinstance(value, _LISTED):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {_Attribute(item.name): getattr(value, item.name) for item in fields(value)}
    return None


def within_any(value: Any) -> Parts:
    """Look into what else holds tensors as attributes, too: a namespace, a class of the user's own, a cache."""
    found = _within(value)
    if found is not None or isinstance(value, Tensor | nn.Module | type) or callable(value):
        return found
    slots = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
    return {_Attribute(name): part for name, part in {**slots, **getattr(value, "__dict__", {})}.items()} or None


def _slots(kind: type) -> Iterator[str]:
    """Yield the attributes for which classes written in Python keep a place of their own."""
    for above in kind.__mro__:
        named = vars(above).get("__slots__", ())
        names = (named,) if isinstance(named, str) else named
        yield from (name for name in names if not name.startswith("__"))


class _Attribute(str):
    """The name of an attribute, which is no key."""

    __slots__ = ()


def leaves(
    value: Any, path: str = "", within: Callable[[Any], Parts] = _within, above: tuple[int, ...] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors within nested containers with their paths, ``hidden[0]``; anything else holds none.

    What stands within itself, as the containers `above` say, is not looked into again.

    Examples
    --------
    >>> [path for path, _ in leaves({"logits": torch.ones(1), "hidden": [torch.ones(1), 3]})]
    ['logits', 'hidden[0]']
    """
    if isinstance(value, Tensor):
        yield path, value
        return
    indexed, parts = isinstance(value, _LISTED), None if id(value) in above else within(value)
    for key, part in (parts or {}).items():
        place = f"[{key}]" if indexed and not isinstance(key, _Attribute) else f".{key}" if path else str(key)
        yield from leaves(part, f"{path}{place}", within, (*above, id(value)))


def tensors_within(value: Any) -> list[Tensor]:
    """List the tensors within nested containers and objects of any kind.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> holder = SimpleNamespace(logits=torch.ones(1), cache=[torch.ones(2)])
    >>> len(tensors_within({"of": holder}))
    2
    """
    return [tensor for _, tensor in leaves(value, "", within_any)]


def apart(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Give tensors whose paths read alike, as those at the keys 1 and "1" do, names of their own."""
    found: dict[str, Tensor] = {}
    for name, tensor in named:
        found[name if name not in found else f"{name}#{len(found)}"] = tensor
    return found


def rebuilt(value: Any, stream: Iterator[Tensor], above: tuple[int, ...] = ()) -> Any:
    """Copy nested containers with their tensors replaced, in order, from `stream`; what holds none is as it was."""
    if isinstance(value, Tensor):
        return next(stream)
    parts = None if id(value) in above else within_any(value)
    if parts is None or next(leaves(value, "", within_any, above), None) is None:
        return value
    parts = {key: rebuilt(part, stream, (*above, id(value))) for key, part in parts.items()}
    if isinstance(value, tuple):
        return type(value)(*parts.values()) if hasattr(value, "_fields") else type(value)(parts.values())
    if isinstance(value, Mapping) and not isinstance(value, MutableMapping):
        return parts
    copied = copy(value)
    for key, part in parts.items():
        if isinstance(key, _Attribute):
            object.__setattr__(copied, key, part)
        else:
            copied[key] = part
    return copied


def hollow(tensor: Tensor) -> bool:
    """Return whether a tensor has a shape, but no values."""
    return tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor)


def wraps(tensor: Any) -> bool:
    """Return whether a tensor stands around others, and has no memory of its own."""
    return is_traceable_wrapper_subclass(tensor)
