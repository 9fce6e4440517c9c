"""An audit as a document: one section for each depth."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch

from leadline.audit._check import Audit, Unavailable
from leadline.document import Block, Curve, Document, FrontMap, GridMap, Section, Table, Text
from leadline.domains._causality import Causality
from leadline.domains._context import Context
from leadline.domains._count import Count
from leadline.domains._generation import Generation
from leadline.domains._memory import Memory
from leadline.domains._span import Span
from leadline.jacobian import GradientDepth
from leadline.recurrence.analysis.schedule import Wavefront, Wavefronts
from leadline.report.numbers import bound, shape, size, whole
from leadline.training import Run

Result = TypeVar("Result")
Rows = tuple[tuple[str, ...], ...]

_HEAD = ("", "value", "status")
_MODULES = 12


def describe_audit(audit: Audit, run: Run | None = None, samples: tuple[Block, ...] = ()) -> Document:
    """Lay an audit out; of a trained model also its scores and samples."""
    sections = [
        Section("Sequential depth", (*_or_why(audit.count, _count), *_or_why(audit.span, _span))),
        Section("Generation", (*_or_why(audit.generation, _generation), *_wavefronts(audit.wavefronts))),
        Section("Context depth", (*_or_why(audit.causality, _causality), *_or_why(audit.context, _context))),
        Section("Gradient depth", _or_why(audit.gradient, _gradient)),
        Section("Memory to train", _or_why(audit.memory, _memory)),
    ]
    if run is not None:
        sections.append(Section("Training", _training(run)))
    if samples:
        sections.append(Section("Samples", samples))
    inputs = ", ".join(shape(sizes) for sizes in audit.inputs.values())
    mode = "training" if audit.training else "evaluation"
    subtitle = f"inputs {inputs} · {audit.dtype} · {mode} mode · seed {audit.seed} · torch {audit.torch}"
    return Document(f"The depths of {audit.name}", subtitle, tuple(sections))


def _or_why(result: Result | Unavailable, describe: Callable[[Result], tuple[Block, ...]]) -> tuple[Block, ...]:
    """Describe a result, or say why it is not known."""
    return (Text(f"unknown: {result.reason}"),) if isinstance(result, Unavailable) else describe(result)


def _count(count: Count) -> tuple[Block, ...]:
    rows: Rows = (
        ("connections", whole(count.connections), str(count.status)),
        ("multiply-accumulates, dense", whole(count.macs), str(count.status)),
        ("without masked pairs", whole(count.macs_masked), str(count.status)),
        *_backward(count),
        ("parameters", whole(count.parameters), "proved"),
        ("covered", str(count.coverage), ""),
    )
    ranked = sorted(count.by_module.items(), key=lambda item: (-item[1].macs, -item[1].parameters))
    modules = tuple(
        (path or "(the model itself)", whole(t.connections), whole(t.macs), whole(t.parameters))
        for path, t in ranked[:_MODULES]
    )
    left = len(ranked) - len(modules)
    caption = "By module" + (f", the {len(modules)} largest of {len(ranked)}" if left > 0 else "")
    head = ("module", "connections", "multiply-accumulates", "parameters")
    unread = f"not counted, since no output rests on it: {', '.join(map(str, count.unread))}"
    return Table(_HEAD, rows), Table(head, modules, caption), *((Text(unread),) if count.unread else ())


def _backward(count: Count) -> Rows:
    """Lay out what training adds, and the whole step, in both conventions."""
    back, status = count.backward, str(count.status)
    if back is None:
        return ()
    again = (("computed again by fused attention", whole(back.recomputed), "not included"),) if back.recomputed else ()
    return (
        ("of the backward pass, dense", whole(back.macs), status),
        ("without masked pairs", whole(back.macs_masked), status),
        *again,
        ("of a training step, dense", whole(count.macs + back.macs), status),
        ("without masked pairs", whole(count.macs_masked + back.macs_masked), status),
    )


def _span(span: Span) -> tuple[Block, ...]:
    rows: Rows = (
        ("sequential steps", whole(span.steps), str(span.status)),
        ("steps as the code runs them", whole(span.op_steps), str(span.status)),
    )
    path = Text("longest chain: " + " → ".join(map(str, span.critical_path))) if span.critical_path else None
    return (Table(_HEAD, rows), path) if path is not None else (Table(_HEAD, rows),)


def _generation(generation: Generation) -> tuple[Block, ...]:
    rows: Rows = (
        ("sequential steps", bound(generation.steps), str(generation.steps.status)),
        ("fronts of symbols drawn at once", bound(generation.fronts), str(generation.fronts.status)),
        ("symbols", whole(generation.symbols), f"lag {generation.lag}"),
    )
    return (Table(_HEAD, rows),)


def _wavefronts(found: Wavefronts | Unavailable | None) -> tuple[Block, ...]:
    """Draw which positions are computed at once, to train (where they wait for one another) and to generate."""
    if found is None:
        return ()
    if isinstance(found, Unavailable):
        return (Text(f"wavefronts unknown: {found.reason}"),)
    waves = {"training": found.training if found.training.count > 1 else None, "generation": found.generation}
    return tuple(_front_map(what, wave) for what, wave in waves.items() if wave is not None)


def _front_map(what: str, wave: Wavefront) -> FrontMap:
    points = f"{whole(wave.count)} fronts of at most {whole(wave.widest)} positions, {wave.parallelism:.1f} on average"
    cells = wave.fronts.reshape(-1, wave.fronts.shape[-1])
    return FrontMap(cells, f"The wavefront of {what}: position ({', '.join(wave.axes)}) is in {wave}; {points}")


def _causality(causality: Causality) -> tuple[Block, ...]:
    rows = [
        ("causality", str(causality.verdict), str(causality.coverage)),
        ("lag", "depends on no input" if causality.lag is None else str(causality.lag), f"layout {causality.layout}"),
    ]
    if causality.witness is not None:
        rows.append(("leak", str(causality.witness), "confirmed" if causality.witness.confirmed else "by structure"))
    if causality.cross_batch is not None:
        rows.append(("across samples", str(causality.cross_batch), ""))
    return (Table(_HEAD, tuple(rows)),)


def _context(context: Context) -> tuple[Block, ...]:
    name = next(iter(context.seen))
    box = context.box(name) or {}
    rows = [
        ("positions seen", f"{whole(context.size)} of {whole(context.map.numel())}", str(context.coverage)),
        ("in which sense", str(context.sense), str(context)),
        ("receptive field", ", ".join(f"{a} {low} to {high}" for a, (low, high) in box.items()) or "empty", ""),
    ]
    if name in context.blind:
        always = context.always_blind[name]
        ever = (
            ""
            if always is None
            else f"{whole(int(always.sum()))} in any stack of copies, if all positions are treated alike"
        )
        rows.append(("earlier positions not seen", whole(int(context.blind[name].sum())), ever))
    drawn = context_map(context)
    table = Table(_HEAD, tuple(rows))
    return (table,) if drawn is None else (table, drawn)


def _gradient(gradient: GradientDepth) -> tuple[Block, ...]:
    rows: Rows = (
        ("verdict", gradient.verdict, "estimate"),
        ("log rate a stage", str(gradient.rate), f"seed {gradient.seed}"),
        ("law", str(gradient.law), "95 % interval"),
        *(() if gradient.underflow_depth else (("lost at depth", "unknown, as the law is", ""),)),
        *(
            (f"lost in {name} at depth", "never, at this rate" if depth is None else whole(depth), "from the law")
            for name, depth in gradient.underflow_depth.items()
        ),
    )
    drawn = gradient_curve(gradient)
    return (Table(_HEAD, rows),) if drawn is None else (Table(_HEAD, rows), drawn)


def gradient_curve(gradient: GradientDepth) -> Curve | None:
    """Draw the gradient's norm along the stages; None with fewer than two of them."""
    norms = tuple(stage.gradient.value for stage in gradient.stages)
    if len(norms) < 2 or not all(math.isfinite(norm) for norm in norms):
        return None
    depths = tuple(float(index) for index in range(len(norms)))
    first, last = gradient.stages[0].name, gradient.stages[-1].name
    caption = f"norm of the gradient where each stage begins, from {first} to {last}"
    return Curve(depths, (("gradient norm", norms),), "stage", "gradient norm", caption, log_y=min(norms) > 0)


