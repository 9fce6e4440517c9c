"""Counters that others wrote, beside ours, and models whose multiply-accumulates are known.

Each peer is imported when it is called: where it is not installed, or fails, the tables say so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structural_models as models
import torch
from torch import Tensor, nn

D, T = 16, 64


@dataclass(frozen=True)
class Known:
    """A model, its inputs, and what it multiplies."""

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    macs: int


class Attention(nn.MultiheadAttention):
    """A sequence over itself."""

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        return super().forward(x, x, x, need_weights=False)[0]


class MaskedConv(nn.Conv2d):
    """Weight times a raster mask."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        mask = torch.ones(5, 5)
        mask[2, 2:], mask[3:] = 0, 0
        return nn.functional.conv2d(x, self.weight * mask, self.bias, padding=2)


class Einsum(nn.Module):
    """A linear map written as an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(D, D))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return torch.einsum("btd,de->bte", x, self.weight)


def known_models() -> list[Known]:
    """Small ones with closed forms, and two large ones."""
    x, linear = torch.randn(1, T, D), nn.Linear(D, D)
    projections, pairs = 4 * D * D * T, 2 * T * T * D
    gpt2, resnet = models.gpt2(), models.resnet50()
    return [
        Known("nn.LSTM", nn.LSTM(D, D, batch_first=True), (x,), 4 * D * 2 * D * T),
        Known("nn.GRU", nn.GRU(D, D, batch_first=True), (x,), 3 * D * 2 * D * T),
        Known("nn.MultiheadAttention", Attention(D, 4, batch_first=True), (x,), projections + pairs),
        Known(
            "nn.TransformerEncoderLayer",
            nn.TransformerEncoderLayer(D, 4, 2 * D, batch_first=True),
            (x,),
            projections + pairs + 4 * D * D * T,
        ),
        Known("conv with weight * mask", MaskedConv(3, 32, 5), (torch.randn(1, 3, 8, 8),), 3 * 32 * 25 * 64),
        Known("einsum", Einsum(), (x,), D * D * T),
        Known("one Linear used twice", nn.Sequential(linear, linear), (x,), 2 * D * D * T),
        Known("GPT-2 small, T = 128", gpt2.model, gpt2.inputs, models.gpt2_macs()),
        Known("ResNet-50, 224 × 224", resnet.model.model, resnet.inputs, 4_089_184_256),
    ]


def with_leadline(model: nn.Module, *inputs: Tensor) -> int:
    from leadline import count

    return count(model, *inputs).macs


def with_fvcore(model: nn.Module, *inputs: Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis

    return int(FlopCountAnalysis(model, inputs).unsupported_ops_warnings(False).total())


def with_torch(model: nn.Module, *inputs: Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2


def with_torchlens(model: nn.Module, *inputs: Tensor) -> int:
    import torchlens

    return int(torchlens.trace(model, list(inputs)).total_macs_forward)


def with_torchinfo(model: nn.Module, *inputs: Tensor) -> int:
    import torchinfo

    return int(torchinfo.summary(copy.deepcopy(model), input_data=list(inputs), verbose=0).total_mult_adds)


def with_thop(model: nn.Module, *inputs: Tensor) -> int:
    import thop

    return int(thop.profile(copy.deepcopy(model), inputs=inputs, verbose=False)[0])  # it leaves buffers behind


def with_ptflops(backend: str) -> Callable[..., int]:
    def counted(model: nn.Module, *inputs: Tensor) -> int:
        from ptflops import get_model_complexity_info

        macs, _ = get_model_complexity_info(
            copy.deepcopy(model),
            (1,),
            input_constructor=lambda _: inputs[0],
            as_strings=False,
            print_per_layer_stat=False,
            backend=backend,
        )
        return int(macs)

    return counted


COUNTERS: Mapping[str, Callable[..., int]] = {
    "leadline": with_leadline,
    "fvcore": with_fvcore,
    "torchinfo": with_torchinfo,
    "ptflops, hooks": with_ptflops("pytorch"),
    "ptflops, aten": with_ptflops("aten"),
    "thop": with_thop,
    "FlopCounterMode / 2": with_torch,
    "torchlens": with_torchlens,
}


def counted(name: str) -> dict[str, Any]:
    """One counter's number for every known model, or the name of its error; ``"truth"`` is the closed form."""
    torch.backends.mha.set_fastpath_enabled(False)  # within the fused kernel of eval mode no counter sees anything
    found: dict[str, Any] = {}
    if name == "truth":
        return {known.name: known.macs for known in known_models()}
    for known in known_models():
        try:
            found[known.name] = COUNTERS[name](known.model.eval(), *known.inputs)
        except Exception as error:
            found[known.name] = type(error).__name__
    return found
