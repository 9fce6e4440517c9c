"""The dependence domain: every input element that an output may depend on, by one walk backwards."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.dependence.rules import RULES, Rule, transfers
from leadline.domains.engine import Lookup, NoRule, OnUnknown, Transfer, unknown
from leadline.domains.values.facts import Facts
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import LEAVES, Kind
from leadline.results import Coverage, Gap


def support(
    flow: Flow, output: str, chosen: Bool[Tensor, "..."], *, on_unknown: OnUnknown = "raise"
) -> tuple[dict[str, Bool[Tensor, "..."]], Coverage]:
    """Find the elements of every input that the chosen elements of an output may depend on.

    Raises
    ------
    UnknownOp
        If a node has no rule and `on_unknown` is ``"raise"``.
    """
    graph = flow.graph
    marked, coverage = behind(flow, {graph.outputs[output]: chosen}, on_unknown=on_unknown)
    inputs = {
        name: marked.get(Ref(index), torch.zeros(graph.nodes[index].shape, dtype=torch.bool))
        for name, index in graph.inputs.items()
    }
    return inputs, coverage


def behind(
    flow: Flow,
    chosen: Mapping[Ref, Bool[Tensor, "..."]],
    *,
    on_unknown: OnUnknown = "raise",
    rules: Mapping[Kind, Rule] = RULES,
) -> tuple[dict[Ref, Bool[Tensor, "..."]], Coverage]:
    """Mark every element, of every value, that the chosen elements may depend on; values without any are left out.

    `flow` works over the algebra `Links`. Each operation's rule is linear in its arguments' links, so its transpose
    carries a mask backwards; the cost is about one pass forwards and one back, whatever the number of inputs.
    """
    graph, bound, varying = flow.graph, transfers(flow, rules), _varying(flow.graph, flow.facts)
    marked = dict(chosen)
    gaps: list[Gap] = []
    visited = 0
    for node in reversed(graph.nodes):
        if node.kind in LEAVES:
            continue
        marks = [marked.get(Ref(node.index, i)) for i in range(len(node.outputs))]
        if all(mark is None for mark in marks):
            continue
        visited += 1
        try:
            back = transposed(flow, bound.get(node.kind), node, marks, varying)
        except NoRule:
            if on_unknown == "raise":
                raise unknown(node) from None
            gaps.append(Gap(node.op, node.place))
            back = transposed(flow, flow.top, node, marks, varying)
        for ref, mask in back.items():
            marked[ref] = mask | marked[ref] if ref in marked else mask
    return marked, Coverage(visited, tuple(gaps))


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
    flow: Flow, rule: Transfer[Links] | None, node: Node, marks: list[Tensor | None], varying: frozenset[Ref]
) -> dict[Ref, Tensor]:
    """Carry masks of a node's outputs back to its arguments."""
    if rule is None:
        raise NoRule
    refs = [ref for ref in dict.fromkeys(node.refs) if ref in varying]
    with torch.enable_grad():
        links = {ref: torch.zeros(flow.shape(ref), requires_grad=True) for ref in refs}
        lookup: Lookup[Links] = links.get
        outs = rule(node, lookup)
        pairs = [
            (out, mark) for out, mark in zip(outs, marks, strict=True)
            if out is not None and mark is not None and out.requires_grad
        ]  # fmt: skip
    if not pairs or not refs:
        return {}
    grads = torch.autograd.grad(
        [out for out, _ in pairs],
        list(links.values()),
        [mark.to(out.dtype).expand(out.shape) for out, mark in pairs],
        allow_unused=True,
    )
    return {ref: grad > 0 for ref, grad in zip(refs, grads, strict=True) if grad is not None and bool((grad > 0).any())}
