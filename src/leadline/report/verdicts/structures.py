"""Verdicts on the structure of models, on laws, claims and whole audits."""

from __future__ import annotations

import re
from dataclasses import replace

from leadline.audit._compare import Comparison
from leadline.audit.audited import Audit, Unavailable
from leadline.claims.claim import Finding
from leadline.document import Card
from leadline.domains._causality import Causality, Verdict
from leadline.domains._context import Context
from leadline.domains._count import Count
from leadline.domains._generation import Generation
from leadline.domains._memory import Memory
from leadline.domains._span import Span
from leadline.errors import as_options
from leadline.jacobian import GradientDepth, Remedies
from leadline.recurrence import Laws, System
from leadline.recurrence.analysis.schedule import Wavefronts
from leadline.report.figures import QUANTITIES, depths_of, figures, sides_of
from leadline.report.folding import folded
from leadline.report.mathematics import Sentence
from leadline.report.numbers import bound, magnitude, places, size, whole
from leadline.report.verdicts.cards import cards
from leadline.results import Place, Result
from leadline.sampling import Exported, Narrowed

_LITTLE_IDLE = 0.95
"""Masked pairs below one in twenty are not worth a word."""

_PASSED = 4
"""So many places of a leak's way are named."""

_OVERLOAD = re.compile(r"^aten\.|\.(default|Tensor|int|Scalar)$")


_CERTIFIED = {
    Verdict.STRUCTURAL: ("good", "proved", ""),
    Verdict.FINITE_MASK: (
        "notice",
        "finite mask",
        "the masks are finite numbers, which training can outweigh: mask with -inf or a boolean mask",
    ),
    Verdict.PRESENT_WEIGHTS: (
        "notice",
        "these weights",
        "it rests on weights that are zero now, which training can change: mask them in forward",
    ),
}


@cards.register
def _(result: Causality, *, rate: float | None = None) -> tuple[Card, ...]:
    found = [_causal(result, rate) if result.causal else _not_causal(result, rate)]
    if result.cross_batch is not None:
        text = "samples of a batch mix: " + str(result.cross_batch).partition("\n")[0]
        found.append(
            Card(
                "bad", "batch", text, "", "batch norm in training mode does so: call model.eval(), or normalise others"
            )
        )
    return tuple(found)


def _causal(result: Causality, rate: float | None) -> Card:
    mark, known, advice = _CERTIFIED[result.verdict]
    if result.lag is None:
        return Card("notice", "causality", "no output depends on any input in the order", known, advice)
    if result.lag < 2:
        sees = "earlier inputs only, not its own" if result.lag else "its own input and earlier ones only"
    else:
        sees = f"inputs at least {places(result.lag, rate)} back only"
    return Card(mark, "causality", f"causal: an output sees {sees}", known, advice)  # type: ignore[arg-type]


def _not_causal(result: Causality, rate: float | None) -> Card:
    witness, lag = result.witness, result.lag
    if result.verdict is Verdict.UNKNOWN:
        if result.coverage.complete:
            text = "not known: a finite mask hides later inputs from all perturbations tried, but not by structure"
            return Card("unknown", "causality", text, "unknown", "mask by minus infinity")
        gaps = ", ".join(map(str, result.coverage.gaps[:2]))
        return Card("unknown", "causality", f"not known: no rule for {gaps}", "unknown", "write a rule, or replace it")
    if lag is not None and lag < 0:
        text = f"leaks: an output looks {places(-lag, rate)} ahead"
    else:
        text = f"not strictly causal: an output sees its own input (lag {lag}), where a lag of 1 was asked for"
    known = "confirmed" if witness is not None and witness.confirmed else "by structure"
    if witness is None or not witness.path:
        return Card("bad", "causality", text, known, "")
    advice = f"look at {_way(witness.path)}: a mask, shift or padding is off, unless looking ahead is meant"
    return Card("bad", "causality", text, known, advice)


def _way(path: tuple[Place, ...]) -> str:
    """Name the places that a leak passes, from the input to the output; of many, those at both ends."""
    spots = list(dict.fromkeys(map(_spot, path)))
    return " → ".join(spots if len(spots) <= _PASSED else [*spots[: _PASSED - 2], "…", spots[-1]])


def _spot(place: Place) -> str:
    """Name a module, and a line of the user's own."""
    return f"'{place.module}'" if place.module and str(place.source).startswith("torch/") else str(place)


