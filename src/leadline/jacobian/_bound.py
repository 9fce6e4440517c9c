"""Bounds on a model's Jacobian for all inputs, or all in a box, by composition over its graph."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from leadline.domains.arguments import public
from leadline.domains.engine import OnUnknown, walk
from leadline.domains.values.interval_arithmetic import Interval, within
from leadline.domains.values.intervals import intervals
from leadline.errors import NotDifferentiable, UsageError, near_misses
from leadline.graph.ir import Graph, Meta, Node
from leadline.graph.reading import Reading
from leadline.jacobian.bounds.gain import NOTHING, Gain, Known
from leadline.jacobian.bounds.gains import any_gain, transfers
from leadline.results import Bound, Status

Box = tuple[float, float] | Mapping[str, Interval] | None


@public("bound")
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
        ``(lo, hi)`` for every element of every floating input, or intervals by input name; None: all inputs. Of complex
        inputs it holds for either part.
    output
        Name of the output; default: the only one, or the first.
    on_unknown
        ``"raise"`` for an operation without a rule; ``"top"`` goes on with an infinite bound.

    Returns
    -------
    Bound
        ``lo ‖dx‖ ≤ ‖dy‖ ≤ hi ‖dx‖`` for every perturbation dx: so hi bounds the norm, and lo every singular value if
        there are no fewer outputs than inputs. Complex values are pairs of real ones; where a model draws noise, the
        bound holds for all that may be drawn. Valid for exact arithmetic with the weights as stored, and with what is
        computed from them alone in their type or in float64; floating-point errors of the bound's own computation are
        accounted for.

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
    moving = {i for i in graph.inputs.values() if _moves(graph.nodes[i].meta)}
    if not moving:
        raise NotDifferentiable("every input is of integers: bound the part of the model after its embedding")
    _check_ends(graph, moving, name)
    live = graph.live(name)
    known = intervals(graph, _boxes(graph, box), live)

    def leaf(node: Node) -> Gain:
        return Gain(1.0, 1.0) if node.index in moving else NOTHING

    with torch.no_grad():
        rules = transfers(Known(graph, known))
        found = walk(graph, leaf=leaf, transfers=rules, top=any_gain, on_unknown=on_unknown, live=live)
    gain = found.values[graph.outputs[name]]
    lo = gain.lo if len(moving & live) == 1 == len(moving) else 0.0
    where = "all inputs" if box is None else f"inputs in {box}" if isinstance(box, tuple) else "inputs in the box"
    grounds = where, "exact arithmetic with the stored weights", "no custom backward functions"
    return Bound(lo, gain.hi, Status.BOUND, (*grounds, *map(str, found.coverage.gaps)))


def _moves(meta: Meta) -> bool:
    """Whether a tensor has a derivative; a complex one counts as pairs of real numbers."""
    return meta.dtype.is_floating_point or meta.dtype.is_complex


def _check_ends(graph: Graph, moving: set[int], output: str) -> None:
    """Complain about inputs and an output between which there is no Jacobian."""
    for name, i in graph.inputs.items():
        if i in moving and graph.nodes[i].meta.numel == 0:
            raise NotDifferentiable(
                f"the input {name!r} of shape {graph.nodes[i].meta.shape} has no elements: give longer inputs"
            )
    end = graph.meta(graph.outputs[output])
    if not _moves(end):
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
    """Return the interval of each input that has one; of complex inputs, of both parts."""
    metas = {name: graph.nodes[i].meta for name, i in graph.inputs.items()}
    if box is None:
        return {}
    if isinstance(box, tuple):
        lo, hi = box
        if not lo <= hi:
            raise UsageError(f"the box needs lo <= hi, not {box}")
        moving = {name: meta for name, meta in metas.items() if _moves(meta)}
        return {name: within(meta.shape, lo, hi, pairs=meta.dtype.is_complex) for name, meta in moving.items()}
    for name in box:
        if name not in metas:
            raise UsageError(f"no input is called {name!r}; {near_misses(name, metas)}")
    return {name: _within(name, metas[name], given) for name, given in box.items()}


def _within(name: str, meta: Meta, given: Interval) -> Interval:
    """Return what was given of an input in its shape."""
    lo, hi = given.lo.double(), given.hi.double()
    shape = (*meta.shape, 2) if meta.dtype.is_complex else meta.shape
    if not bool((lo <= hi).all()):
        raise UsageError(f"the box of {name!r} needs lo <= hi everywhere")
    try:
        return Interval(lo.expand(shape), hi.expand(shape), meta.dtype.is_complex)
    except RuntimeError:
        raise UsageError(f"the box of {name!r} is {tuple(lo.shape)}, the input {shape}: give it that shape") from None
