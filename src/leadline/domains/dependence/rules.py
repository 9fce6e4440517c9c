"""How dependence flows, one rule per kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from leadline.domains.dependence import local
from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.dependence.indexing import gather, scatter
from leadline.domains.dependence.linear import attention, contraction
from leadline.domains.dependence.scan import scan
from leadline.domains.dependence.windows import convolution, window
from leadline.domains.engine import Lookup, Transfer
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Kind

Rule: TypeAlias = Callable[[Flow, Node, Lookup[Links]], tuple[Links, ...]]

RULES: dict[Kind, Rule] = {
    Kind.CREATION: local.creation,
    Kind.POINTWISE: local.pointwise,
    Kind.RANDOM: local.noise,
    Kind.VIEW: local.view,
    Kind.WINDOW: window,
    Kind.CONVOLUTION: convolution,
    Kind.CONTRACTION: contraction,
    Kind.REDUCTION: local.reduction,
    Kind.CUMULATIVE: local.cumulative,
    Kind.MIXING: local.mixing,
    Kind.SOFTMAX: local.softmax,
    Kind.NORMALISATION: local.normalisation,
    Kind.ATTENTION: attention,
    Kind.SCAN: scan,
    Kind.GATHER: gather,
    Kind.SCATTER: scatter,
}


def transfers(flow: Flow, rules: Mapping[Kind, Rule] = RULES) -> dict[Kind, Transfer[Links]]:
    """Bind the rules to a walk; outputs that are known exactly depend on nothing."""
    return {kind: _bound(flow, rule) for kind, rule in rules.items()}


def _bound(flow: Flow, rule: Rule) -> Transfer[Links]:
    def transfer(node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
        if all(links(ref) is None for ref in node.refs):
            return (None,) * len(node.outputs)
        results = rule(flow, node, links)
        return tuple(flow.freed(Ref(node.index, i), result) for i, result in enumerate(results))

    return transfer
