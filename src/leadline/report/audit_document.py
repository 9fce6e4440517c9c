"""An audit as a document: one section for each depth."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch

from leadline.audit.audited import Audit, Unavailable
from leadline.document import Block, Curve, Document, FrontMap, GridMap, Section, Table, Text
from leadline.domains._causality import Causality
from leadline.domains._context import Context
from leadline.domains._count import Count, Tally
from leadline.domains._generation import Generation
from leadline.domains._memory import Memory
from leadline.domains._span import Span
from leadline.jacobian import GradientDepth
from leadline.recurrence.analysis.schedule import Wavefront, Wavefronts
from leadline.report.folding import folded, folded_chain
from leadline.report.numbers import bound, places, shape, size, whole
from leadline.report.verdicts import cards
from leadline.training import Run

Depth = TypeVar("Depth")
Rows = tuple[tuple[str, ...], ...]

_HEAD = ("", "value", "status")
_MODULES = 12
_BY_MODULE = "By module, equal blocks together"


def describe_audit(
    audit: Audit, run: Run | None = None, samples: tuple[Block, ...] = (), *, full: bool = True
) -> Document:
    """Lay an audit out: its verdicts, and of a trained model also its scores and samples; all figures if `full`."""
    sections = _sections(audit) if full else []
    if run is not None:
        sections.append(Section("Training", _training(run)))
    if samples:
        sections.append(Section("Samples", samples))
    inputs = ", ".join(f"{name} {shape(sizes)}" for name, sizes in audit.inputs.items())
    mode = "training" if audit.training else "evaluation"
    subtitle = f"{inputs}{f' as {audit.layout}' if audit.layout else ''} · {audit.dtype} · {mode} mode"
    return Document(audit.title, subtitle, tuple(sections), cards(audit), _footer(audit, full))


def _footer(audit: Audit, full: bool) -> tuple[str, ...]:
    """Say how to see the same again, and how to see more."""
    versions = f"leadline {audit.leadline} · torch {audit.torch} · seed {audit.seed}"
    again = f"reproduce: {audit.command}" if audit.command else ""
    more = "" if full or not audit.command else "more: --full, --html PAGE.html, --json FILE"
    return tuple(filter(None, (again, versions, more)))


def _sections(audit: Audit) -> list[Section]:
    """Lay out every depth that was asked for."""
    sections = (
        Section("Context depth", (*_or_why(audit.causality, _causality), *_or_why(audit.context, _context))),
        Section("Generation", (*_or_why(audit.generation, _generation), *_wavefronts(audit.wavefronts))),
        Section("Sequential depth", (*_or_why(audit.span, _span), *_or_why(audit.count, _count))),
        Section("Gradient depth", _or_why(audit.gradient, _gradient)),
        Section("Memory to train", _or_why(audit.memory, _memory)),
    )
    return [section for section in sections if section.blocks]


def _or_why(result: Depth | Unavailable, describe: Callable[[Depth], tuple[Block, ...]]) -> tuple[Block, ...]:
    """Describe a result, or say why it is not known; nothing where it was not asked for."""
    if isinstance(result, Unavailable):
        return (Text(f"unknown: {result.reason}"),) if result.asked else ()
    return describe(result)


def _count(count: Count) -> tuple[Block, ...]:
    rows: Rows = (
        ("connections", whole(count.connections), str(count.status)),
        ("multiply-accumulates, dense", whole(count.macs), str(count.status)),
        ("without masked pairs", whole(count.macs_masked), str(count.status)),
        *_backward(count),
        ("parameters", whole(count.parameters), "proved"),
        ("covered", str(count.coverage), ""),
    )
    modules = _rows_of_modules(count)
    left = len(modules) - _MODULES
    caption = _BY_MODULE + (f"; the {_MODULES} largest of {len(modules)}" if left > 0 else "")
    head = ("module", "connections", "multiply-accumulates", "parameters")
    unread = f"not counted, since no output rests on it: {', '.join(map(str, count.unread))}"
    return Table(_HEAD, rows), Table(head, modules[:_MODULES], caption), *((Text(unread),) if count.unread else ())


def _rows_of_modules(count: Count) -> Rows:
    """Lay out what each module does, equal ones of equal blocks together, the largest first."""
    groups = folded({path: (tally.macs, tally.parameters) for path, tally in count.by_module.items()})
    rows = [
        (group.name(member), sum((count.by_module[path] for path in group.paths(member)), Tally()))
        for group in groups
        for member, _ in group.members
    ]
    rows.sort(key=lambda row: (-row[1].macs, -row[1].parameters))
    return tuple((name, whole(t.connections), whole(t.macs), whole(t.parameters)) for name, t in rows)


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
    chain = folded_chain((step.place.module, f"{step.steps} × {_short(step.op)}") for step in span.critical_path)
    lines = Text("longest chain:\n" + "\n".join(f"  {line}" for line in chain)) if chain else None
    return (Table(_HEAD, rows), lines) if lines is not None else (Table(_HEAD, rows),)


def _short(op: str) -> str:
    """Return an operation's name without its namespace and overload."""
    return op.removeprefix("aten.").removesuffix(".default")


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
        ("sees", _lag_in_words(causality.lag), f"layout {causality.layout}"),
    ]
    if causality.witness is not None:
        rows.append(("leak", str(causality.witness), "confirmed" if causality.witness.confirmed else "by structure"))
    if causality.cross_batch is not None:
        rows.append(("across samples", str(causality.cross_batch), ""))
    return (Table(_HEAD, tuple(rows)),)


def _lag_in_words(lag: int | None) -> str:
    """Say how far behind or ahead of an output the latest input is that it depends on."""
    if lag is None:
        return "no input"
    if lag < 0:
        return f"up to {places(-lag)} ahead"
    return f"up to {places(lag)} back (lag {lag})" if lag else "up to its own position (lag 0)"


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
        hidden, ever = int(context.blind[name].sum()), ""
        if always is not None and hidden:
            ever = f"{whole(int(always.sum()))} in any stack of copies, if all positions are treated alike"
        rows.append(("earlier positions not seen", whole(hidden), ever))
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
    kept = ((group.name(member), group.times * n) for group in folded(memory.by_module) for member, n in group.members)
    largest = sorted(kept, key=lambda row: -row[1])[:_MODULES]
    rows: Rows = (
        ("kept for the backward pass", size(memory.saved), str(memory.status)),
        ("parameters", size(memory.parameters), "proved"),
        ("gradients", size(memory.gradients), "proved"),
        ("outputs", size(memory.outputs), "proved"),
        ("peak, without the optimiser", size(memory.peak), "estimate"),
    )
    modules = tuple((name, size(n)) for name, n in largest)
    return Table(_HEAD, rows), Table(("module", "kept"), modules, _BY_MODULE)


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
