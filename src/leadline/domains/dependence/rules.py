"""How dependence flows, one rule per kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from leadline.domains.compact import Pool, shrunk
from leadline.domains.dependence import local
from leadline.domains.dependence.attention import attention
from leadline.domains.dependence.contraction import contraction, matrices
from leadline.domains.dependence.flow import Flow, Links, Rule, applied
from leadline.domains.dependence.indexing import gather, scatter
from leadline.domains.dependence.scan import scan
from leadline.domains.dependence.signals.circular import circular
from leadline.domains.dependence.windows import convolution, window
from leadline.domains.engine import Lookup, OnUnknown, Transfer, Walk, walk
from leadline.graph.ir import Node
from leadline.graph.table import Kind

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
    Kind.MIXING: lambda flow, node, links: (circular if node.operation.circular else local.mixing)(flow, node, links),
    Kind.MATRICES: matrices,
    Kind.SOFTMAX: local.softmax,
    Kind.NORMALISATION: local.normalisation,
    Kind.ATTENTION: attention,
    Kind.SCAN: scan,
    Kind.GATHER: gather,
    Kind.SCATTER: scatter,
}


def transfers(flow: Flow, rules: Mapping[Kind, Rule] = RULES) -> dict[Kind, Transfer[Links]]:
    """Bind the rules to a walk in which each distinct transfer is computed once."""
    pool, found = Pool(), dict[Hashable, tuple[Links, ...]]()

    def small(links: Links) -> Links:
        return None if links is None else pool.one(shrunk(links))

    def bound(rule: Rule) -> Transfer[Links]:
        def transfer(node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
            based, base = flow.based([links(ref) for ref in node.sources])
            arguments = dict(zip(node.sources, map(small, based), strict=True))
            shapes = tuple(flow.shape(ref) for ref in node.sources)
            key = node.skeleton, shapes, tuple(map(id, arguments.values())), flow.known(node)
            if key not in found:
                found[key] = tuple(map(small, applied(flow, rule, node, arguments.__getitem__)))
            return tuple(flow.raised(result, base) for result in found[key])

        return transfer

    return {kind: bound(rule) for kind, rule in rules.items()}


def walk_by(
    flow: Flow,
    *leaves: Callable[[Node], Links],
    rules: Mapping[Kind, Rule] = RULES,
    on_unknown: OnUnknown,
    output: str | None = None,
) -> tuple[Walk[Links], ...]:
    """Walk all on which an output (default: any of them) rests once, by rules of dependence, from several starts.

    Each of the `leaves` gives the dependences of inputs and weights; what follows from each is returned.
    """
    live = flow.graph.live() if output is None else flow.graph.live(output)
    found = walk(
        flow.graph,
        leaf=lambda node: tuple(leaf(node) for leaf in leaves),
        transfers={kind: _from_each(transfer, len(leaves)) for kind, transfer in transfers(flow, rules).items()},
        top=_from_each(flow.top, len(leaves)),
        on_unknown=on_unknown,
        live=live,
    )
    starts = range(len(leaves))
    return tuple(Walk({ref: links[i] for ref, links in found.values.items()}, found.coverage) for i in starts)


def _from_each(transfer: Transfer[Links], starts: int) -> Transfer[tuple[Links, ...]]:
    """Apply a transfer to what follows from each of several starts."""

    def several(node: Node, links: Lookup[tuple[Links, ...]]) -> tuple[tuple[Links, ...], ...]:
        def one(start: int) -> tuple[Links, ...]:
            return transfer(node, lambda ref: links(ref)[start])

        return tuple(zip(*map(one, range(starts)), strict=True))

    return several
