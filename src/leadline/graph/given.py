"""What a caller gives as a model, as a module that can be traced and run."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import UninitializedBuffer, is_lazy

from leadline.errors import ModelError, TraceError, UsageError
from leadline.graph.containers import hollow, tensors_within, wraps
from leadline.graph.sparse import refuse_all_but_dense
from leadline.graph.user_code import first_line, running


def module_of(model: Any, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
    """Return a model as it is; of an exported program, a scripted or a lazy module one that works alike.

    A lazy module gets its shapes, and weights as they are drawn now, in a copy: it stays as it was.

    Raises
    ------
    UsageError
        If it is not a model.
    TraceError
        If a scripted module does not come apart into operations.

    Examples
    --------
    >>> lazy = nn.LazyLinear(2)
    >>> module_of(lazy, (torch.zeros(1, 3),), {}).weight.shape, is_lazy(lazy.weight)
    (torch.Size([2, 3]), True)
    """
    if isinstance(model, ExportedProgram):
        return model.module()
    if isinstance(model, torch.jit.ScriptModule):
        return _unscripted(model, inputs, kwargs)
    if not isinstance(model, nn.Module):
        raise UsageError(f"a model is a torch.nn.Module, not {type(model).__name__}: wrap it into one")
    refuse_unbegun(model)
    refuse_unusable((inputs, kwargs))
    if not any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        return model
    # torch copies parameters that are not there yet, and no buffers
    lazy = [buffer for buffer in model.buffers() if is_lazy(buffer)]
    # (its stub names no arguments)
    memo: dict[int, Any] = {id(b): UninitializedBuffer(device=b.device) for b in lazy}  # type: ignore[call-arg]
    copy = deepcopy(model, memo)
    with torch.no_grad(), torch.random.fork_rng(), running(type(model).__name__, (inputs, kwargs)):
        copy(*deepcopy(inputs), **deepcopy(dict(kwargs)))
    return copy


def refuse_unbegun(model: Any) -> None:
    """Refuse a module whose class forgot to begin it."""
    if isinstance(model, nn.Module) and "_parameters" not in vars(model):
        raise UsageError(f"{type(model).__name__}.__init__ does not call super().__init__(), as that of a module must")


def refuse_unusable(given: Any) -> None:
    """Refuse, among inputs, tensors of which torch does not even tell the shape, or ends the process over."""
    for leaf in tensors_within(given):
        if (leaf.is_nested and leaf.layout is torch.strided) or leaf.is_mkldnn:
            refuse_all_but_dense("an input", leaf)
        if _freed(leaf):
            raise ModelError(f"the memory of an input of shape {tuple(leaf.shape)} has been freed: give it anew")


def _freed(tensor: torch.Tensor) -> bool:
    """Whether a tensor has elements, and a storage without any."""
    try:
        plain = tensor.layout is torch.strided and tensor.numel() > 0 and not (hollow(tensor) or wraps(tensor))
        return plain and tensor.untyped_storage().nbytes() == 0
    except (RuntimeError, NotImplementedError):  # a tensor without storage
        return False


def _unscripted(model: torch.jit.ScriptModule, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
    from torch._export.converter import TS2EPConverter  # torch's own way from one to the other, not yet public

    try:
        found: nn.Module = TS2EPConverter(model, inputs, dict(kwargs)).convert().module()
    except Exception as error:
        first = first_line(error)
        raise TraceError(
            f"{model.original_name} is scripted, and does not come apart ({first}): give the module that it was made of"
        ) from error
    return found
