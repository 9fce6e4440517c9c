"""A claim at several values of one parameter: what a page draws, and lets its readers slide along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from leadline.claims.claim import Claim, Finding
from leadline.claims.parameters import PARAMETERS, Parameter
from leadline.claims.runner import run_claims
from leadline.errors import UsageError

MOST = 24
"""The most values of a sweep: each is a claim to settle."""


@dataclass(frozen=True)
class Sweep:
    """What was found at each value of a parameter."""

    parameter: Parameter
    values: tuple[float, ...]
    findings: tuple[Finding, ...]


def ranges(words: Iterable[str]) -> tuple[list[str], dict[str, tuple[float, ...]]]:
    """Part settings into those of one value, and those of several by their letters.

    Examples
    --------
    >>> ranges(["n=2..5", "w=0.5,1,4", "b=0"])
    (['b=0'], {'n': (2, 3, 4, 5), 'w': (0.5, 1, 4)})
    """
    single, several = [], {}
    for word in words:
        letter, _, text = word.partition("=")
        values = _values(letter, text)
        if len(values) > 1:
            several[letter] = values
        else:
            single.append(word)
    return single, several


def _values(letter: str, text: str) -> tuple[float, ...]:
    """Read ``1..5`` or ``0.5,1,2``; nothing for anything else."""
    first, dots, last = text.partition("..")
    wrong = UsageError(f"{letter}={text} is no sweep: write numbers that ascend, {letter}=1..5 or {letter}=0.5,1,2")
    try:
        if dots:
            found = tuple(map(float, range(int(first), int(last) + 1)))
        else:
            found = tuple(map(float, text.split(","))) if "," in text else ()
    except ValueError:
        raise wrong from None
    if (dots or found) and (len(found) < 2 or any(a >= b for a, b in pairwise(found))):
        raise wrong
    if len(found) > MOST:
        raise UsageError(f"{letter}={text} are {len(found)} values, each a claim to settle: give {MOST} at most")
    return tuple(int(value) if value.is_integer() else value for value in found)


def sweep(
    claim_id: str,
    letter: str,
    values: Sequence[float],
    *,
    settings: Mapping[str, Any],
    seed: int = 0,
    started: Callable[[Claim[Any]], None] = lambda _: None,
) -> Sweep:
    """Settle a claim at each value of a parameter, the others as in `settings`.

    Examples
    --------
    >>> found = sweep("A1", "w", (1.0, 5.0), settings={"n": 3})
    >>> [str(finding.verdict) for finding in found.findings]
    ['proved', 'corrected']
    """
    known = {parameter.letter: parameter for parameter in PARAMETERS.get(claim_id, ())}
    findings = tuple(
        run_claims([claim_id], seed=seed, settings={claim_id: {**settings, letter: value}}, started=started)[0]
        for value in values
    )
    return Sweep(known[letter], tuple(map(float, values)), findings)
