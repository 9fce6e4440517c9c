"""The Markov baseline for audio: order-k counts, smoothed towards shorter contexts.

With c(s, x) how often x followed the context s (the last k symbols), n(s) how often s came, and s' the context without
its oldest symbol::

    p(x | s) = (c(s, x) + α · p(x | s')) / (n(s) + α)

down to the empty context, whose p(x | s') is uniform. Every order has its own α, chosen on the validation part, lowest
order first.

Source: MacKay, Bauman Peto, "A Hierarchical Dirichlet Language Model", 1995.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from leadline.data import Dataset, Split
from leadline.errors import UsageError
from leadline.training.scoring import Score

STRENGTHS = tuple(float(2**i) for i in range(-2, 15))
"""The smoothing strengths α that are tried."""

Keys = Int64[np.ndarray, "_"]  # every table has a length of its own


@dataclass(frozen=True)
class Markov:
    """A fitted model: per order, the sorted keys of (context, symbol) and of contexts, their counts, and α.

    Before its first symbol a clip's context is filled with a symbol of its own, so the first symbols are scored too.
    """

    levels: int
    order: int
    pairs: tuple[tuple[Keys, Keys], ...]
    contexts: tuple[tuple[Keys, Keys], ...]
    strengths: tuple[float, ...]

    def score(self, part: Split, name: str = "test") -> Score:
        """Score every symbol of a part."""
        nats = -np.log(self._probabilities(part.examples, self.strengths))
        lengths = [example.numel() for example in part.examples]
        sums = np.add.reduceat(nats, np.cumsum([0, *lengths[:-1]]))
        return Score(
            nats=float(sums.sum()),
            symbols=len(nats),
            examples=len(sums),
            squares=float((sums**2).sum()),
            part=name,
        )

    def _probabilities(self, clips: Sequence[Tensor] | Tensor, strengths: Sequence[float]) -> Float[np.ndarray, "_"]:
        """Return the probability of every symbol of all clips, from orders 0 to ``len(strengths) - 1``."""
        p = np.full(sum(clip.numel() for clip in clips), 1 / self.levels)
        for order, strength in enumerate(strengths):
            context, pair = _keys(clips, order, self.levels)
            p = (_look_up(self.pairs[order], pair) + strength * p) / (
                _look_up(self.contexts[order], context) + strength
            )
        return p


def fit_markov(data: Dataset, order: int = 2) -> Markov:
    """Count on the training part and choose the smoothing on the validation part.

    Raises
    ------
    UsageError
        If the order is negative, or so high that contexts cannot be numbered in 63 bits.

    Examples
    --------
    >>> from leadline.data import load
    >>> tones = load("tones", levels=16)
    >>> bits = [fit_markov(tones, order).score(tones.test).bits_per_dim for order in (0, 2)]
    >>> bits[1] < bits[0] < 4
    True
    """
    if order < 0 or (data.levels + 1) ** (order + 1) >= 2**63:
        raise UsageError(f"the order must be at least 0 and fit {data.levels} levels, got {order}")
    clips = data.train.examples
    keys = [_keys(clips, k, data.levels) for k in range(order + 1)]
    contexts = tuple(np.unique(context, return_counts=True) for context, _ in keys)
    pairs = tuple(np.unique(pair, return_counts=True) for _, pair in keys)
    model = Markov(data.levels, order, pairs, contexts, ())
    chosen: tuple[float, ...] = ()
    for _ in range(order + 1):
        tried = {alpha: model._probabilities(data.validation.examples, (*chosen, alpha)) for alpha in STRENGTHS}
        chosen = (*chosen, max(tried, key=lambda alpha: float(np.log(tried[alpha]).sum())))
    return Markov(data.levels, order, pairs, contexts, chosen)


def _keys(clips: Sequence[Tensor] | Tensor, order: int, levels: int) -> tuple[Keys, Keys]:
    """Give numbers to the context of every symbol, and to the context with its symbol, in base ``levels + 1``."""
    base, contexts, pairs = levels + 1, [], []
    for clip in clips:
        symbols = clip.reshape(-1).numpy().astype(np.int64)
        padded = np.concatenate([np.full(order, levels, np.int64), symbols])
        context = np.zeros(len(symbols), np.int64)
        for k in range(order):
            context = context * base + padded[k : k + len(symbols)]
        contexts.append(context)
        pairs.append(context * base + symbols)
    return np.concatenate(contexts), np.concatenate(pairs)


def _look_up(table: tuple[Keys, Keys], keys: Keys) -> Keys:
    """Return the count of every key; 0 for those not in the table."""
    known, counts = table
    place = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return np.where(known[place] == keys, counts[place], 0)
