"""Everything that running a model may change, recorded so that it can be put back: attributes, containers, contents.

What is recorded is what can be reached from the model, its inputs and its hooks: attributes of modules and of other
objects, nested containers, what functions close over, class attributes, the globals and caches that the user's own
functions name. Contents are copied once for each storage; those of the largest share their memory until it is written.
"""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from leadline.graph.restoring.contents import Contents

Undo: TypeAlias = Callable[[], object]
_MISSING = object()
_ATOMS = (str, bytes, int, float, complex, type(None), torch.dtype, torch.device, types.ModuleType, Enum, torch.Size)
_PLAIN = (Tensor, dict, list, set, deque, tuple, int, float, type(None))
_CALLABLES = (
    types.FunctionType, types.MethodType, functools.partial, staticmethod, classmethod, property,
    functools.cached_property,
)  # fmt: skip
_KEEPING = (Tensor, dict, list, set, deque, functools._lru_cache_wrapper)
_BUILTIN = (dict, list, set, deque, OrderedDict)
_LIBRARIES = sys.stdlib_module_names - {"collections", "types", "weakref"} | {"torch", "numpy", "leadline", "jaxtyping"}
"""Packages whose functions, classes and objects hold no state of the user's."""


class Snapshot:
    """The state of some models, functions and inputs, to which `restore` takes them back, as often as it is called.

    Contents that an enclosing snapshot has copied (`contents`) are not copied again.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> snapshot = Snapshot(layer)
    >>> layer.seen, layer.bias.data, layer.training = [1], torch.zeros(1), False
    >>> snapshot.restore()
    >>> hasattr(layer, "seen"), layer.bias.shape, layer.training
    (False, torch.Size([2]), True)
    """

    def __init__(self, *roots: Any, contents: Contents | None = None) -> None:
        self._seen: dict[int, Any] = {}  # held, so that no address comes again
        self._undo: list[Undo] = []
        self._dicts: list[tuple[dict[Any, Any], list[tuple[Any, Any]]]] = []
        self._tensors: list[_TensorState] = []
        self.contents = Contents() if contents is None else contents
        stack = list(roots)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            while stack:
                value = stack.pop()
                if not isinstance(value, _ATOMS) and id(value) not in self._seen:
                    self._seen[id(value)] = value
                    stack.extend(self._parts(value))
            self.contents.copy(state.alias for state in self._tensors)

    @property
    def known(self) -> Collection[Any]:
        """Everything that was reached: what is kept in it now need not be what was there."""
        return self._seen.values()

    def restore(self) -> None:
        """Put everything back as it was."""
        for undo in self._undo:
            undo()
        for mapping, items in self._dicts:
            if not _alike(mapping.items(), items):
                _refill(mapping, items)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for state in self._tensors:
                state.rebase()
            self.contents.restore()
            for state in self._tensors:
                state.count_as_before()

    def added(self) -> list[tuple[dict[Any, Any], dict[Any, Any]]]:
        """Return the attributes and entries that were not there, with what they belong to."""
        known = [(mapping, {key for key, _ in items}) for mapping, items in self._dicts if len(mapping) > len(items)]
        return [(mapping, {key: mapping[key] for key in mapping if key not in keys}) for mapping, keys in known]

    # -- what a value is made of: each records the value itself, and returns its parts --------------------------------

    def _parts(self, value: Any) -> Iterable[Any]:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, dict):
            items = list(value.items())
            self._dicts.append((value, items))
            return [*(part for _, part in items), *self._attributes(value)]
        if isinstance(value, list | set | deque):
            return self._container(value)
        if isinstance(value, tuple | frozenset):
            return value
        if isinstance(value, _CALLABLES):
            return self._function(value)
        if isinstance(value, functools._lru_cache_wrapper):
            return self._cache(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, nn.Module):
            return [*self._attributes(value), *value.parameters(recurse=False), *value.buffers(recurse=False)]
        if _held_elsewhere(value, self._undo):
            return ()
        return () if _library(type(value)) else self._attributes(value)

    def _tensor(self, tensor: Tensor) -> Iterable[Any]:
        state = _TensorState(tensor)
        self._tensors.append(state)
        return [state.grad, *state.inner, tensor.__dict__]

    def _container(self, value: Any) -> Iterable[Any]:
        parts = list(value)

        def undo() -> None:
            if isinstance(value, set):
                if set(map(id, value)) != set(map(id, parts)):
                    set.clear(value)
                    set.update(value, parts)
            elif len(value) != len(parts) or any(a is not b for a, b in zip(value, parts, strict=True)):
                kind = list if isinstance(value, list) else deque
                kind.clear(value)
                kind.extend(value, parts)

        self._undo.append(undo)
        return [*parts, *self._attributes(value)]

    def _attributes(self, value: Any) -> Iterator[Any]:
        kind = type(value)
        if kind in _BUILTIN:
            return
        if isinstance(value, nn.Module):
            self._undo.append(lambda: _become(value, kind))
        if not _library(kind):
            yield kind
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict):
            yield held
        for name in (name for base in kind.__mro__ for name in _slots(base)):
            found = getattr(value, name, _MISSING)
            self._undo.append(functools.partial(_put_back, value, name, found))
            yield found

    def _function(self, value: Any) -> Iterator[Any]:
        if isinstance(value, functools.partial):
            yield from (value.func, value.args, value.keywords)
        elif isinstance(value, types.MethodType):
            yield from (value.__self__, value.__func__)
        elif isinstance(value, staticmethod | classmethod):
            yield value.__func__
        elif isinstance(value, property | functools.cached_property):
            yield value.fget if isinstance(value, property) else value.func
        else:
            for cell in value.__closure__ or ():
                found = _cell(cell)
                self._undo.append(functools.partial(_fill, cell, found))
                yield found
            yield from (value.__defaults__, value.__kwdefaults__, value.__dict__)
            if not _library(value):
                bound = self._bindings(value.__globals__, _names(value.__code__))
                # What an installed function calls is as much as its package; what it keeps is in containers and caches.
                yield from (part for part in bound if isinstance(part, _KEEPING)) if _installed(value) else bound

    def _bindings(self, scope: dict[str, Any], names: Iterable[str]) -> Iterator[Any]:
        """Record what names are bound to in the user's own module."""
        bound = [(name, scope[name]) for name in names if name in scope]

        def undo() -> None:
            for name, found in bound:
                now = scope.get(name)
                if now is not found and isinstance(now, _PLAIN) and not isinstance(now, bool):
                    scope[name] = found

        self._undo.append(undo)
        for _, found in bound:
            yield found

    def _class(self, kind: type) -> Iterable[Any]:
        """Record the attributes of a class of the user's, and of those above it."""
        if _library(kind) or issubclass(kind, Enum):
            return ()
        held = {name: found for name, found in vars(kind).items() if not name.startswith("__")}

        def undo() -> None:
            for name, now in list(vars(kind).items()):
                found = held.get(name, _MISSING)
                if name.startswith("__") or now is found or not isinstance(now, _PLAIN):
                    continue
                type.__delattr__(kind, name) if found is _MISSING else type.__setattr__(kind, name, found)

        self._undo.append(undo)
        return [*vars(kind).values(), *kind.__bases__]

    def _cache(self, cache: Any) -> Iterable[Any]:
        """Record how much a cache of `functools` holds; what was put in while a model was traced may be fake."""
        if _library(cache):
            return ()
        misses = cache.cache_info().misses

        def undo() -> None:
            if cache.cache_info().misses != misses:
                cache.cache_clear()

        self._undo.append(undo)
        return [cache.__wrapped__]


