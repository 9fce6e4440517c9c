"""The dependence domain: every input element that an output may depend on, by one walk backwards."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.compact import Pool, described, reserve, shrunk
from leadline.domains.dependence.alignment import leaf_shapes
from leadline.domains.dependence.flow import Flow, Rule, applied
from leadline.domains.dependence.rules import RULES
from leadline.domains.engine import NoRule, OnUnknown, ruled, unknown
from leadline.domains.values.facts import Facts
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import LEAVES, Kind
from leadline.results import Coverage, Gap


def support(
    flow: Flow, output: str, chosen: Bool[Tensor, "..."], *, on_unknown: OnUnknown = "raise"
) -> tuple[dict[str, Bool[Tensor, "..."]], Coverage]:
    """Find the elements of every input that the chosen elements of an output may depend on."""
    graph = flow.graph
    marked, coverage = behind(flow, {graph.outputs[output]: chosen}, on_unknown=on_unknown)
    none = torch.zeros((), dtype=torch.bool)
    inputs = {
        name: marked.get(Ref(index), none).expand(graph.nodes[index].shape) for name, index in graph.inputs.items()
    }
    return inputs, coverage


def behind(
    flow: Flow,
    chosen: Mapping[Ref, Bool[Tensor, "..."]],
    *,
    on_unknown: OnUnknown = "raise",
    rules: Mapping[Kind, Rule] = RULES,
    whole: frozenset[Kind] = frozenset(),
    crops: Callable[[Node], bool] = lambda _: False,
) -> tuple[dict[Ref, Bool[Tensor, "..."]], Coverage]:
    """Mark every element, of every value, that the chosen elements may depend on; values without any are left out.

    Of what operations of the `whole` kinds give, all elements are chosen as soon as one is marked; and so is what an
    operation drops that `crops`.

    `flow` works over the algebra `Paths`. Each operation's rule is linear in its arguments' links, so its transpose
    carries a compact mask backwards; the cost is about one pass forwards and one back, whatever the number of inputs.
    """
    back = _Backward(flow, _varying(flow.graph, flow.facts))
    marked = {ref: back.pool.one(shrunk(mask)) for ref, mask in chosen.items()}
    gaps: list[Gap] = []
    visited = 0
    for node in reversed(flow.graph.nodes):
        marks = [marked.get(Ref(node.index, i)) for i in range(len(node.outputs))]
        if node.kind in LEAVES or all(mark is None for mark in marks):
            continue
        visited += 1
        try:
            if node.kind in whole:
                marks = [None if mark is None else back.all_of(mark) for mark in marks]
            with ruled(node, flow.graph):
                found = back.once(rules.get(node.kind), node, marks)
                if crops(node):
                    every = back.once(rules.get(node.kind), node, [m if m is None else back.all_of(m) for m in marks])
                    found = {ref: back.pool.one(shrunk(mask | ~every[ref])) for ref, mask in found.items()}
        except NoRule:
            if on_unknown == "raise":
                raise unknown(node) from None
            gaps.append(Gap(node.op, node.place))
            found = back.once(Flow.top, node, marks)
        for ref, mask in found.items():
            marked[ref] = back.pool.one(shrunk(mask | marked[ref])) if ref in marked else mask
    return marked, Coverage(visited, tuple(gaps))


class _Backward:
    """Transposed rules, each distinct one computed once."""

    def __init__(self, flow: Flow, varying: frozenset[Ref]) -> None:
        self.flow, self.varying, self.pool = flow, varying, Pool()
        self._found: dict[Hashable, tuple[Tensor | None, ...]] = {}

    def all_of(self, mark: Tensor) -> Tensor:
        """Return a mask, out of the pool, of everything."""
        return self.pool.one(torch.ones((1,) * mark.ndim, dtype=torch.bool))

    def once(self, rule: Rule | None, node: Node, marks: list[Tensor | None]) -> dict[Ref, Tensor]:
        """Carry masks, which came out of the pool, back to a node's arguments."""
        shapes = tuple(self.flow.shape(ref) for ref in node.sources)
        moving = tuple(ref in self.varying for ref in node.sources)
        key = rule, node.skeleton, shapes, moving, tuple(map(id, marks)), self.flow.known(node)
        if key not in self._found:
            masks = transposed(self.flow, rule, node, marks, self.varying)
            self._found[key] = tuple(
                None if ref not in masks else self.pool.one(shrunk(masks[ref])) for ref in node.sources
            )
        pairs = zip(node.sources, self._found[key], strict=True)
        return {ref: mask for ref, mask in pairs if mask is not None}


def _varying(graph: Graph, facts: Mapping[Ref, Facts]) -> frozenset[Ref]:
    """Values that rest on an input and are not constants."""
    found: set[Ref] = {Ref(index) for index in graph.inputs.values()}
    for node in graph.nodes:
        if node.kind not in LEAVES and any(ref in found for ref in node.refs):
            found |= {
                ref
                for i, meta in enumerate(node.outputs)
                if meta is not None and not facts[ref := Ref(node.index, i)].constant
            }
    return frozenset(found)


def transposed(
    flow: Flow, rule: Rule | None, node: Node, marks: list[Tensor | None], varying: frozenset[Ref]
) -> dict[Ref, Tensor]:
    """Carry compact masks of a node's outputs back to its arguments."""
    if rule is None:
        raise NoRule
    refs = [ref for ref in node.sources if ref in varying]
    if rule is Flow.top:
        shapes = {ref: (1,) * len(flow.shape(ref)) for ref in refs}
    else:
        shapes = leaf_shapes(flow, node, marks, refs)
    for shape in shapes.values():
        reserve(shape, 4, described(node))
    with torch.enable_grad():
        links = {ref: torch.zeros(shapes[ref], requires_grad=True) for ref in refs}
        outs = applied(flow, rule, node, links.get)
        pairs = [
            (out, mark) for out, mark in zip(outs, marks, strict=True)
            if out is not None and mark is not None and out.requires_grad
        ]  # fmt: skip
    if not pairs or not refs:
        return {}
    grads = torch.autograd.grad(
        [out for out, _ in pairs],
        list(links.values()),
        [_fitted(mark, out.shape).to(out.dtype) for out, mark in pairs],
        allow_unused=True,
    )
    return {ref: grad > 0 for ref, grad in zip(refs, grads, strict=True) if grad is not None and bool((grad > 0).any())}


def _fitted(mark: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Give a mask the sizes of compact dependences: where these do not vary, any mark will do."""
    gone = [axis for axis, (size, full) in enumerate(zip(mark.shape, shape, strict=True)) if size > full]
    return (mark.any(dim=gone, keepdim=True) if gone else mark).expand(shape)
