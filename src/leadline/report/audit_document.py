"""An audit as a document: one section for each depth."""

from collections.abc import Callable
from typing import TypeVar

from leadline.audit.audited import Audit, Unavailable
from leadline.document import Block, ContextMaps, Document, Fold, FrontMap, Row, Section, Table, Text
from leadline.domains._causality import Causality
from leadline.domains._context import Context
from leadline.domains._count import Count
from leadline.domains._generation import Generation
from leadline.domains._memory import Memory
from leadline.domains._span import Span
from leadline.jacobian import GradientChain, GradientDepth, Reach, Remedies
from leadline.recurrence.analysis.schedule import Wavefront, Wavefronts
from leadline.report.drawings.curves import gradient_curve, training_curve
from leadline.report.drawings.maps import context_map
from leadline.report.drawings.modules import memory_bars, module_table
from leadline.report.drawings.monitored import monitor_curves
from leadline.report.drawings.reaches import reach_map
from leadline.report.folding import folded_chain
from leadline.report.numbers import bound, factor, places, shape, size, whole
from leadline.report.reproducing import how_to_repeat
from leadline.report.verdicts import cards
from leadline.training import Run

Depth = TypeVar("Depth")
Rows = tuple[tuple[str, ...], ...]

_HEAD = ("", "value", "status")


def describe_audit(
    audit: Audit,
    run: Run | None = None,
    samples: tuple[Block, ...] = (),
    seen: ContextMaps | None = None,
    *,
    full: bool = True,
) -> Document:
    """Lay an audit out: its verdicts, and of a trained model also its scores and samples; all figures if `full`.

    With what outputs at many positions have `seen`, a page lets its readers choose one.
    """
    sections = _sections(audit, seen) if full else []
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
    more = "" if full or not audit.command else "more: --full, --html PAGE.html, --json FILE"
    return tuple(filter(None, (*how_to_repeat(audit.command, f"seed {audit.seed}"), more)))


def _sections(audit: Audit, seen: ContextMaps | None) -> list[Section]:
    """Lay out every depth that was asked for."""
    context = _or_why(audit.context, lambda found: _context(found, seen))
    sections = (
        Section("Context depth", (*_or_why(audit.causality, _causality), *context)),
        Section("Reach of the gradient", _or_why(audit.reach, _reach)),
        Section("Generation", (*_or_why(audit.generation, _generation), *_wavefronts(audit.wavefronts))),
        Section("Sequential depth", (*_or_why(audit.span, _span), *_or_why(audit.count, _count))),
        Section("Gradient depth", (*_or_why(audit.gradient, _gradient), *_remedies(audit.remedies))),
        Section("Memory to train", _or_why(audit.memory, _memory)),
        Section("Modules", module_table(audit)),
    )
    return [Section(section.heading, _figures_first(section.blocks)) for section in sections if section.blocks]