def _memory(memory: Memory) -> tuple[Block, ...]:
    rows: Rows = (
        ("kept for the backward pass", size(memory.saved), str(memory.status)),
        ("parameters", size(memory.parameters), "proved"),
        ("gradients", size(memory.gradients), "proved"),
        ("outputs", size(memory.outputs), "proved"),
        ("peak, without the optimiser", size(memory.peak), "estimate"),
    )
    return (Table(_HEAD, rows),)


def _training(run: Run) -> tuple[Block, ...]:
    data = run.data
    rows = [
        ("data", f"{data['name']}, {data['levels']} levels", data["division"]),
        ("binarisation", str(data["binarisation"] or "none"), ""),
    ]
    if run.result is None:
        return Table(("", "", ""), tuple(rows)), Text("The run is not finished.")
    result = run.result
    rows += [
        ("test", f"{result.test.bits_per_dim:.4f} bits/dim", f"{result.test.nats_per_example} nats per example"),
        ("validation", f"{result.validation.bits_per_dim:.4f} bits/dim", "chosen on this part"),
        ("trained", f"{result.steps} steps in {result.seconds:.0f} s", f"seed {run.config.seed}"),
    ]
    return (Table(("", "", ""), tuple(rows)),)


_LEGEND = (
    ("·", "not earlier, not seen"),
    ("#", "seen"),
    ("o", "blind"),
    ("x", "blind in any stack of copies"),
    ("@", "the output's position"),
)


def context_map(context: Context) -> GridMap | None:
    """Draw the map of the first input with one or two axes; None if it has another number."""
    name, seen = next(iter(context.seen.items()))
    if seen.ndim not in (1, 2):
        return None
    cells = seen.long()
    if name in context.blind:
        cells[context.blind[name]] = 2
        always = context.always_blind[name]
        if always is not None:
            cells[always] = 3
    axes = context.axes[name]
    if set(axes) <= set(context.position):
        here = tuple(context.position[axis] for axis in axes)
        if not bool(seen[here]):
            cells[here] = 4
    used = sorted(set(cells.flatten().tolist()))
    cells = torch.searchsorted(torch.tensor(used), cells)
    place = ", ".join(f"{axis} = {index}" for axis, index in context.position.items())
    return GridMap(
        cells.reshape(1, -1).numpy() if cells.ndim == 1 else cells.numpy(),
        tuple(_LEGEND[value] for value in used),
        f"What the output at {place} sees of {name}",
    )
