"""What is known of scores whatever the inputs are: which of them masks hide, and which weights are zero.

Numbers stand as (queries, keys, channels), of size 1 where they are the same, NaN where they rest on inputs. What is
so far below that a softmax makes nothing of it is minus infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from leadline.graph.table import Form, Operation, Pointwise, Tally
from leadline.recurrence.reading.field import Misfit

FORBIDDEN = -1e30  # an additive mask below this leaves a weight of exactly zero
_NEUTRAL: Mapping[Tally, float] = {
    Tally.SUM: 0.0,
    Tally.LARGEST: -torch.inf,
    Tally.LOG_SUM_EXP: -torch.inf,
    Tally.LEAST: torch.inf,
    Tally.ANY: 0.0,
    Tally.COUNT: 0.0,
    Tally.ALL: 1.0,
}


def unknown() -> Tensor:
    """Return what is known of what rests on inputs."""
    return torch.full((1, 1, 1), torch.nan, dtype=torch.float64)


def numbers(table: Tensor) -> Tensor:
    """Return a fixed tensor as what is known of it."""
    values = table.double()
    return values.masked_fill(values <= FORBIDDEN, -torch.inf) if table.is_floating_point() else values


def beyond(queries: int, keys: int) -> Tensor:
    """Return which keys a query must not see: those after its own position, the last keys being those of queries."""
    places = torch.arange(keys) - (keys - queries)
    return (places > torch.arange(queries)[:, None]).unsqueeze(-1)


def applied(
    facts: Pointwise | None, literals: Mapping[str, Any], call: Callable[[Mapping[str, Tensor]], Tensor],
    known: Mapping[str, Tensor], truths: frozenset[str],
) -> Tensor:  # fmt: skip
    """Return what is known of a function number by number; `truths` names the operands that are truth values."""
    lost = torch.stack(torch.broadcast_tensors(*(torch.isnan(value) for value in known.values()))).any(0)
    plain = {name: value.nan_to_num(0.0, torch.inf, -torch.inf) for name, value in known.items()}
    made = call({name: value.bool() if name in truths else value for name, value in plain.items()})
    result = torch.where(lost, torch.nan, numbers(made))
    if facts is None or not bool(lost.any()):
        return result
    for name in facts.zeros(literals):
        if name in known:
            result = torch.where(lost & (known[name] == 0), 0.0, result)
    hidden, shown = _extremes(facts, literals, known)
    result = torch.where(lost & hidden, -torch.inf, result)
    return torch.where(lost & shown, 1.0, _chosen(facts, literals, known, result))


def _extremes(
    facts: Pointwise, literals: Mapping[str, Any], known: Mapping[str, Tensor]
) -> tuple[Tensor | bool, Tensor | bool]:
    """Return where a result is minus infinity, and where it is true, though another operand is not known."""
    first, second = (known.get(name) for name in (*facts.operands, "", "")[:2])
    nothing = torch.zeros((), dtype=torch.bool)
    if facts.form is Form.EITHER:
        return nothing, (nothing if first is None else first == 1) | (nothing if second is None else second == 1)
    if facts.form not in (Form.SUM, Form.DIFFERENCE) or literals.get("alpha", 1) != 1:
        return nothing, nothing
    far = torch.inf if facts.form is Form.DIFFERENCE else -torch.inf
    own = nothing if first is None else first == -torch.inf
    return own | (nothing if second is None else second == far), nothing


def _chosen(facts: Pointwise, literals: Mapping[str, Any], known: Mapping[str, Tensor], result: Tensor) -> Tensor:
    """Return what is known of a choice: its condition is known, or both sides are the same."""
    if facts.form is not Form.CHOICE:
        return result
    condition, yes, no = (
        known[name] if name in known else numbers(torch.as_tensor(float(literals[name]))) for name in facts.operands
    )
    either = torch.where(yes == no, yes, torch.nan)
    picked = torch.where(condition == 1, yes, torch.where(condition == 0, no, either))
    return torch.where(torch.isnan(result), picked, result)


def neutral(operation: Operation) -> float:
    """Return the number that a function across keys makes nothing of; `Misfit` if there is none."""
    if operation.first is not None and operation.located:
        return -torch.inf
    if operation.tally in _NEUTRAL:
        return _NEUTRAL[operation.tally]
    raise Misfit("its scores are put together over all keys by something that counts those to come")


def shrunk(table: Tensor) -> Tensor:
    """Return a table with a size of 1 along every axis along which all is the same."""
    for axis in range(table.ndim):
        first = table.narrow(axis, 0, 1)
        if table.shape[axis] > 1 and bool(((table == first) | (table.isnan() & first.isnan())).all()):
            table = first
    return table
