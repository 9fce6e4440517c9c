"""What the words on a page mean; a page explains those that it uses."""

from __future__ import annotations

TERMS = {
    "proved": "exact: by symbols, by trying every case, or by exact counting",
    "bound": "certainly not exceeded, perhaps not reached",
    "estimate": "measured, with its error; a repetition with another seed may differ by it",
    "fitted": "a formula that gives what was counted at the sizes tried, and at fresh ones",
    "unknown": "nothing better can be said soundly",
    "causality": "whether an output depends only on inputs that come before it in the order of generation",
    "lag": "how far back the latest input lies that an output depends on: 0 is its own position, 1 the one before",
    "leak": "an output that depends on a later input",
    "context": "the input positions that one output may depend on",
    "squared gradient": "of an output's numbers by an input position's, squared and averaged: how much it can teach",
    "half-life": "the distance over which a gradient halves",
    "receptive field": "the first and the last position that an output sees, along each axis",
    "blind": "earlier positions that an output does not see",
    "sequential steps": "products that must follow one another, whatever the hardware: the longest chain",
    "steps as the code runs them": "the longest chain if operations run one by one, in the order of the code",
    "front": "positions that do not wait for one another, and can be computed at once",
    "connections": "edges between units that exist, without padding and masked pairs",
    "multiply-accumulates": "products with their additions; two floating-point operations each",
    "log rate": "the natural logarithm of the factor by which a gradient's norm changes in one stage",
    "stage": "a link of the chain that a network is: a block, a layer or a time step",
    "floor": "the gradient below which a number format rounds it to zero, if its entries are of size 1 at the end",
    "kept for the backward pass": "what autograd saves while the model runs, each storage once",
    "peak": "the most bytes held at once in a training step",
    "bits/dim": "the negative log-likelihood in bits, for each symbol",
}


def used(text: str) -> list[tuple[str, str]]:
    """Return the terms that occur in a text, with what they mean, in the order of the glossary.

    Examples
    --------
    >>> [term for term, _ in used("2 sequential steps (proved)")]
    ['proved', 'sequential steps']
    """
    lowered = text.lower()
    return [(term, meaning) for term, meaning in TERMS.items() if term in lowered]
