"""Storages that live on after a forward pass: what autograd saves, and what functions, hooks and closures hold."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from functools import cache
from types import FunctionType, MethodType, ModuleType
from typing import Any, NoReturn
from unittest.mock import patch
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import graph
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from leadline.errors import UnknownOp
from leadline.graph.containers import wraps
from leadline.graph.sparse import refuse_all_but_dense


def storages(tensors: Iterable[Any]) -> dict[int, int]:
    """Bytes by storage: views and tied tensors share one, and a sparse tensor has several."""
    found = [part.untyped_storage() for tensor in tensors if isinstance(tensor, Tensor) for part in _dense(tensor)]
    return {storage._cdata: storage.nbytes() for storage in found}


def _owner(value: Any) -> Any:
    """Return what owns the memory that an array of numpy looks at: a tensor, or an array; else the value itself."""
    while isinstance(value, np.ndarray) and value.base is not None:
        value = value.base
    return value


def _length(value: np.ndarray | bytes | bytearray) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else len(value)


def _dense(tensor: Tensor) -> Sequence[Tensor]:
    """Return the dense tensors that hold a sparse one; a dense one holds itself."""
    if tensor.layout is torch.strided:
        return (tensor,)
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    if tensor.is_mkldnn:
        refuse_all_but_dense("what memory is asked about", tensor)
    return (tensor,)


def _is_dense(tensor: Tensor) -> bool:
    return len(_dense(tensor)) == 1


class _Packed:
    """What a pack hook returned for a saved tensor; it lives as long as the graph holds it."""

    __slots__ = ("__weakref__", "content")

    def __init__(self, content: Any) -> None:
        self.content = content


class SavedStorages(TorchDispatchMode):
    """Remembers, while `watch` runs, every storage that is made or saved, and the module that was running then.

    A hook of the model's own takes the place of ours, as in checkpoints and offloading: what it packs is remembered
    instead. What functions keep on their context, and what closures hold, autograd does not know: it is what was made
    meanwhile and is still alive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._packed: list[tuple[ref[_Packed], str]] = []
        self._made: dict[int, tuple[StorageWeakRef, int, str]] = {}
        self._running = [""]
        self._beside: set[int] = set()
        self._graph: ref[_Sentinel] | None = None
        self._first_node = _next_node()

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Listen to autograd, and to every module's coming and going."""
        handles = []
        for name, module in model.named_modules():
            if module is not model and not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(self._enter(name)))
                handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            with (
                torch.compiler.set_stance("force_eager"),
                patch.object(saved_tensors_hooks, "__enter__", lambda hooks: self._push(hooks)),
                patch.object(graph, "disable_saved_tensors_hooks", _refuse),
                saved_tensors_hooks(Tensor.detach, lambda tensor: tensor),
                self,
            ):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def kept(self, resident: Iterable[Tensor], holders: Iterable[Any]) -> tuple[dict[int, tuple[int, str]], bool]:
        """Return bytes and module by storage, and whether that is all: some tensors do not tell their storages.

        Tensors that are `resident` are left out, and of what was not saved what the `holders` reach. When these have
        been let go, `held_elsewhere` tells what was not the backward pass's either.
        """
        packed = [(_owner(leaf), module) for packed, module in self._packed if (alive := packed()) is not None
                  for leaf in tree_leaves(alive.content)]  # fmt: skip
        saved = [(leaf, module) for leaf, module in packed if isinstance(leaf, Tensor)]
        dense = [(leaf, module) for leaf, module in saved if _is_dense(leaf)]
        beside = [(leaf, module) for leaf, module in packed if isinstance(leaf, np.ndarray | bytes | bytearray)]
        found = {-id(leaf): (_length(leaf), module) for leaf, module in beside}
        known = storages(resident)
        for leaf, module in dense:
            for cdata, size in storages([leaf]).items():
                if cdata not in known:
                    found.setdefault(cdata, (size, module))
        alive_beside = {c: (size, module) for c, (storage, size, module) in self._made.items()
                        if c not in found and not storage.expired()}  # fmt: skip
        if alive_beside:
            elsewhere = storages([*_reached(holders), *(part for leaf, _ in dense for part in _parts_of_nested(leaf))])
            self._beside = {c for c in alive_beside if c not in elsewhere}
            found |= {c: alive_beside[c] for c in self._beside}
        if self._beside and _next_node() - self._first_node <= _MOST_NODES:
            self._graph = _watched(tensor for tensor in _reached(holders) if tensor.grad_fn is not None)
        return found, len(dense) == len(saved)

    def held_elsewhere(self) -> tuple[set[int], bool]:
        """Return the storages that outlive the graph, so that something else holds them.

        And whether the graph may live on too: then nothing tells what of them it alone would hold.
        """
        staying = self._staying()
        if staying:
            gc.collect()
            staying = self._staying()
        return staying, bool(staying) and (self._graph is None or self._graph() is not None)

    def _staying(self) -> set[int]:
        return {c for c in self._beside if not self._made[c][0].expired()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        returns = _returns(func)
        if returns is not _Returns.VIEWS:
            given = storages(_tensors((args, kwargs))) if returns is _Returns.ANYTHING else ()
            for tensor in _tensors(result):
                # What a wrapper wraps, or a sparse tensor holds, was made too.
                if tensor.layout is torch.strided and not wraps(tensor):
                    storage = tensor.untyped_storage()
                    if storage._cdata not in given:
                        self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes(), self._running[-1]
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Do without the wrapper that keeps dispatches from being compiled: it takes long, and nothing is compiled."""
        return False

    def _push(self, hooks: saved_tensors_hooks) -> None:
        def pack(tensor: Tensor) -> _Packed:
            packed = _Packed(hooks.pack_hook(tensor))
            self._packed.append((ref(packed), self._running[-1]))
            return packed

        torch._C._autograd._push_saved_tensors_default_hooks(pack, lambda packed: hooks.unpack_hook(packed.content))

    def _enter(self, name: str) -> Any:
        return lambda _module, _inputs: self._running.append(name)

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self._running.pop()


_MOST_NODES = 1000


def _next_node() -> int:
    """Return the number of the next node that autograd makes in this thread: it counts them."""
    with torch.enable_grad():
        node: Any = torch.zeros((), requires_grad=True).clone().grad_fn
    number: int = node._sequence_nr()
    return number + 1


class _Sentinel:
    """Lives as long as a node of the graph that holds it."""

    __slots__ = ("__weakref__",)


def _watched(outputs: Iterable[Tensor]) -> ref[_Sentinel] | None:
    """Let all nodes of the graph behind some tensors hold an object, and return what tells whether it lives.

    None where they are too many. Torch lets go of nodes that Python has looked at one within the other: a chain of some
    ten thousand overruns the stack, and to look at a sum of as many parts is enough.
    """
    sentinel, stack = _Sentinel(), [tensor.grad_fn for tensor in outputs]
    nodes: dict[Any, None] = {}
    while stack and len(nodes) <= _MOST_NODES:
        node = stack.pop()
        if node is not None and node.next_functions and node not in nodes:  # leaves belong to parameters
            nodes[node] = None
            stack.extend(parent for parent, _ in node.next_functions)
    if stack:
        return None
    for node in nodes:
        node.metadata[_Sentinel] = sentinel
    return ref(sentinel)


def _refuse(message: str) -> NoReturn:
    del message
    raise UnknownOp(
        "memory listens to what autograd saves, which the transforms of torch.func (grad, vjp, jacrev, hessian) do not "
        "let it within forward: measure the function that is transformed by itself"
    )


class _Returns(Enum):
    """What an operation returns, as its schema says where torch wrote it: others' may forget that they share memory."""

    VIEWS = auto()
    MADE = auto()
    ANYTHING = auto()


@cache
def _returns(op: Any) -> _Returns:
    schema = getattr(op, "_schema", None)
    shared = [result.alias_info is not None for result in schema.returns] if schema else [False]
    if all(shared):
        return _Returns.VIEWS
    return _Returns.MADE if schema and op.namespace == "aten" and not any(shared) else _Returns.ANYTHING


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments or results, many times faster than a tree of any kind is walked."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _parts_of_nested(tensor: Any) -> list[Tensor]:
    """List the tensors that a nested one is made of, which counts as one."""
    if wraps(tensor):
        return [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    return [tensor._nested_tensor_size()] if tensor.is_nested else []


def _reached(roots: Iterable[Any]) -> list[Tensor]:
    """List the tensors that objects hold, through attributes and containers; functions are not looked into."""
    found: list[Tensor] = []
    seen: dict[int, Any] = {}
    stack = list(roots)
    while stack:
        value = stack.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif id(value) not in seen and not isinstance(value, type | ModuleType | FunctionType | MethodType):
            seen[id(value)] = value
            stack.extend(gc.get_referents(value))
    return found
