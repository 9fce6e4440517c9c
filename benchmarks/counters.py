"""Counters beside one another on models with known counts, and all structural depths of two large models.

Run as ``python benchmarks/counters.py``; all run in one process, on one thread, on the same models. The tables
(``benchmarks/results/counters.md`` and ``.json``) hold multiply-accumulates beside the `truth`, a closed form, then
seconds on GPT-2 small and ResNet-50: for leadline those of count, span, causality, context of one output and memory.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import platform
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import thop
import torch
import torchinfo
import torchlens
import transformers as hf
from fvcore.nn import FlopCountAnalysis
from ptflops import get_model_complexity_info
from tables import markdown
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from leadline import count, read

RESULTS = Path(__file__).parent / "results"
D, T = 16, 64


@dataclass(frozen=True)
class Case:
    """A model, its inputs, and what it multiplies."""

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    truth: int


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


class Columns(nn.Module):
    """The first 224 logits of a classifier, read as columns: images have no order, and causality asks for one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Run the model."""
        logits: Tensor = self.model(x)
        return logits[:, : x.shape[-1]]


class Logits(nn.Module):
    """A model of `transformers` that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Run the model."""
        logits: Tensor = self.model(x).logits
        return logits


def cases() -> list[Case]:
    x, linear = torch.randn(1, T, D), nn.Linear(D, D)
    projections, pairs = 4 * D * D * T, 2 * T * T * D
    gpt2 = hf.GPT2LMHeadModel(hf.GPT2Config(use_cache=False))
    resnet = hf.ResNetForImageClassification(hf.ResNetConfig(num_labels=1000))
    return [
        Case("nn.LSTM", nn.LSTM(D, D, batch_first=True), (x,), 4 * D * 2 * D * T),
        Case("nn.GRU", nn.GRU(D, D, batch_first=True), (x,), 3 * D * 2 * D * T),
        Case("nn.MultiheadAttention", Attention(D, 4, batch_first=True), (x,), projections + pairs),
        Case(
            "nn.TransformerEncoderLayer",
            nn.TransformerEncoderLayer(D, 4, 2 * D, batch_first=True),
            (x,),
            projections + pairs + 4 * D * D * T,
        ),
        Case("conv with weight * mask", MaskedConv(3, 32, 5), (torch.randn(1, 3, 8, 8),), 3 * 32 * 25 * 64),
        Case("einsum", Einsum(), (x,), D * D * T),
        Case("one Linear used twice", nn.Sequential(linear, linear), (x,), 2 * D * D * T),
        Case(
            "GPT-2 small, T = 128",
            Logits(gpt2),
            (torch.randint(50000, (1, 128)),),
            12 * (12 * 768**2 * 128 + 2 * 128**2 * 768) + 768 * 50257 * 128,
        ),
        Case("ResNet-50, 224 × 224", Logits(resnet), (torch.randn(1, 3, 224, 224),), 4_089_184_256),
    ]


def with_fvcore(model: nn.Module, *inputs: Tensor) -> int:
    return int(FlopCountAnalysis(model, inputs).unsupported_ops_warnings(False).total())


def with_torch(model: nn.Module, *inputs: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2


def with_torchlens(model: nn.Module, *inputs: Tensor) -> int:
    return int(torchlens.trace(model, list(inputs)).total_macs_forward)


def with_torchinfo(model: nn.Module, *inputs: Tensor) -> int:
    return int(torchinfo.summary(copy.deepcopy(model), input_data=list(inputs), verbose=0).total_mult_adds)


def with_thop(model: nn.Module, *inputs: Tensor) -> int:
    return int(thop.profile(copy.deepcopy(model), inputs=inputs, verbose=False)[0])  # it leaves buffers behind


def with_ptflops(backend: str) -> Callable[..., int]:
    def counted(model: nn.Module, *inputs: Tensor) -> int:
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


COUNTERS: dict[str, Callable[..., int]] = {
    "leadline": lambda model, *inputs: count(model, *inputs).macs,
    "fvcore": with_fvcore,
    "torchinfo": with_torchinfo,
    "ptflops, hooks": with_ptflops("pytorch"),
    "ptflops, aten": with_ptflops("aten"),
    "thop": with_thop,
    "FlopCounterMode / 2": with_torch,
    "torchlens": with_torchlens,
}


def counted(name: str, case: Case) -> dict[str, Any]:
    """One counter's number for one model, or the name of its error, and its seconds."""
    start = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found: int | str = COUNTERS[name](case.model.eval(), *case.inputs)
    except Exception as error:
        found = type(error).__name__
    return {name: found, f"{name}, seconds": round(time.perf_counter() - start, 2)}


def five_depths(case: Case, layout: dict[str, str | None], position: Any) -> dict[str, Any]:
    """Time count, span, causality, context of one output and memory on one model; with the process's peak memory."""
    seconds: dict[str, float] = {}

    def take(name: str, ask: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = ask()
        seconds[name] = round(time.perf_counter() - start, 2)
        return result

    reading = read(case.model.eval(), *case.inputs, layout=layout)
    take("trace", lambda: reading.graph)
    take("count", reading.count)
    take("span", reading.span)
    take("causality", reading.causality)
    take("context", lambda: reading.context(position))
    take("memory", reading.memory)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"model": case.name, "seconds": seconds, "sum": round(sum(seconds.values()), 2), "peak_mb": peak}


def timings(depths: list[dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    """Seconds on the large models: leadline's depths, then what each counter took for its one number."""
    by_case = {row["case"]: row for row in rows}
    peers = [f"{name}, seconds" for name in COUNTERS if name != "leadline"]
    table = [
        {"model": d["model"], **d["seconds"], "all five": d["sum"], "peak MB": d["peak_mb"]}
        | {peer: by_case.get(d["model"], {}).get(peer, "") for peer in peers}
        for d in depths
    ]
    return markdown(table, list(table[0]))


def main() -> None:
    """Measure the two large models first, while the process is small; then all counters on all cases."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # within the fused kernel of eval mode no counter sees anything
    every = cases()
    gpt2, resnet = every[-2:]
    depths = [
        five_depths(gpt2, {"x": "b t", "output": "b t v"}, 64),
        five_depths(replace(resnet, model=Columns(resnet.model)), {"x": "b c h w", "output": "b w"}, 0),
    ]
    print(*depths, sep="\n", flush=True)
    rows: list[dict[str, Any]] = [{"case": case.name, "truth": case.truth} for case in every]
    for name in COUNTERS:  # one after the other: torchlens, the last, leaves torch's functions wrapped
        for found, case in zip(rows, every, strict=True):
            found |= counted(name, case)
        print(name, [found[name] for found in rows], flush=True)
    machine = {"torch": torch.__version__, "python": sys.version.split()[0], "processor": platform.machine()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "counters.json").write_text(json.dumps({**machine, "depths": depths, "rows": rows}, indent=1) + "\n")
    tables = markdown(rows, ["case", "truth", *COUNTERS]), timings(depths, rows)
    (RESULTS / "counters.md").write_text("\n".join(tables))


if __name__ == "__main__":
    main()