class _TensorState:
    """What a tensor is besides its contents: the memory that it looks at, its flags, gradient and version."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.kind = tensor, type(tensor)
        self.alias = tensor.data
        self.is_leaf, self.requires_grad = tensor.is_leaf, tensor.requires_grad
        self.grad = tensor.grad if tensor.is_leaf else None
        self.version = None if tensor.is_inference() else tensor._version
        self.inner = _inner(tensor)

    def rebase(self) -> None:
        """Look at the same memory as before, with the same flags and gradient."""
        tensor, changed = self.tensor, type(self.tensor) is not self.kind
        _become(tensor, self.kind)
        if changed or not (is_lazy(tensor) or _same_view(tensor, self.alias)):
            tensor.data = self.alias
        if self.is_leaf and not tensor.is_leaf:
            tensor.detach_()
        if self.is_leaf and tensor.requires_grad != self.requires_grad:
            tensor.requires_grad_(self.requires_grad)
        if self.is_leaf and tensor.grad is not self.grad:
            tensor.grad = self.grad

    def count_as_before(self) -> None:
        """Forget the writes that were undone, for which autograd would refuse a backward pass of the user's."""
        if self.version is not None and self.tensor._version != self.version:
            torch._C._autograd._unsafe_set_version_counter((self.tensor,), (self.version,))


