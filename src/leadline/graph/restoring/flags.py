"""Global flags of torch and numpy that a model of the user's may change while it runs."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules


@contextmanager
def flags_kept() -> Iterator[None]:
    """Put back, on leaving, whatever flags have changed.

    Examples
    --------
    >>> with flags_kept():
    ...     torch.set_default_dtype(torch.float64)
    >>> torch.get_default_dtype()
    torch.float32
    """
    before = [(read(), read, write) for read, write in _FLAGS]
    filters = list(warnings.filters)
    try:
        yield
    finally:
        for value, read, write in before:
            if read() != value:
                write(value)
        if filters != warnings.filters:
            warnings.filters[:] = filters  # type: ignore[index]


@contextmanager
def uncollected() -> Iterator[None]:
    """Let cycles wait to be collected: what is made in great numbers is gone through again and again otherwise."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def default_device() -> Any:
    """Return the device that new tensors go to, if one was set."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def set_default_device(device: Any) -> None:
    """Let new tensors go to a device; None: to none that is set."""
    torch.set_default_device(device)
    if device is None and hasattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context"):
        del torch._GLOBAL_DEVICE_CONTEXT.device_context  # torch 2.9 cannot be asked for a default that is None


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _global_hooks() -> list[dict[int, Any]]:
    return [dict(found) for found in _HOOKS]


def _set_global_hooks(value: list[dict[int, Any]]) -> None:
    for now, then in zip(_HOOKS, value, strict=True):
        now.clear()
        now.update(then)


_HOOKS: list[dict[int, Any]] = [
    found for name, found in vars(modules).items() if name.startswith("_global_") and isinstance(found, dict)
]
_FLAGS: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (torch.get_default_dtype, torch.set_default_dtype),
    (default_device, set_default_device),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (_deterministic, _set_deterministic),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (lambda: torch.backends.mkldnn.enabled, partial(setattr, torch.backends.mkldnn, "enabled")),
    *(
        (partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device))
        for device in ("cpu", "cuda")
    ),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (np.geterr, lambda value: np.seterr(**value)),
    (_global_hooks, _set_global_hooks),
]
