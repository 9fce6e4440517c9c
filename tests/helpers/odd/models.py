"""Models that do, hold or return what few models do, each with its inputs: a factory for each."""

from __future__ import annotations

from typing import Any

import torch
from helpers.odd.forwards import THEN, B, C, Model, T
from helpers.odd.modules import MODULES
from torch import nn

Made = tuple[Any, tuple[Any, ...]]

FORMATS = {
    "is float16": torch.float16,
    "is bfloat16": torch.bfloat16,
    "is complex": torch.complex64,
    "is float8": torch.float8_e4m3fn,
}
ODD = (*THEN, *MODULES, *FORMATS)


def odd_model(name: str) -> Made:
    """Make a model by its name, and its inputs."""
    x = torch.randn(B, T, C)
    if name in THEN:
        return Model(THEN[name]), (x,)
    if name in FORMATS:
        return nn.Linear(C, C).to(FORMATS[name]), (x.to(FORMATS[name]),)
    return MODULES[name](), (x,)
