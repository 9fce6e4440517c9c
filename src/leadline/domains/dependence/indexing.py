"""Dependence through operations that read or write at places given by index tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.domains.compact import fits
from leadline.domains.dependence.flow import Flow, Links, everywhere, in_full, moved
from leadline.domains.dependence.local import among
from leadline.domains.engine import Lookup, NoRule
from leadline.domains.values.moves import data_refs
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Places


def gather(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the indices, and on the elements that they may choose: one where they are constants, else any."""
    named = node.bound()
    if _constant_places(flow, node):
        return moved(flow, node, links, data_refs(node) or frozenset())
    if node.operation.places is Places.ROWS:
        table, places = links(named["weight"]), links(named["indices"])
        chosen = None if table is None else flow.algebra.reduce(table, [0]).squeeze(0)
        return everywhere(node, flow.all_of(chosen, None if places is None else places.unsqueeze(-1)))
    if node.operation.places is Places.LISTS:
        return everywhere(node, _indexed(flow, node, links))
    dim, places = named["dim"], links(named["index"])
    if (chosen := _named(flow, node, links)) is not None:
        return everywhere(node, flow.all_of(chosen, places))
    chosen = flow.reduced(links(named["self"]), dim)
    if node.operation.places is Places.SLICES:
        if places is not None:
            places = places.reshape([-1 if d == dim % len(node.shape) else 1 for d in range(len(node.shape))])
        return everywhere(node, flow.all_of(chosen, places))
    if chosen is not None:
        for d, size in enumerate(node.shape):
            chosen = chosen if d == dim % len(node.shape) or chosen.shape[d] == 1 else chosen.narrow(d, 0, size)
    return everywhere(node, flow.all_of(chosen, places))


def _named(flow: Flow, node: Node, links: Lookup[Links]) -> Links:
    """Return what depends on the elements that the indices of a gather may name; None: they may name any."""
    given = node.bound()
    index, source = flow.facts[given["index"]].named, given["self"]
    data, ndim = links(source), len(node.shape)
    if index is None or data is None or node.operation.places is not Places.ELEMENTS or not ndim:
        return None
    dim = given["dim"] % ndim
    row = in_full(flow, node, source, data, dim)
    for d, size in enumerate(node.shape):
        row = row if d == dim or row.shape[d] == 1 else row.narrow(d, 0, size)
    return among(flow, node, row.movedim(dim, -1).unsqueeze(dim), _fitted(index.may, row.shape[dim]))


def _fitted(may: Tensor, count: int) -> Tensor:
    """Mark as many places as there are: no index names others."""
    if may.shape[-1] in (1, count):
        return may
    return torch.nn.functional.pad(may[..., :count], (0, max(0, count - may.shape[-1])))


def _constant_places(flow: Flow, node: Node) -> bool:
    data = data_refs(node)
    return data is not None and all(flow.facts[ref].constant for ref in node.refs if ref not in data)


def _indexed(flow: Flow, node: Node, links: Lookup[Links]) -> Links:
    """``x[i, :, j]``: axes indexed by constants are read where those say, the others anywhere."""
    source, indices = node.bound()["self"], node.bound()["indices"]
    unknown = [d for d, ref in enumerate(indices) if ref is not None and not flow.facts[ref].constant]
    if any(flow.graph.meta(indices[d]).dtype is torch.bool for d in unknown):
        raise NoRule
    places: list[Tensor | None] = []
    for d, ref in enumerate(indices):
        zeros = None if ref is None else torch.zeros(flow.shape(ref), dtype=torch.int64)
        places.append(zeros if ref is None or d in unknown else _value(flow, ref))
    data = links(source)
    chosen: Links = None
    if data is not None:
        known = [d for d, ref in enumerate(indices) if ref is not None and d not in unknown]
        laid = in_full(flow, node, source, data, *known) if known else data
        named = flow.facts[indices[unknown[0]]].named if len(unknown) == 1 else None
        if named is not None:
            return flow.all_of(
                _one_by_one(flow, node, laid, places, unknown[0], named.may), *_all_placed(flow, node, links)
            )
        chosen = torch.ops.aten.index.Tensor(flow.algebra.reduce(laid, unknown), places)
    return flow.all_of(chosen, *_all_placed(flow, node, links))


def _all_placed(flow: Flow, node: Node, links: Lookup[Links]) -> list[Links]:
    return [_placed(flow, node, links(ref)) for ref in node.bound()["indices"] if ref is not None]


def _one_by_one(flow: Flow, node: Node, data: Tensor, places: list[Tensor | None], axis: int, may: Tensor) -> Links:
    """Join what stands at each place that the indices of one axis may name."""
    index, size = node.bound()["indices"][axis], flow.shape(node.bound()["self"])[axis]
    data, may = in_full(flow, node, node.bound()["self"], data, axis), _fitted(may, size)
    found: Links = None
    for place in range(size):
        marks = may[..., place if may.shape[-1] > 1 else 0]
        if bool(marks.any()):
            at = [torch.full_like(p, place) if d == axis and p is not None else p for d, p in enumerate(places)]
            there = torch.ops.aten.index.Tensor(data, at)
            hits = _placed(flow, node, marks.expand(flow.shape(index)).to(torch.float32))
            assert hits is not None
            found = flow.all_of(found, there * hits)
    return found


