"""Causality: whether every output depends only on inputs that come before it in an order, and how that is known."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.domains.compact import shrunk
from leadline.domains.dependence.algebra import Ranks
from leadline.domains.dependence.flow import Flow
from leadline.domains.dependence.perturbation import Prober
from leadline.domains.dependence.ranks import Latest, Search
from leadline.domains.dependence.signals.spectra import signals_of
from leadline.domains.dependence.witness import Witness, first_witness
from leadline.domains.engine import OnUnknown
from leadline.domains.values.pattern import NEGLIGIBLE, facts_of, finite_masks, masked_weights
from leadline.graph.layout import LayoutLike, Order
from leadline.graph.reading import Reading, batch_ranks
from leadline.results import Coverage, Result

Indexed: TypeAlias = tuple[Int[Tensor, "..."], Mapping[str, Int[Tensor, "..."]]]
"""Integers that order elements: those of the output, and those of inputs by name."""


class Verdict(StrEnum):
    """How an output's independence of later inputs is known, from best to worst."""

    STRUCTURAL = "structural"
    FINITE_MASK = "finite-mask"
    PRESENT_WEIGHTS = "present-weights"
    UNKNOWN = "unknown"
    LEAK = "leak"


@dataclass(frozen=True)
class Causality(Result):
    """The verdict on a model, its inputs' shapes and an order.

    Attributes
    ----------
    verdict
        `structural`: no weights and inputs can break it. `finite-mask`: it rests on softmax logits that a finite
        constant (at most -1e3) pushes down, which training can outweigh. `present-weights`: it rests on zeros that
        stand in parameters now, or on a branch that parameters decide now. `leak`: some output may depend on a later
        input. `unknown`: an operation without a rule is in the way; or a finite mask hides later inputs from all
        perturbations that were tried, where minus infinity would hide them by structure.
    lag
        The largest s such that output t depends only on inputs up to t - s, in ranks of the order; negative when it
        sees later inputs; None when it depends on no ordered input at all.
    strict
        Whether a lag of at least one was asked for.
    witness, cross_batch
        For a leak, an output and a later input on which it may depend; an output and an input of another sample (None:
        samples are independent, or only one was given).
    layout, training
        How the axes were read; whether the model was in training mode.
    coverage
        Which operations had a rule.
    """

    verdict: Verdict
    lag: int | None
    strict: bool
    witness: Witness | None
    cross_batch: Witness | None
    layout: str
    training: bool
    coverage: Coverage

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later input."""
        return self.verdict in (Verdict.STRUCTURAL, Verdict.FINITE_MASK, Verdict.PRESENT_WEIGHTS)

    def __str__(self) -> str:
        lag = f"looks {-self.lag} ahead" if self.lag is not None and self.lag < 0 else f"lag {self.lag}"
        text = f"{self.verdict}, {lag}" + ("" if self.witness is None else f": {self.witness}")
        return text + ("" if self.cross_batch is None else f"; across samples: {self.cross_batch}")


def _levels(reading: Reading) -> Iterator[tuple[Verdict, float, bool]]:
    """List the verdicts with what each may rest on, where that says more than the one before."""
    yield Verdict.STRUCTURAL, -torch.inf, False
    if finite_masks(reading):
        yield Verdict.FINITE_MASK, NEGLIGIBLE, False
    if masked_weights(reading):
        yield Verdict.PRESENT_WEIGHTS, NEGLIGIBLE, True


@public("causality")
def causality(
    model: nn.Module,
    *inputs: Any,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    strict: bool = False,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Causality:
    """Decide from the structure of a model whether its outputs depend on later inputs only where they may.

    Through every operation the latest input that each element may depend on is carried along: rounding, argmax,
    detached values and indices carry dependence as everything else does. So a certificate is a proof about the traced
    graph; a leak comes with a witness, which the real model is then asked to confirm. With `strict` a lag of at least
    one is asked for: output t must not depend on input t. The other arguments, and errors, are those of `read`.

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 3, padding=2)
    >>> class Causal(nn.Module):
    ...     def forward(self, x):
    ...         return self.conv(x)[..., :-2]
    >>> causal = Causal(); causal.conv = conv
    >>> result = causality(causal, torch.zeros(2, 1, 9), layout="b c t -> b v t")
    >>> result.verdict.value, result.lag
    ('structural', 0)
    """
    reading = Reading(model, inputs, kwargs, layout=layout, order=order, output=output)
    return causality_of(reading, strict=strict, on_unknown=on_unknown)


def causality_of(reading: Reading, *, strict: bool = False, on_unknown: OnUnknown = "raise") -> Causality:
    """Return the verdict on a reading, worked out once; see `causality`."""
    return reading.once(("causality", strict, on_unknown), lambda: _judged(reading, strict, on_unknown))


def _judged(reading: Reading, strict: bool, on_unknown: OnUnknown) -> Causality:
    prober = Prober(reading)
    least, own, seen = int(strict), *_by_position(reading)
    samples = _by_sample(reading)
    for verdict, floor, weights in _levels(reading):
        facts = facts_of(reading, floor=floor, weights=weights)
        search = Search(reading, Flow(signals_of(reading), facts, Ranks(), floor, cancelling=True), on_unknown)
        found, *across = search.latest(seen, *(theirs for _, theirs in samples))
        lag = _lag(own, found.ranks)
        if lag is None or lag >= least:
            witness = None
            verdict = Verdict.PRESENT_WEIGHTS if reading.graph.decided else verdict
            break
    else:
        witness = first_witness(search, found, own - least < found.ranks, prober)
        settled = witness.confirmed or (found.coverage.complete and not _meant_to_hide(reading, least, own, seen))
        verdict = Verdict.LEAK if settled else Verdict.UNKNOWN
    return Causality(
        verdict=verdict,
        lag=lag,
        strict=strict,
        witness=witness,
        cross_batch=_across(search, zip(samples, across, strict=True), prober),
        layout=str(reading.layout),
        training=reading.graph.training,
        coverage=found.coverage,
    )


def _meant_to_hide(reading: Reading, least: int, own: Tensor, seen: Mapping[str, Tensor]) -> bool:
    """Whether no output would see what it must not, if finite masks were minus infinity."""
    if not finite_masks(reading):
        return False
    facts = facts_of(reading, floor=NEGLIGIBLE, weights=masked_weights(reading), sunk=True)
    flow = Flow(signals_of(reading), facts, Ranks(), NEGLIGIBLE, cancelling=True)
    (found,) = Search(reading, flow, "top").latest(seen)
    lag = _lag(own, found.ranks)
    return lag is None or lag >= least


def _by_position(reading: Reading) -> Indexed:
    """Rank of every element of the output, compact, and of the inputs."""
    ranks = reading.ranks
    own = shrunk(reading.along(ranks, reading.output, reading.output_axes, reading.output_shape))
    seen = {
        name: reading.along(ranks, name, axes, reading.input_shape(name)) for name, axes in reading.input_axes.items()
    }
    return own, seen


def _lag(own: Int[Tensor, "..."], found: Int[Tensor, "..."]) -> int | None:
    own, found = torch.broadcast_tensors(own, found)
    gaps = (own - found)[found >= 0]
    return int(gaps.min()) if gaps.numel() else None


def _by_sample(reading: Reading) -> list[Indexed]:
    """Index of the sample, of every element of the output and of the inputs, from both ends; none for one sample.

    If the largest index that is seen is an element's own from either end, it sees its own sample alone.
    """
    own = batch_ranks(reading.output_shape, reading.output_axes)
    indices = {name: batch_ranks(reading.input_shape(name), axes) for name, axes in reading.input_axes.items()}
    seen = {name: index for name, index in indices.items() if index is not None}
    if own is None or not seen or int(own.max()) == 0:
        return []
    own = shrunk(own)
    last = max(int(index.max()) for index in (own, *seen.values()))
    return [(own, seen), (last - own, {name: last - index for name, index in seen.items()})]


def _across(search: Search, found: Iterable[tuple[Indexed, Latest]], prober: Prober) -> Witness | None:
    """Return a witness of dependence on another sample, if there is any such dependence."""
    for (own, _), latest in found:
        if bool((latest.ranks > own).any()):
            return first_witness(search, latest, latest.ranks > own, prober)
    return None
