"""Results as plain values for JSON, with the version of the format."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from leadline.claims.claim import Finding
from leadline.recurrence import System
from leadline.report.claims_document import finding_record
from leadline.report.writing import encode
from leadline.results import FORMAT, Result


def record(result: Result) -> dict[str, Any]:
    """Return a result as what JSON can hold.

    Examples
    --------
    >>> from leadline.results import Estimate
    >>> record(Estimate(1.5, 0.25, n=4))
    {'format': 'leadline-result/1', 'type': 'Estimate', 'value': 1.5, 'sem': 0.25, 'n': 4, 'seed': None, 'dof': 'inf'}
    """
    encoded: dict[str, Any] = encode(fields_of(result))
    return {"format": FORMAT, "type": type(result).__name__, **encoded}


@singledispatch
def fields_of(result: Result) -> dict[str, Any]:
    """Return the fields of a result; of those that hold functions, what can be written down."""
    encoded: dict[str, Any] = encode(result)
    return encoded


@fields_of.register
def _(result: Finding) -> dict[str, Any]:
    return finding_record(result)


@fields_of.register
def _(result: System) -> dict[str, Any]:
    variables = [
        {
            "name": variable.name,
            "channels": variable.channels,
            "equation": type(variable.equation).__name__.lower(),
            "reads": [{"source": tap.source, "offset": tap.offset} for tap in variable.equation.taps],
            "margin": variable.margin,
            "place": variable.place,
        }
        for variable in result.variables
    ]
    names = ("axes", "sizes", "inputs", "output", "shape")
    return {name: getattr(result, name) for name in names} | {"variables": variables}
