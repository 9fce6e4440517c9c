"""What a model, its inputs and the process are like, down to every byte, as values that can be compared."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch._subclasses import FakeTensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def described(*roots: Any) -> dict[str, Any]:
    """Describe everything that can be reached from some values, by the way to it, and the state of the process."""
    found: dict[str, Any] = {}
    seen: dict[int, str] = {}
    for i, root in enumerate(roots):
        _describe(root, f"root {i}", found, seen)
    return {**found, **_process()}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List the ways to what is not as it was."""
    return [way for way in {**before, **after} if way not in before or way not in after or before[way] != after[way]]


def _process() -> dict[str, Any]:
    """Describe the process, but Python's random numbers: beartype, which checks types under test, draws from them."""
    return {
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "numpy's random state": tuple(map(str, np.random.get_state())),  # noqa: NPY002
        "gradients": torch.is_grad_enabled(),
        "default type": torch.get_default_dtype(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "oneDNN": torch.backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "transforms open": torch._C._functorch.get_dynamic_layer_stack_depth(),
        "modes open": torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack(),
        "assignment": nn.Module.__setattr__,
    }


def _describe(value: Any, way: str, found: dict[str, Any], seen: dict[int, str]) -> None:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        found[way] = repr(value)
        return
    if id(value) in seen:
        found[way] = "same as", seen[id(value)]
        return
    seen[id(value)] = way
    found[way] = id(value), type(value)
    for name, part in _parts(value, way, found):
        _describe(part, f"{way} {name}", found, seen)


def _parts(value: Any, way: str, found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor):
        found[f"{way} as a tensor"] = _of_tensor(value)
        yield "grad", value.grad if value.is_leaf else None
        if not (isinstance(value, FakeTensor) or value.is_nested):  # theirs are caches of torch's
            yield "attributes", value.__dict__
    elif isinstance(value, np.ndarray):
        found[f"{way} as an array"] = value.tobytes()
    elif isinstance(value, torch.Generator):
        found[f"{way} as a generator"] = value.get_state().numpy().tobytes()
    elif isinstance(value, Mapping):
        yield from ((repr(key), part) for key, part in value.items())
        found[f"{way} in order"] = list(map(repr, value))
    elif isinstance(value, list | tuple | deque):
        yield from ((str(i), part) for i, part in enumerate(value))
        found[f"{way} in length"] = len(value)
    elif isinstance(value, set):
        found[f"{way} as a set"] = {id(part) for part in value}
    elif isinstance(value, torch.jit.ScriptModule | OptimizedModule):  # which keep what torch found out about them
        yield from value.named_parameters()
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type | type(sys)):
        yield "attributes", vars(value)
    for name in getattr(type(value), "__slots__", ()):
        yield name, getattr(value, name, None)


def _of_tensor(tensor: Tensor) -> tuple[Any, ...]:
    if is_lazy(tensor):
        return ("not there yet",)
    if tensor.is_nested:
        return (tensor.layout, tensor.requires_grad, *map(_of_tensor, _parts_of_nested(tensor)))
    if isinstance(tensor, FakeTensor):
        return "without values", tensor.dtype, tuple(tensor.shape), tensor.stride()
    kind = tensor.dtype, tensor.device, tuple(tensor.shape), tensor.layout
    flags = tensor.requires_grad, tensor.is_leaf, tensor.grad_fn is None, tensor.is_inference()
    if is_traceable_wrapper_subclass(tensor):
        return (*kind, *flags, *(_of_tensor(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0]))
    if tensor.layout is not torch.strided:
        return (*kind, *flags, *map(_of_tensor, _parts_of_sparse(tensor)))
    placed = tensor.stride(), tensor.storage_offset(), tensor.untyped_storage()._cdata
    version = None if tensor.is_inference() else tensor._version
    contents = None if tensor.is_meta else _contents(tensor)
    return (*kind, *flags, *(placed if contents is not None else ()), version, contents)


def _contents(tensor: Tensor) -> bytes | None:
    try:
        return bytes(tensor.detach().untyped_storage())  # type: ignore[call-overload]
    except RuntimeError:  # one that stands around others
        return None


def _parts_of_nested(tensor: Tensor) -> list[Tensor]:
    return [tensor.values(), tensor.offsets()] if tensor.layout is torch.jagged else list(tensor.detach().unbind())


def _parts_of_sparse(tensor: Tensor) -> list[Tensor]:
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    return [] if tensor.layout is torch._mkldnn else [tensor.values()]  # type: ignore[attr-defined]


def saved(model: nn.Module) -> bytes:
    """What `torch.save` makes of a model's state."""
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    return stream.getvalue()
