"""Whether a model sees what comes later, asked of the model itself: the naive sampler draws nothing before it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leadline.errors import NotCausal
from leadline.likelihoods import Likelihood

Logits = Callable[[Int[Tensor, "n ..."]], Float[Tensor, "n p ..."]]
"""From symbols to the model's output at every place, places in one axis."""

_CUTS = 32
"""So many beginnings of a sequence are tried: each stays as it is while all that follows is changed."""


def refuse_seen_ahead(logits: Logits, shape: tuple[int, ...], ranks: Int[Tensor, " p"], levels: int, lag: int) -> None:
    """Change all symbols from some rank on, and refuse a model whose outputs before that rank change too.

    `ranks` has the rank of every place in the order of generation. With a `lag` of 1 the output at a rank must not
    change with the symbol of that rank either. Raises `NotCausal`, naming an output that does.
    """
    cuts = _cuts(len(ranks), lag)
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(levels, (1, *shape), generator=generator)
    moved = (base + torch.randint(1, levels, (len(cuts), *shape), generator=generator)) % levels
    later = ranks >= cuts[:, None]
    changed = torch.where(later.view(len(cuts), *shape), moved, base)
    found = logits(torch.cat([base, changed]))
    differs = unlike(found[1:], found[:1].expand_as(found[1:]))
    must_stay = ranks <= cuts[:, None] - 1 + lag
    wrong = (differs & must_stay).nonzero()
    if len(wrong):
        cut, place = (int(index) for index in wrong[0])
        said = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), shape))
        raise NotCausal(
            f"the model is not causal in this order: its output at position {said}, of rank {int(ranks[place])}, "
            f"changes with symbols of rank {int(cuts[cut])} and later; give the order in which it is causal (order=)"
            f"{', or lag=0 if its outputs are of the next symbol' if lag else ''}"
        )


def log_prob(likelihood: Likelihood, logits: Float[Tensor, "..."], drawn: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the log-probability of what was drawn, in float32 at least."""
    return likelihood.log_prob(logits.float() if logits.dtype.itemsize < 4 else logits, drawn)


def refuse_changed(
    found: Float[Tensor, "n p ..."],
    drawn_from: Mapping[int, tuple[int, Float[Tensor, " n"]]],
    symbols: Int[Tensor, "n p"],
    kept: Bool[Tensor, "n p"],
    likelihood: Likelihood,
) -> None:
    """Refuse samples whose symbols are not as likely in the whole as they were when they were drawn.

    `drawn_from` has, for a place, where its distribution was read, and the log-probability of what was drawn from it.
    Raises `NotCausal`, naming a place.
    """
    for place, (read, then) in drawn_from.items():
        now = log_prob(likelihood, found[:, read], symbols[:, place])
        wrong = ((now - then).abs() > torch.finfo(now.dtype).eps ** 0.5 * (1 + then.abs()) * 4) & ~kept[:, place]
        if wrong.any():
            raise NotCausal(
                f"the model is not causal in this order: the symbol at place {place} was drawn from a distribution "
                "that changed with symbols that were drawn after it; give the order in which it is causal (order=)"
            )


def unlike(found: Float[Tensor, "n p ..."], meant: Float[Tensor, "n p ..."]) -> Bool[Tensor, "n p"]:
    """Return at which places outputs differ by more than rounding."""
    scale = max(1.0, float(meant.abs().nan_to_num(0.0, 0.0, 0.0).max()))
    apart = (found - meant).abs() > torch.finfo(meant.dtype).eps ** 0.5 * scale
    found_apart: Tensor = apart.flatten(2).any(dim=2) if apart.ndim > 2 else apart
    return found_apart


def _cuts(positions: int, lag: int) -> Int[Tensor, " k"]:
    """Return the ranks from which on symbols are changed; the first output of lag 0 may see the first symbol."""
    ranks = torch.linspace(1 - lag, positions - 1, min(_CUTS, positions)).round().long().unique()
    inside: Tensor = ranks[ranks >= 1 - lag]
    return inside
