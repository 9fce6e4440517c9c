"""What a caller gives as a model, as a module that can be traced and run."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import UninitializedBuffer, is_lazy
from torch.utils._pytree import tree_leaves

from leadline.errors import TraceError, UnknownOp, UsageError
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
    if "_parameters" not in vars(model):
        raise UsageError(f"{type(model).__name__}.__init__ does not call super().__init__(), as that of a module must")
    _refuse_nested((inputs, kwargs))
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


def _refuse_nested(given: Any) -> None:
    for leaf in tree_leaves(given):
        if isinstance(leaf, torch.Tensor) and leaf.is_nested and leaf.layout is torch.strided:
            raise UnknownOp("an input is a nested tensor, and rules know dense ones alone: give it padded, with a mask")


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
