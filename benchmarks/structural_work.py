"""What `structure.py` measures in its child processes: the depths of one example, or a peer's work on the same."""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any
from unittest.mock import patch

import peers
import structural_models as models
import torch
from fresh_process import Meter
from structural_models import EXAMPLES, HOLLOW, Example
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn.modules.module import register_module_forward_pre_hook

from leadline import check, read
from leadline.domains import engine
from leadline.domains.dependence import rules
from leadline.errors import ModelError
from leadline.graph import reading


def carry_out(meter: Meter, example: str, work: str) -> None:
    """Build an example, ``"name"`` or ``"name:size:…"``, and do a work of `WORKS` or a peer's on it."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if example == "macs":
        meter.facts |= meter.take(work, lambda: peers.counted(work))
        return
    name, *sizes = example.split(":")
    hollow = name in HOLLOW
    if work in WORKS:
        with torch.device("meta") if hollow else nullcontext():
            made = EXAMPLES[name](*sizes)
        WORKS[work](meter, made)
        return
    with FakeTensorMode() if hollow else nullcontext():  # a counter runs the model, which may ask meta for values
        made = EXAMPLES[name](*sizes)
        meter.facts["macs"] = meter.take(work, lambda: peers.COUNTERS[work](made.model, *made.inputs))


def first_export() -> None:
    """Export next to nothing: what torch imports when it first exports anything."""
    torch.export.export(torch.nn.Identity(), (torch.ones(1),), strict=False)


def five_depths(meter: Meter, example: Example) -> None:
    """Count, span, causality, context of one output and memory, of one reading; the first one traces."""
    meter.take("torch's imports", first_export)
    asked = read(example.model, *example.inputs, layout=example.layout)
    meter.take("trace", lambda: asked.graph)
    counted = meter.take("count", asked.count)
    steps = meter.take("span", asked.span).steps
    verdict = meter.take("causality", asked.causality)
    seen = meter.take("context", lambda: asked.context(example.position))
    saved = meter.take("memory", asked.memory).saved
    meter.facts |= {"macs": counted.macs, "connections": counted.connections, "steps": steps}
    meter.facts |= {"causality": f"{verdict.verdict}, lag {verdict.lag}", "context": seen.size, "saved": saved}


def reach_alone(meter: Meter, example: Example) -> None:
    """Measure the reach from the last output, its trace included."""
    meter.take("torch's imports", first_export)
    asked = read(example.model, *example.inputs, layout=example.layout)
    meter.take("trace", lambda: asked.graph)
    last = example.inputs[0].shape[-1] - 1
    found = meter.take("reach", lambda: asked.reach(positions=[last]))
    meter.facts |= {"99 % within": found.within(0.99), "seen": found.seen, "law": found.law.kind}


def count_alone(meter: Meter, example: Example) -> None:
    """Count, its trace included."""
    asked = read(example.model, *example.inputs, layout=example.layout)
    meter.facts["macs"] = meter.take("count", asked.count).macs


def count_of_qwen(meter: Meter, example: Example) -> None:
    """Count a Qwen, and hold its multiply-accumulates against the formula."""
    count_alone(meter, example)
    shape = {**models.QWEN, "num_hidden_layers": len(example.model.model.model.layers)}
    truth = models.decoder_macs(shape, *example.inputs[0].shape)
    if meter.facts["macs"] != truth:
        raise AssertionError(f"{meter.facts['macs']} multiply-accumulates, by hand {truth}")


def trace_alone(meter: Meter, example: Example) -> None:
    """Trace, and replay where there are weights."""
    meter.take("torch's imports", first_export)
    meter.facts["nodes"] = len(meter.take("trace", lambda: read(example.model, *example.inputs).graph).nodes)


def bare_export(meter: Meter, example: Example) -> None:
    """Export with torch alone, and decompose: the floor."""
    meter.take("torch's imports", first_export)
    with torch.no_grad():
        program = meter.take("export", lambda: torch.export.export(example.model, example.inputs, strict=False))
        program = meter.take("decompositions", lambda: program.run_decompositions({}))
    meter.facts["nodes"] = len(program.graph.nodes)


def check_without_gradient(meter: Meter, example: Example) -> None:
    """Run `check`, the gradient left out."""
    with _no_gradient():
        audit = meter.take("check", lambda: check(example.model, *example.inputs, layout=example.layout))
    meter.facts["verdict"] = str(audit.verdict)


def check_counted(meter: Meter, example: Example) -> None:
    """Run `check` without the gradient, and count traces, walks by domain and forward passes."""
    passes, walks = [0], Counter[str]()

    def ran(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        real = not any(isinstance(x, FakeTensor) for x in inputs)  # the trace's call computes nothing
        passes[0] += module is example.model and real

    handle = register_module_forward_pre_hook(ran)  # what a hook of the model's own has seen would be undone
    with _no_gradient(), patch("leadline.graph.reading.trace_call", wraps=reading.trace_call) as trace, _walks(walks):
        meter.take("check", lambda: check(example.model, *example.inputs, layout=example.layout))
    handle.remove()
    iterated = walks.pop("domains._generation._done")  # until the times at which symbols are drawn stay the same
    meter.facts |= {"traces": trace.call_count, "forward passes": passes[0], "walks": dict(walks)}
    meter.facts["passes of generation's fixed points"] = iterated


@contextmanager
def _no_gradient() -> Iterator[None]:
    def left_out(*_: Any, **__: Any) -> Any:
        raise ModelError("left out")

    with patch("leadline.audit._check.gradient_of", left_out):
        yield


@contextmanager
def _walks(calls: Counter[str]) -> Iterator[None]:
    """Count the walks over the graph by the domain that asks for them, however it has imported the walker."""
    walker, by_rules = engine.walk.__code__, rules.walk_by.__code__

    def entered(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is walker and frame.f_back is not None:
            asking = frame.f_back
            if asking.f_code is by_rules and asking.f_back is not None:
                asking = asking.f_back
            room = asking.f_globals["__name__"].removeprefix("leadline.")
            calls[f"{room}.{asking.f_code.co_qualname}"] += 1

    sys.setprofile(entered)
    try:
        yield
    finally:
        sys.setprofile(None)


WORKS: Mapping[str, Callable[[Meter, Example], None]] = {
    "five depths": five_depths,
    "reach": reach_alone,
    "count": count_alone,
    "count of Qwen": count_of_qwen,
    "trace": trace_alone,
    "torch.export and decompositions": bare_export,
    "check without gradient": check_without_gradient,
    "check counted": check_counted,
}
