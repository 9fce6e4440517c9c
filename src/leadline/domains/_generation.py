"""How many steps must follow one another to generate: each symbol is drawn from an output, and read by later ones.

Every input position becomes ready when it is drawn, which is when the output it is drawn from is there; that output
waits for the inputs it depends on, all of them drawn before. So there is one fixed point of one pass of the depth
domain, reached from zero in as many passes as there are fronts of symbols that can be drawn at once. Times that repeat
themselves, later by a constant, are guessed long before, and one more pass shows whether the guess is the fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import nn

from leadline.domains._causality import Causality, causality_of
from leadline.domains.arguments import public
from leadline.domains.compact import shrunk
from leadline.domains.dependence.algebra import Ranks
from leadline.domains.dependence.depths import Depths
from leadline.domains.dependence.flow import Links
from leadline.domains.dependence.rules import walk_by
from leadline.domains.engine import OnUnknown
from leadline.domains.extrapolation import extrapolated
from leadline.domains.values.pattern import pattern_of
from leadline.errors import LayoutError, NotCausal
from leadline.graph import Kind, Node, Reading
from leadline.graph.layout import LayoutLike, Order, projected
from leadline.results import Bound, Result, Status

_PASSES = 256
"""Fronts that are followed; beyond, what no guess has found is a bound."""

_GUESSES = (12, 24, 48, 96, 192)
"""Passes after which the rest is guessed: a guess costs as much as a pass."""


@dataclass(frozen=True)
class Generation(Result):
    """What must happen one after the other while a model generates one sample.

    Attributes
    ----------
    steps
        Contractions on the longest chain: no schedule of the same arithmetic needs fewer steps. Those of the first
        symbol count, though they read constants only.
    fronts, symbols
        Groups of symbols that can be drawn at once, one after the other; raster order draws all `symbols` so.
    lag
        1 where a position's own output is its distribution, 0 where it is the next one's.
    """

    steps: Bound
    fronts: Bound
    symbols: int
    lag: int


@public("generation")
def generation(
    model: nn.Module,
    *inputs: Any,
    lag: int | None = None,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Generation:
    """Find how many steps, and fronts, it takes to generate all positions of the input that is drawn.

    With a `lag` (default: the one that `causality` finds) of 1 or more the symbol at a position is drawn from the
    output there; with 0 from the output one place earlier in the order, the first one being given. A negative one is
    `NotCausal`; and it is a `LayoutError` if no single input shares its positions with the output. The rest is as in
    `read`.

    Examples
    --------
    Three masked 3 × 3 layers over 4 × 6 pixels: a front runs two columns behind the one above it.

    >>> from leadline.zoo import build
    >>> stack = build("masked-stack", layers=3, channels=2, height=4, width=6)
    >>> found = generation(stack.model, *stack.inputs, layout=stack.layout)
    >>> int(found.fronts.hi), int(found.steps.hi)
    (12, 36)
    """
    reading = Reading(model, inputs, kwargs, layout=layout, order=order, output=output)
    return generation_of(reading, lag, on_unknown=on_unknown)


def generation_of(reading: Reading, lag: int | None = None, *, on_unknown: OnUnknown = "raise") -> Generation:
    """Return what generating from a reading takes, worked out once; see `generation`. The lag defaults to its own."""
    lag = lag_of(causality_of(reading, on_unknown=on_unknown)) if lag is None else lag
    return reading.once(("generation", lag, on_unknown), lambda: _generated(reading, lag, on_unknown))


def lag_of(verdict: Causality) -> int:
    """Return the lag of a verdict; `NotCausal` if no output depends on an input."""
    if verdict.lag is None:
        raise NotCausal("no output depends on any input: there is nothing to generate step by step")
    return verdict.lag


def _generated(reading: Reading, lag: int, on_unknown: OnUnknown) -> Generation:
    if lag < 0:
        raise NotCausal(f"the model sees inputs {-lag} places ahead: nothing can be generated from it in this order")
    flow = Depths(reading.graph, pattern_of(reading).counted, Ranks())
    return Generation(
        steps=_settled(reading, flow, lag, 0, on_unknown),
        fronts=_settled(reading, replace(flow, costs={}), lag, 1, on_unknown),
        symbols=reading.ranks.numel(),
        lag=min(lag, 1),
    )


def _drawn(reading: Reading) -> str:
    """Name the one input that is drawn."""
    whole = [name for name, axes in reading.input_axes.items() if set(reading.layout.positions) <= set(axes)]
    if len(whole) != 1 or not set(reading.layout.positions) <= set(reading.output_axes):
        raise LayoutError(f"the layout '{reading.layout}' has no single input whose positions are those of the output")
    return whole[0]


def _settled(reading: Reading, flow: Depths, lag: int, draw: int, on_unknown: OnUnknown) -> Bound:
    """Find the fixed point of drawings that take `draw` each; each pass settles one more front."""
    drawn, ranks = _drawn(reading), reading.ranks

    def after(ready: Int[torch.Tensor, "..."]) -> Int[torch.Tensor, "..."]:
        return _done(reading, flow, drawn, ready, on_unknown) + draw

    def read(done: Int[torch.Tensor, "..."]) -> Int[torch.Tensor, "..."]:
        return done if lag >= 1 else _one_later(done, ranks)

    done = after(torch.zeros_like(ranks))
    first = int(done.max())
    for number in range(1, min(_PASSES, ranks.numel() + 1)):
        before, done = done, after(read(done))
        if torch.equal(before, done):
            break
        guess = extrapolated(done, before == done, ranks) if number in _GUESSES else None
        if guess is not None and torch.equal(after(read(guess)), guess):
            done = guess
            break
    else:
        everything = max(int(done.max()), first * ranks.numel())
        waiting = ("at most every symbol waits for the whole of the one before it",)
        return Bound(int(done.max()), everything, Status.BOUND, waiting)
    return Bound(int(done.max()), int(done.max()), Status.PROVED)


def _done(
    reading: Reading, flow: Depths, drawn: str, ready: Int[torch.Tensor, "..."], on_unknown: OnUnknown
) -> Int[torch.Tensor, "..."]:
    """Return when each position's output is there, from the times at which inputs are ready."""
    times = reading.along(ready, drawn, reading.input_axes[drawn], reading.input_shape(drawn)).to(torch.float32)

    def leaf(node: Node) -> Links:
        if node.kind is Kind.INPUT and node.name == drawn:
            return 1 + shrunk(times)
        # Weights are there from the start, so that what reads only them and constants is a step too.
        return torch.ones((1,) * len(node.shape)) if node.kind in (Kind.INPUT, Kind.PARAMETER) else None

    (walked,) = walk_by(flow, leaf, rules=flow.rules(), on_unknown=on_unknown, output=reading.output)
    links = walked.values[reading.graph.outputs[reading.output]]
    if links is None:
        return torch.zeros_like(ready)
    done = projected(links, reading.output_axes, reading.layout.positions).expand(ready.shape)
    return (done - 1).clamp(min=0).long()


def _one_later(done: Int[torch.Tensor, "..."], ranks: Int[torch.Tensor, "..."]) -> Int[torch.Tensor, "..."]:
    """Return when each input is ready that is drawn from the output before it."""
    by_rank = torch.zeros(done.numel() + 1, dtype=torch.int64)
    by_rank[ranks.flatten() + 1] = done.flatten()
    return by_rank[ranks]
