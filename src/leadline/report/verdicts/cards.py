"""Which verdict a result has: `cards`, by its type; the modules beside this one register theirs."""

from __future__ import annotations

from functools import singledispatch

from leadline.audit.audited import Unavailable
from leadline.document import Card
from leadline.results import Result


@singledispatch
def cards(result: Result, *, rate: float | None = None) -> tuple[Card, ...]:
    """Return the verdicts on a result; positions are samples at a `rate` in hertz, if it is given."""
    if type(result).__str__ is not Result.__str__:
        return (Card("plain", "found", str(result)),)
    raise TypeError(f"{type(result).__name__} has no verdict: register it in leadline.report.verdicts")


@cards.register
def _(result: Unavailable, *, rate: float | None = None) -> tuple[Card, ...]:
    return (Card("unknown", "unknown", result.reason, "unknown"),)