@cards.register
def _(result: Context, *, rate: float | None = None) -> tuple[Card, ...]:
    least = "at least " if result.borders else ""
    text = f"an output sees {least}{places(result.size, rate)} of {whole(result.map.numel())}"
    sides = sides_of(result)
    if len(sides) == 1:
        ((back, ahead),) = sides.values()
        ways = [f"{places(count, rate)} {way}" for count, way in ((back, "back"), (ahead, "ahead")) if count > 0]
        text += f": {' and '.join(ways)}" if ways else ""
    elif sides:
        ways = [f"{axis} {back} back, {ahead} ahead" for axis, (back, ahead) in sides.items()]
        text += f" ({'; '.join(ways)})"
    known = "proved" if result.coverage.complete else "bound"
    advice = "; ".join(
        f"lengthen {axis} to {whole(border.length)} to see its end"
        for axis, border in result.borders.items()
        if border.length
    )
    found = [Card("plain", "context", text, known, advice)]
    blind = next((int(hidden.sum()) for hidden in result.blind.values()), 0)
    if blind and not _one_window(result):
        always = next(iter(result.always_blind.values()))
        hidden = 0 if always is None else int(always.sum())
        some = "" if hidden == blind else f"{whole(hidden)} of them "
        ever = f", {some}however many copies are stacked" if hidden else ""
        earlier = f"{whole(blind)} earlier position{'' if blind == 1 else 's'}"
        found.append(
            Card(
                "notice",
                "blind",
                f"an output does not see {earlier}{ever}",
                known,
                "the map in --full shows them",
            )
        )
    return tuple(found)


def _one_window(context: Context) -> bool:
    """Whether all that is seen stands in one piece on a line, so that what is not seen lies before it."""
    box = context.box()
    return context.map.ndim == 1 and box is not None and all(hi - lo + 1 == context.size for lo, hi in box.values())


@cards.register
def _(result: Generation, *, rate: float | None = None) -> tuple[Card, ...]:
    steps, fronts, symbols = result.steps, result.fronts, result.symbols
    text = f"{bound(steps)} steps to generate {whole(symbols)} symbol{'' if symbols == 1 else 's'}"
    if fronts.hi < symbols:
        text += f", {symbols / fronts.hi:.3g} at once in {bound(fronts)} fronts"
        return (Card("good", "generation", text, str(steps.status), "leadline.stream draws front by front"),)
    return (Card("plain", "generation", text + ", one at a time", str(steps.status)),)


@cards.register
def _(result: Wavefronts, *, rate: float | None = None) -> tuple[Card, ...]:
    waves = {"training": result.training, "generation": result.generation}
    text = "; ".join(f"{name} in {whole(w.count)} fronts ({w})" for name, w in waves.items() if w is not None)
    return (Card("plain", "wavefronts", text, "proved"),)


@cards.register
def _(result: Span, *, rate: float | None = None) -> tuple[Card, ...]:
    one = result.steps == 1
    text = f"{whole(result.steps)} step{'' if one else 's'} must follow one another"
    if result.op_steps <= result.steps:
        return (Card("plain", "steps", text, str(result.status)),)
    text += f"; the code takes {whole(result.op_steps)}"
    advice = f"run layers as a pipeline, or a fused kernel, to save up to {result.op_steps / result.steps:.3g} ×"
    return (Card("notice", "steps", text, str(result.status), advice),)


@cards.register
def _(result: Count, *, rate: float | None = None) -> tuple[Card, ...]:
    text = f"{magnitude(result.macs)} multiply-accumulates, {magnitude(result.parameters)} parameters"
    advice = ""
    if most := _where(result):
        text += f"; {most}"
    if result.macs and result.macs_masked < _LITTLE_IDLE * result.macs:
        idle = 100 * (1 - result.macs_masked / result.macs)
        advice = f"masks leave {idle:.2g} % of them idle: kernels that know the mask skip them"
    found = [Card("plain", "work", text, str(result.status), advice)]
    if result.backward is not None:
        step = magnitude(result.macs + result.backward.macs)
        found.append(Card("plain", "training", f"{step} multiply-accumulates a training step", str(result.status)))
    if result.unread:
        missing = ", ".join(map(_in_users_words, result.unread[:2])) + (" …" if len(result.unread) > 2 else "")
        found.append(Card("notice", "unused", f"no output rests on {missing}", "proved", "remove it, or return it"))
    return tuple(found)


def _in_users_words(node: object) -> str:
    """Name an operation as users call it: ``conv1d at blocks.3``, where torch says ``aten.conv1d.default``."""
    operation, at, place = str(node).partition(" at ")
    return f"{_OVERLOAD.sub('', operation)}{at}{place}"


def _where(count: Count) -> str:
    """Say where most of the work is, where that is in equal blocks or one module among several."""
    groups = folded({path: (tally.macs, tally.parameters) for path, tally in count.by_module.items()})
    work = [(sum(macs for _, (macs, _) in group.members) * group.times, group) for group in groups]
    most, largest = max(work, key=lambda pair: pair[0], default=(0, None))
    if largest is None or 2 * most < count.macs or len(count.by_module) < 2:
        return ""
    name = largest.name() if largest.times > 1 else f"'{largest.name()}'"
    return f"{100 * most / count.macs:.3g} % of it in {name}"


@cards.register
def _(result: Memory, *, rate: float | None = None) -> tuple[Card, ...]:
    text = f"{size(result.saved)} kept for the backward pass, about {size(result.peak)} at the peak"
    return (Card("plain", "memory", text, str(result.status)),)


@cards.register
def _(result: Laws, *, rate: float | None = None) -> tuple[Card, ...]:
    named = {name: getattr(result, field) for field, name in QUANTITIES.items()}
    return tuple(
        Card("plain", name, str(law), figures(law)[0].status) for name, law in named.items() if law is not None
    )


