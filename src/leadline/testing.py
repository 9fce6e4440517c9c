"""Assertions for users' own tests; each failure shows what was found, and where in the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from leadline.domains import Count, Span, count, span


def assert_span(
    model: nn.Module,
    *inputs: Any,
    steps: int | None = None,
    at_most: int | None = None,
    costs: Mapping[str, int] | None = None,
    **kwargs: Any,
) -> Span:
    """Assert how many contractions of ``model(*inputs, **kwargs)`` must follow one another; see `leadline.span`.

    Parameters
    ----------
    model, inputs, kwargs
        The model and what it takes.
    steps
        The exact number.
    at_most
        Or an upper bound.
    costs
        Other prices by kind of operation.

    Returns
    -------
    Span
        What was found.

    Raises
    ------
    AssertionError
        If the span is another one; the message lists the critical path by module and source line.
    UnknownOp
        If an operation has no rule.

    Examples
    --------
    >>> import torch
    >>> assert_span(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.zeros(1, 2), steps=2).op_steps
    2
    """
    found = span(model, *inputs, costs=costs, **kwargs)
    path = "\n".join(f"  {step}" for step in found.critical_path)
    where = f"; the longest chain, from the input on:\n{path}" if path else ""
    if steps is not None and found.steps != steps:
        raise AssertionError(f"the span is {found.steps} steps, not {steps}{where}")
    if at_most is not None and found.steps > at_most:
        raise AssertionError(f"the span is {found.steps} steps, more than {at_most}{where}")
    return found


def assert_connections(
    model: nn.Module, *inputs: Any, connections: int | None = None, macs: int | None = None, **kwargs: Any
) -> Count:
    """Assert the connections, or the multiply-accumulates, of ``model(*inputs, **kwargs)``; see `leadline.count`.

    Parameters
    ----------
    model, inputs, kwargs
        The model and what it takes; the whole batch counts.
    connections
        Edges between units that exist.
    macs
        Dense multiply-accumulates.

    Returns
    -------
    Count
        What was found.

    Raises
    ------
    AssertionError
        If a number differs; the message lists the counts by module.
    UnknownOp
        If an operation has no rule.

    Examples
    --------
    >>> import torch
    >>> assert_connections(nn.Linear(3, 2), torch.zeros(5, 3), connections=30).parameters
    8
    """
    found = count(model, *inputs, **kwargs)
    for name, asked, has in (("connections", connections, found.connections), ("macs", macs, found.macs)):
        if asked is not None and has != asked:
            lines = "\n".join(
                f"  {path or 'the model itself'}: {tally.connections} connections, {tally.macs} macs"
                for path, tally in found.by_module.items()
                if tally.macs
            )
            raise AssertionError(f"the model has {has} {name}, not {asked}; by module:\n{lines}")
    return found
