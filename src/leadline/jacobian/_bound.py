"""Bounds on a model's Jacobian for all inputs, or all in a box, by composition over its graph."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from leadline.domains.engine import OnUnknown, walk
from leadline.domains.values.interval_arithmetic import Interval
from leadline.domains.values.intervals import intervals
from leadline.errors import NotDifferentiable, UsageError, near_misses
from leadline.graph.ir import Graph, Node
from leadline.graph.reading import Reading
from leadline.jacobian.bounds.gains import NOTHING, Gain, Rules, any_gain
from leadline.results import Bound, Status

Box = tuple[float, float] | Mapping[str, Interval] | None


def bound(
    model: nn.Module,
    *inputs: Any,
    box: Box = None,
    output: str | None = None,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Bound:
    """Bound every singular value of the Jacobian of an output by all floating inputs.

    Parameters
    ----------
    model, *inputs, **kwargs
        The model and inputs whose shapes count; their values do not.
    box
        ``(lo, hi)`` for every element of every floating input, or intervals by input name; None: all inputs.
    output
        Name of the output; default: the only one, or the first.
    on_unknown
        ``"raise"`` for an operation without a rule; ``"top"`` goes on with an infinite bound.

    Returns
    -------
    Bound
        ``lo ‖dx‖ ≤ ‖dy‖ ≤ hi ‖dx‖`` for every perturbation dx: so hi bounds the norm, and lo every singular value if
        there are no fewer outputs than inputs. Valid for exact arithmetic with the weights as stored; floating-point
        errors of the bound's own computation are accounted for.

    Raises
    ------
    UnknownOp
        If an operation has no rule.
    NotDifferentiable
        If no input is floating, or an input or the output is empty or of integers.
    UsageError
        If no output or input bears a name given.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())
    >>> _ = nn.init.ones_(net[0].weight)
    >>> print(bound(net, torch.zeros(1, 1)))
    [0, 0.25] (bound)
    """
    return bound_of(Reading(model, inputs, kwargs, output=output), box=box, on_unknown=on_unknown)


def bound_of(reading: Reading, *, box: Box = None, on_unknown: OnUnknown = "raise") -> Bound:
    """Return the bound of a reading; see `bound`."""
    graph = reading.graph
    name = _chosen(graph, reading.given_output)
    moving = {i for i in graph.inputs.values() if graph.nodes[i].meta.dtype.is_floating_point}
    if not moving:
        raise NotDifferentiable("every input is of integers: bound the part of the model after its embedding")
    _check_ends(graph, moving, name)
    live = graph.live(name)
    known = intervals(graph, _boxes(graph, box), live)

    def leaf(node: Node) -> Gain:
        return Gain(1.0, 1.0) if node.index in moving else NOTHING

    with torch.no_grad():
        found = walk(graph, leaf=leaf, transfers=Rules(known).transfers, top=any_gain, on_unknown=on_unknown, live=live)
    gain = found.values[graph.outputs[name]]
    lo = gain.lo if len(moving & live) == 1 == len(moving) else 0.0
    where = "all inputs" if box is None else f"inputs in {box}" if isinstance(box, tuple) else "inputs in the box"
    grounds = where, "exact arithmetic with the stored weights", "no custom backward functions"
    return Bound(lo, gain.hi, Status.BOUND, (*grounds, *map(str, found.coverage.gaps)))


def _check_ends(graph: Graph, moving: set[int], output: str) -> None:
    """Complain about inputs and an output between which there is no Jacobian."""
    for name, i in graph.inputs.items():
        if i in moving and graph.nodes[i].meta.numel == 0:
            raise NotDifferentiable(
                f"the input {name!r} of shape {graph.nodes[i].meta.shape} has no elements: give longer inputs"
            )
    end = graph.meta(graph.outputs[output])
    if not end.dtype.is_floating_point:
        raise NotDifferentiable(
            f"the output {output!r} is {end.dtype}, which has no derivative: bound what is before it"
        )
    if end.numel == 0:
        raise NotDifferentiable(f"the output {output!r} of shape {end.shape} has no elements: give longer inputs")


def _chosen(graph: Graph, output: str | None) -> str:
    """Return the name of the output that is asked for."""
    if output is None:
        return next(iter(graph.outputs))
    if output not in graph.outputs:
        raise UsageError(f"no output is called {output!r}; {near_misses(output, graph.outputs)}")
    return output


def _boxes(graph: Graph, box: Box) -> dict[str, Interval]:
    """Return the interval of each input that has one."""
    if box is None:
        return {}
    if isinstance(box, tuple):
        lo, hi = box
        if not lo <= hi:
            raise UsageError(f"the box needs lo <= hi, not {box}")
        metas = {name: graph.nodes[i].meta for name, i in graph.inputs.items()}
        floating = {name: meta.shape for name, meta in metas.items() if meta.dtype.is_floating_point}
        ends = [{name: torch.full(shape, end, dtype=torch.float64) for name, shape in floating.items()} for end in box]
        return {name: Interval(ends[0][name], ends[1][name]) for name in floating}
    for name in box:
        if name not in graph.inputs:
            raise UsageError(f"no input is called {name!r}; {near_misses(name, graph.inputs)}")
    return dict(box)