def _placed(flow: Flow, node: Node, places: Links) -> Links:
    """Lay an index tensor's dependences along the output axes that the indices have become."""
    if places is None:
        return None
    indices = node.bound()["indices"]
    used = [d for d, index in enumerate(indices) if index is not None]
    # torch leaves broadcast_shapes without types
    shape = torch.broadcast_shapes(*(flow.shape(index) for index in indices if index is not None))
    adjacent = used == list(range(used[0], used[-1] + 1))
    after = len(node.shape) - len(shape) - (used[0] if adjacent else 0)
    return places.expand(shape).reshape(*shape, *(1,) * after)


def scatter(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on what was there, what is written and where; with constant places, each element on its own writer."""
    named = node.bound()
    if node.operation.places is Places.CLASSES:
        places = links(named["self"])
        return everywhere(node, None if places is None else places.unsqueeze(-1))
    if _constant_places(flow, node):
        return moved(flow, node, links, data_refs(node) or frozenset())
    dim, index = named.get("dim"), named.get("index")
    written = named.get("src", named.get("source"))
    if isinstance(index, Ref) and isinstance(written, Ref) and isinstance(dim, int) and flow.facts[index].constant:
        return everywhere(node, _combined(flow, node, links, dim, index, written))
    slices = "value" in named and node.operation.places is Places.SLICES
    if slices and isinstance(index, Ref) and isinstance(dim, int) and flow.facts[index].constant:
        return everywhere(node, _filled(flow, node, links, dim, index))
    rest = [links(ref) for ref in node.refs if ref != named["self"]]
    if named.get("accumulate") and all(ref is None or flow.facts[ref].constant for ref in named["indices"]):
        return everywhere(node, _accumulated(flow, node, links))
    if dim is None:
        return everywhere(node, flow.all_of(links(named["self"]), flow.total(rest)))
    return everywhere(node, flow.all_of(links(named["self"]), *(_anywhere(flow, node, part, dim) for part in rest)))


def _combined(flow: Flow, node: Node, links: Lookup[Links], dim: int, index: Ref, written: Ref) -> Links:
    """Join what is written at constant places with what was there."""
    places, source, target = flow.facts[index].value, links(written), links(node.bound()["self"])
    assert places is not None
    if source is None:
        return target
    places = places.expand(flow.shape(index))
    source = in_full(flow, node, written, source)
    target = None if target is None else target.expand(node.shape)
    if places.ndim < source.ndim:  # index_add: one index for each slice
        places = places.reshape([-1 if d == dim % source.ndim else 1 for d in range(source.ndim)]).expand(source.shape)
    source = source[tuple(slice(size) for size in places.shape)]
    target = torch.zeros(node.shape) if target is None else target
    return flow.algebra.scatter(target, dim, places, source)


def _filled(flow: Flow, node: Node, links: Lookup[Links], dim: int, index: Ref) -> Links:
    """Keep what was there beside the constant places along an axis that one number fills."""
    named, ndim = node.bound(), max(1, len(node.shape))
    kept = torch.ones(node.shape[dim] if node.shape else 1, dtype=torch.bool)
    kept[_value(flow, index)] = False
    kept = kept.reshape([-1 if axis == dim % ndim else 1 for axis in range(len(node.shape))])
    target, value = links(named["self"]), links(named["value"]) if isinstance(named["value"], Ref) else None
    return flow.all_of(None if target is None else target * kept, None if value is None else value * ~kept)


def _accumulated(flow: Flow, node: Node, links: Lookup[Links]) -> Links:
    """Join the values that `index_put` adds at constant places, several at one place perhaps, with what was there."""
    named = node.bound()
    target, source = links(named["self"]), links(named["values"])
    if source is None:
        return target
    indices = [None if ref is None else _value(flow, ref) for ref in named["indices"]]
    numbers = torch.arange(node.meta.numel).reshape(node.shape)
    places = torch.ops.aten.index.Tensor(numbers, indices)  # where each value goes, in the flattened result
    target = torch.zeros(node.shape) if target is None else target.expand(node.shape)
    source = in_full(flow, node, named["values"], source).expand(places.shape).flatten()
    return flow.algebra.scatter(target.flatten(), 0, places.flatten(), source).reshape(node.shape)


def _anywhere(flow: Flow, node: Node, links: Links, dim: int) -> Links:
    """Let a slice reach any place along the axis; a tensor of another form reaches all of the result."""
    if links is None or links.ndim in (0, len(node.shape)):
        reduced = links if links is None or links.ndim == 0 else flow.algebra.reduce(links, [dim])
        if reduced is None or reduced.ndim == 0 or fits(reduced, node.shape):
            return reduced
    return flow.total([links])


def _value(flow: Flow, ref: Ref) -> Tensor:
    """Return the values of a constant, laid out in full."""
    value = flow.facts[ref].value
    assert value is not None
    return value.expand(flow.shape(ref))
