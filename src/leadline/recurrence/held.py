"""All that a model holds, as one flat list: two models that hold the same do the same."""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.recurrence.watched import Watched

SIZE = object()
"""Stands for a size that is watched: whatever is asked of it is known."""

_PLAIN = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device, range, slice, np.generic)


def held(value: Any) -> list[Any]:
    """Return the modules, numbers, texts, functions and tensors that can be reached, in a fixed order.

    Attributes and buffers count, what functions enclose, and what they read of their module. Of parameters, which are
    drawn, only shapes and zeros count.
    """
    return list(_parts(value, {}))


def same(one: list[Any], other: list[Any]) -> bool:
    """Tell whether two models hold the same, but for the sizes that one of them watches."""
    return len(one) == len(other) and all(a is SIZE or b is SIZE or a == b for a, b in zip(one, other, strict=True))


def _parts(value: Any, seen: dict[int, tuple[int, Any]]) -> Iterator[Any]:
    """Yield the parts of a value; `seen` numbers what was met, and keeps it: no other object takes its place."""
    if isinstance(value, Watched):
        yield SIZE
    elif isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, types.ModuleType):
        yield value.__name__
    elif id(value) in seen:
        yield seen[id(value)][0]
    else:
        seen[id(value)] = len(seen), value
        yield type(value).__qualname__
        if isinstance(value, Tensor):
            yield from (str(value.dtype), tuple(value.shape), _digest(value))
        elif isinstance(value, np.ndarray):
            yield from (str(value.dtype), value.shape, value.tobytes())
        elif isinstance(value, set | frozenset):
            yield sorted(map(repr, value))
        else:
            for part in _inside(value):
                yield from _parts(part, seen)


def _inside(value: Any) -> Iterable[Any]:
    """Return what a container, a function, a class or an object holds."""
    if isinstance(value, Mapping):
        return [part for pair in list(value.items()) for part in pair]
    if isinstance(value, list | tuple | deque):
        return list(value)
    if isinstance(value, types.FunctionType | type) and not _own(value):
        return ()
    if isinstance(value, types.FunctionType):
        return value.__code__, _cells(value), value.__defaults__, value.__kwdefaults__, _globals(value)
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_consts, value.co_names
    if isinstance(value, types.MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, property):
        return (value.fget,)
    if isinstance(value, staticmethod | classmethod):
        return (value.__func__,)
    if isinstance(value, type):
        return [part for part in vars(value).values() if not isinstance(part, str)]
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if isinstance(name, str)]
    parts = [getattr(value, name, None) for name in slots if not name.startswith("__")]
    parts += [vars(value)] if hasattr(value, "__dict__") else []
    return [*parts, *filter(_own, type(value).__mro__)] if isinstance(value, nn.Module) else parts


def _own(made: type | types.FunctionType) -> bool:
    """Whether a class or function is the user's, who may have made it for one size."""
    module = str(made.__module__).partition(".")[0]
    return module not in ("torch", "leadline") and module not in sys.stdlib_module_names


def _cells(function: types.FunctionType) -> list[Any]:
    """Return what a function encloses; a cell that is not filled yet holds nothing."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(None)
    return found


def _globals(function: types.FunctionType) -> list[Any]:
    """Return the values and functions of its own module that a function reads."""
    named = [function.__globals__.get(name) for name in function.__code__.co_names]
    return [part for part in named if isinstance(part, (*_PLAIN, list, tuple, dict, set, types.FunctionType))]


def _digest(tensor: Tensor) -> str:
    if tensor.is_meta or tensor.layout is not torch.strided:
        return ""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu()
    raw = (plain == 0 if isinstance(tensor, nn.Parameter) else plain).contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(raw.numpy().tobytes()).hexdigest()
