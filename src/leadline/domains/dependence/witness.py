"""A witness of dependence: one output, one input, the way between them, and whether the real model showed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.dependence.algebra import Paths
from leadline.domains.dependence.flow import Flow, Links, present
from leadline.domains.dependence.perturbation import Prober
from leadline.domains.dependence.ranks import Latest, Search
from leadline.domains.dependence.rules import RULES
from leadline.domains.dependence.support import transposed
from leadline.domains.engine import NoRule
from leadline.graph.ir import Ref
from leadline.graph.table import Kind
from leadline.results import Place

_ATTEMPTS = 6
_LARGE = 1 << 26  # elements of a value of which single ones are no longer marked
_ELEMENTWISE = frozenset({Kind.POINTWISE, Kind.RANDOM})


@dataclass(frozen=True)
class Witness:
    """An output element that may depend on an input element that it must not see, both by name and place by axis name.

    It is `confirmed` if the output changed when the input was perturbed in the real model; rounding, argmax and
    saturation may hide a dependence from every perturbation tried. The `path` says where the dependence passes, from
    input to output: operations that combine different elements.
    """

    output: str
    output_index: Mapping[str, int]
    input: str
    input_index: Mapping[str, int]
    confirmed: bool
    path: tuple[Place, ...]

    def __str__(self) -> str:
        there = f"{self.output}[{_index(self.output_index)}] depends on {self.input}[{_index(self.input_index)}]"
        how = "confirmed by perturbation" if self.confirmed else "by structure; no perturbation tried showed it"
        places = "".join(f"\n  through {place}" for place in self.path)
        return f"{there} ({how}){places}"


def _index(index: Mapping[str, int]) -> str:
    return ", ".join(f"{axis}={place}" for axis, place in index.items())


def first_witness(search: Search, found: Latest, guilty: Bool[Tensor, "..."], prober: Prober) -> Witness:
    """Return a witness for one of the `guilty` output elements that a walk of ranks `found`.

    It is one that the real model confirms, if one of several attempts does.
    """
    reading, places = search.reading, guilty.nonzero()
    picks = torch.linspace(len(places) - 1, 0, min(_ATTEMPTS, len(places))).round().long()
    witness = None
    for pick in picks:
        out = tuple(int(i) for i in places[pick])
        name, at, path = follow(search, found.links, out)
        witness = Witness(
            output=reading.output,
            output_index=dict(zip(reading.output_axes, out, strict=True)),
            input=name,
            input_index=dict(zip(reading.input_axes[name], at, strict=True)),
            confirmed=prober.changes(reading.output, out, name, at),
            path=path,
        )
        if witness.confirmed:
            break
    assert witness is not None, "no output is guilty"
    return witness


def follow(
    search: Search, found: Mapping[Ref, Links], at: tuple[int, ...]
) -> tuple[str, tuple[int, ...], tuple[Place, ...]]:
    """Follow an element's latest rank back to the input element that it comes from, one operation at a time."""
    graph, flow = search.flow.graph, replace(search.flow, algebra=Paths())
    varying = frozenset(r for r, links in found.items() if links is not None)
    ref = graph.outputs[search.reading.output]
    ranks = present(found[ref])
    rank = ranks[_within(ranks.shape, at)]
    path: list[Place] = []
    while (node := graph.nodes[ref.node]).kind is not Kind.INPUT:
        marks = [_single(flow, ref, found, at) if i == ref.output else None for i in range(len(node.outputs))]
        try:
            back = transposed(flow, RULES.get(node.kind), node, marks, varying)
        except NoRule:
            back = transposed(flow, Flow.top, node, marks, varying)
        if node.kind not in _ELEMENTWISE and node.place not in path:
            path.append(node.place)
        ref, at = next(
            (source, tuple(int(i) for i in hits[0]))
            for source, mask in back.items()
            if len(hits := (mask & (found[source] == rank)).nonzero())
        )
    return node.name, at, tuple(reversed(path))


def _single(flow: Flow, ref: Ref, found: Mapping[Ref, Links], at: tuple[int, ...]) -> Tensor:
    """Mark one element of a value; of a very large one, all that see the same."""
    shape = flow.shape(ref) if prod(flow.shape(ref)) <= _LARGE else present(found[ref]).shape
    mark = torch.zeros(shape, dtype=torch.bool)
    mark[_within(shape, at)] = True
    return mark


def _within(shape: tuple[int, ...], at: tuple[int, ...]) -> tuple[int, ...]:
    """Return the place of one element in a compact tensor."""
    return tuple(0 if size == 1 else place for size, place in zip(shape, at, strict=True))