def _same_view(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors look at the same memory in the same way; those without a storage of their own do."""
    if one.layout is not torch.strided or other.layout is not torch.strided:
        parts = _inner(one), _inner(other)
        return len(parts[0]) == len(parts[1]) and all(map(_same_view, *parts)) and one.layout is other.layout
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    try:
        placed = one.stride() == other.stride() and one.storage_offset() == other.storage_offset()
        return placed and one.untyped_storage()._cdata == other.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):  # a tensor without storage
        return True


def _inner(tensor: Tensor) -> list[Tensor]:
    """Return the tensors that a sparse tensor or a tensor of several parts is made of."""
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return []


def _held_elsewhere(value: Any, undo: list[Undo]) -> bool:
    """Record what keeps its state outside Python's attributes: arrays and generators of random numbers."""
    if isinstance(value, np.ndarray):
        if value.flags.writeable and not value.dtype.hasobject and not isinstance(value, np.memmap):
            undo.append(functools.partial(np.copyto, value, value.copy()))
    elif isinstance(value, torch.Generator):
        undo.append(functools.partial(value.set_state, value.get_state()))
    elif isinstance(value, np.random.Generator):
        undo.append(functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state))
    elif isinstance(value, np.random.RandomState):
        undo.append(functools.partial(value.set_state, value.get_state()))
    elif isinstance(value, random.Random):
        undo.append(functools.partial(value.setstate, value.getstate()))
    else:
        return False
    return True


def _library(value: Any) -> bool:
    """Whether a function or class belongs to a package that holds nothing of the user's."""
    name = getattr(value, "__module__", None)
    return not isinstance(name, str) or (name.partition(".")[0] in _LIBRARIES and not name.startswith("leadline.zoo"))


def _installed(function: types.FunctionType) -> bool:
    """Whether a function is one of a package that was installed, not of the user's own files."""
    return bool({"site-packages", "dist-packages"}.intersection(Path(function.__code__.co_filename).parts))


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a function's code uses, nested functions included."""
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _slots(kind: type) -> Iterable[str]:
    found = vars(kind).get("__slots__", ()) if not _library(kind) else ()
    return [found] if isinstance(found, str) else [s for s in found if s not in ("__dict__", "__weakref__")]


def _put_back(value: Any, name: str, found: Any) -> None:
    if getattr(value, name, _MISSING) is not found:
        object.__delattr__(value, name) if found is _MISSING else object.__setattr__(value, name, found)


def _become(value: Any, kind: type) -> None:
    """Make something the class that it was: lazy modules and parameters become others when they are first used."""
    if type(value) is not kind:
        value.__class__ = kind


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing in it yet
        return _MISSING


def _fill(cell: types.CellType, found: Any) -> None:
    if found is not _MISSING and _cell(cell) is not found:
        cell.cell_contents = found


def _refill(mapping: dict[Any, Any], items: list[tuple[Any, Any]]) -> None:
    """Put entries back; what was there all the time is never missing, since other threads may look."""
    base, wanted = OrderedDict if isinstance(mapping, OrderedDict) else dict, dict(items)
    for key in [key for key in mapping if key not in wanted]:
        base.__delitem__(mapping, key)
    in_order = list(mapping) == [key for key, _ in items][: len(mapping)]
    if not in_order:
        base.clear(mapping)
    for key, value in items:
        base.__setitem__(mapping, key, value)


def _alike(now: Iterable[tuple[Any, Any]], then: list[tuple[Any, Any]]) -> bool:
    found = list(now)
    return len(found) == len(then) and all(a is c and b is d for (a, b), (c, d) in zip(found, then, strict=True))