@cards.register
def _(result: System, *, rate: float | None = None) -> tuple[Card, ...]:
    grid = " × ".join(f"{axis} = {n}" for axis, n in zip(result.axes, result.sizes, strict=True))
    text = (
        f"{len(result.variables)} variables over {grid}, from {', '.join(result.inputs)} to {result.output}, "
        f"which read one another {len(result.edges)} times"
    )
    return (Card("plain", "system", text, "proved"),)


@cards.register
def _(result: Exported, *, rate: float | None = None) -> tuple[Card, ...]:
    where, length = result.files[0], "any number of" if result.length is None else f"at most {whole(result.length)}"
    runs = "C compiler" if where.endswith(".c") else "onnxruntime"
    known = f"not compared: this system has no {runs}"
    if result.difference is not None:
        known = (
            f"within {result.difference:.1g} of the model's own forward pass over {whole(result.positions)} positions"
        )
    text = (
        f"{where} takes {length} positions, {whole(result.multiply_adds)} multiply-adds each, and keeps "
        f"{size(result.state_bytes)}; {known}"
    )
    return (Card("good" if result.difference is not None else "notice", "exported", text, str(result.status)),)


@cards.register
def _(result: Narrowed, *, rate: float | None = None) -> tuple[Card, ...]:
    text = f"outputs differ by up to {result.largest:.2g} on {result.difference.n} {result.data} sequences"
    if result.score is not None:
        text += f"; a symbol costs {result.score} nats more"
    return (Card("plain", f"weights as {result.weights}", text, str(result.status)),)


@cards.register
def _(result: Finding, *, rate: float | None = None) -> tuple[Card, ...]:
    good = str(result.verdict) in ("proved", "measured")
    said = Sentence(result.statement)
    return (Card("good" if good else "notice", f"{result.id} {result.title}", said, str(result.verdict)),)


@cards.register
def _(result: Audit, *, rate: float | None = None) -> tuple[Card, ...]:
    shared = _shared_reason(result)
    found: list[Card] = []
    if result.assumed:
        advice = "if that is wrong, name them with " + ("--layout" if result.command else "layout=")
        found.append(Card("notice", "axes", result.assumed.removeprefix("axes "), "assumed", advice))
    for name, depth in depths_of(result):
        if not isinstance(depth, Unavailable):
            own = () if isinstance(depth, Wavefronts | Remedies) else cards(depth, rate=rate or result.rate)
            if isinstance(depth, GradientDepth) and isinstance(result.remedies, Remedies):
                own = (replace(own[0], advice=result.remedies.advice), *own[1:])  # they are tried on the first chain
            found += own
        elif depth.reason != shared and name != "wavefronts":
            found += _unavailable(name, depth, result)
    if shared:
        found.insert(0, _once(shared, result))
    return tuple(found)


def _shared_reason(audit: Audit) -> str:
    """Return the reason that several depths share, which is said once."""
    reasons = [depth.reason for _, depth in depths_of(audit) if isinstance(depth, Unavailable)]
    return next((reason for reason in reasons if reasons.count(reason) > 1), "")


def _once(reason: str, audit: Audit) -> Card:
    names = [name for name, d in depths_of(audit) if isinstance(d, Unavailable) and d.reason == reason]
    names = [name for name in names if name != "wavefronts"]
    return Card("unknown", "not taken", f"{', '.join(names)}: {_pasteable(reason, audit)}", "unknown")


def _pasteable(reason: str, audit: Audit) -> str:
    """Return a reason whose proposals fit where the audit was asked for: in a shell, or in Python."""
    return as_options(reason) if audit.command else reason


def _unavailable(name: str, depth: Unavailable, audit: Audit) -> tuple[Card, ...]:
    causality = audit.causality
    if name == "generation" and isinstance(causality, Unavailable) and causality.asked:
        return ()  # causality says why
    if name == "generation" and isinstance(causality, Causality) and not causality.causal:
        return (Card("plain", name, "nothing can be generated in this order: the model is not causal"),)
    if name == "reach" and depth.error == "LayoutError" and audit.layout:
        return (Card("plain", name, _pasteable(depth.reason, audit)),)
    if name == "causality" and audit.layout:
        return (Card("plain", name, _pasteable(depth.reason, audit)),)  # axes without an order are nothing wrong
    return (Card("unknown", name, _pasteable(depth.reason, audit), "unknown"),)


@cards.register
def _(result: Comparison, *, rate: float | None = None) -> tuple[Card, ...]:
    return tuple(
        Card(cards(audit.causality)[0].mark, audit.title, _in_a_line(audit.causality, audit.gradient))
        for audit in result.audits
    )


def _in_a_line(*depths: Result) -> str:
    return "; ".join(_first_words(cards(depth)[0]) for depth in depths)


def _first_words(card: Card) -> str:
    words = card.text.partition(":")[0].partition(";")[0]
    return f"{card.subject} {words}" if card.subject == "gradient" else words
