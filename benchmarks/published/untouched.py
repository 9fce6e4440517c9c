"""What a model is like: its tensors to the byte, its attributes, and what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def described(model: nn.Module) -> dict[str, Any]:
    """Describe all attributes of all modules, the parameters and buffers among them."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for way, value in _parts(vars(module), path or "model"):
            found[way] = _one(value)
    return found


def _parts(value: Any, way: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(part, f"{way}.{key}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _parts(part, f"{way}[{i}]")
    else:
        yield way, value


def _one(value: Any) -> Any:
    if isinstance(value, Tensor):
        contents = value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        return id(value), value.shape, value.dtype, value.requires_grad, contents
    return value if isinstance(value, bool | int | float | str | None) else id(value)