def _figures_first(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Put what is looked at before what is read."""
    return tuple(sorted(blocks, key=lambda block: isinstance(block, Text | Table | Fold)))


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
    unread = f"not counted, since no output rests on it: {', '.join(map(str, count.unread))}"
    return Table(_HEAD, rows), *((Text(unread),) if count.unread else ())


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
    return Table(_HEAD, rows), *((Fold("The longest chain", (Text("\n".join(chain)),)),) if chain else ())


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


def _context(context: Context, seen: ContextMaps | None) -> tuple[Block, ...]:
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
    drawn = seen or context_map(context)
    table = Table(_HEAD, tuple(rows))
    return (table,) if drawn is None else (table, drawn)


def _gradient(gradient: GradientDepth) -> tuple[Block, ...]:
    """Lay out what the gradient does through each chain of stages: beside the first the others, under their names."""
    alone = not gradient.beside
    first = _chain(gradient, f"seed {gradient.seed}", "" if alone else _titled(gradient))
    beside = (block for chain in gradient.beside for block in _chain(chain, f"seed {gradient.seed}", _titled(chain)))
    missing = (Text(f"through {name}: unknown: {why}") for name, why in gradient.not_measured.items())
    return *first, *beside, *missing


def _titled(chain: GradientChain) -> str:
    return f"Through {chain.name}"


def _chain(gradient: GradientChain, seed: str, caption: str) -> tuple[Block, ...]:
    rows: Rows = (
        ("verdict", gradient.verdict, "estimate"),
        ("log rate a stage", str(gradient.rate), seed),
        ("law", str(gradient.law), "95 % interval"),
        ("through all stages", factor(gradient.total.value), f"{whole(len(gradient.stages))} stages"),
        *(
            (
                f"through {words} as many",
                "unknown, as the law is" if log is None else factor(log),
                "from the law" if gradient.sure else "if they go on so",
            )
            for words, log in (("twice", gradient.twice), ("ten times", gradient.tenfold))
        ),
        *(() if gradient.underflow_depth else (("lost at depth", "unknown, as the law is", ""),)),
        *(
            (f"lost in {name} at depth", "never, at this rate" if depth is None else whole(depth), "from the law")
            for name, depth in gradient.underflow_depth.items()
        ),
    )
    drawn = gradient_curve(gradient)
    return (Table(_HEAD, rows, caption),) if drawn is None else (Table(_HEAD, rows, caption), drawn)


def _remedies(found: Remedies | Unavailable | None) -> tuple[Block, ...]:
    """Lay out what was tried: what is left of the rate, the one that leaves least first."""
    if found is None or isinstance(found, Unavailable):
        return () if found is None else (Text(f"no remedies were tried: {found.reason}"),)
    rows = tuple((each.name, str(each.rate), factor(each.total.value), each.kind) for each in found.tried)
    as_it_is = ("as it is", str(found.before.rate), factor(found.before.total.value), found.before.kind)
    head = ("tried on a copy", "log rate a stage", "through all stages", "verdict")
    return (Table(head, (as_it_is, *rows), "What mends the gradient"),)


def _reach(reach: Reach) -> tuple[Block, ...]:
    at = ", ".join(f"{axis} = {place}" for axis, place in zip(reach.axes, reach.positions[-1], strict=True))
    measured = f"seed {reach.seed}" if bool(reach.sem.any()) else "no chance in it"
    rows: Rows = (
        *((f"{share:.0%} of the squared gradient within", places(reach.within(share)), measured)
          for share in (0.5, 0.9, 0.99)),
        ("from the output at", at, f"input {reach.input}"),
        *([] if reach.used is None else [("of the positions seen, 99 % lies in", f"{reach.used:.2%}", "estimate")]),
        ("law over distance", str(reach.law), "95 % interval"),
        *([] if reach.half_life is None else [("half-life", f"{reach.half_life:.4g} positions", "from the law")]),
        *(
            (f"lost in {name} at distance", "never" if far is None else whole(far), "")
            for name, far in reach.lost_at.items()
        ),
    )  # fmt: skip
    drawn = reach_map(reach)
    return (Table(_HEAD, rows),) if drawn is None else (Table(_HEAD, rows), drawn)


def _memory(memory: Memory) -> tuple[Block, ...]:
    rows: Rows = (
        ("kept for the backward pass", size(memory.saved), str(memory.status)),
        ("parameters", size(memory.parameters), "proved"),
        ("gradients", size(memory.gradients), "proved"),
        ("outputs", size(memory.outputs), "proved"),
        ("peak, without the optimiser", size(memory.peak), "estimate"),
    )
    drawn = memory_bars(memory)
    return (Table(_HEAD, rows),) if drawn is None else (Table(_HEAD, rows), drawn)


def _training(run: Run) -> tuple[Block, ...]:
    data = run.data
    rows = [
        ("data", f"{data['name']}, {data['levels']} levels", data["division"]),
        ("binarisation", str(data["binarisation"] or "none"), ""),
    ]
    if run.result is None:
        return Table(("", "", ""), tuple(rows)), Text("The run is not finished.")
    result = run.result
    drawn = tuple(filter(None, (training_curve(run), *monitor_curves(run))))
    rows += [
        ("test", f"{result.test.bits_per_dim:.4f} bits/dim", f"{result.test.nats_per_example} nats per example"),
        ("validation", f"{result.validation.bits_per_dim:.4f} bits/dim", "chosen on this part"),
        ("trained", f"{result.steps} steps in {result.seconds:.0f} s", f"seed {run.config.seed}"),
    ]
    return (Table(("", "", ""), tuple(rows)), *((Row(drawn),) if len(drawn) > 1 else drawn))
