"""Counts how often functions of leadline and forward passes of a model run, whoever calls them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import nn
from torch._subclasses import FakeTensor
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves


@contextmanager
def counted(*functions: Callable[..., Any]) -> Iterator[Counter[str]]:
    """Count the calls of functions, by ``module.function`` of the module that calls each by its name."""
    calls: Counter[str] = Counter()

    def counting(key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[key] += 1
            return function(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "leadline"]:
            for name, value in list(vars(module).items()):
                if any(value is function for function in functions):
                    key = f"{module.__name__.rpartition('.')[2]}.{name}"
                    patch.setattr(module, name, counting(key, value))
        yield calls


@contextmanager
def forward_passes(model: nn.Module) -> Iterator[list[bool]]:
    """List the calls of a model on tensors with values, each with whether gradients were recorded."""
    import torch

    passes: list[bool] = []

    def enter(module: nn.Module, args: Any) -> None:
        if module is model and not any(isinstance(leaf, FakeTensor) for leaf in tree_leaves(args)):
            passes.append(torch.is_grad_enabled())

    handle = register_module_forward_pre_hook(enter)  # what a hook of the model's own has seen would be undone
    try:
        yield passes
    finally:
        handle.remove()
