"""Whether an operation works on every row by itself, rows being the places of the first axis."""

from __future__ import annotations

from collections.abc import Collection

from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.run_node import permutation
from leadline.graph.table import Form, Kind, Move, Noise, Places, Statistics


def by_row(node: Node, graph: Graph, rows: Collection[Ref]) -> bool:
    """Tell whether reordering the rows of some arguments, `rows` among them, reorders those of the results alike.

    False where that is not known. All other arguments are the same for all rows.
    """
    shapes = {ref: graph.meta(ref).shape for ref in node.refs}
    count = next(shapes[ref][0] for ref in node.refs if ref in rows)
    if any(meta is None or meta.shape[:1] != (count,) for meta in node.outputs):
        return False
    if node.kind is Kind.POINTWISE:
        return _broadcasts(node, shapes, rows)
    if node.kind is Kind.CONTRACTION:
        return _contracts(node, shapes, rows)
    if node.kind is Kind.GATHER:
        return _looks_up(node, shapes, rows)
    if node.kind is Kind.RANDOM:
        return node.operation.noise is Noise.DROPOUT and node.bound().get("train") is False
    first, *others = node.refs
    together = node.operation.move is Move.JOIN
    if first not in rows or any((ref in rows) is not together for ref in others):
        return False
    return 0 not in _axes(node, len(shapes[first]))


def _broadcasts(node: Node, shapes: dict[Ref, tuple[int, ...]], rows: Collection[Ref]) -> bool:
    """Rows meet rows, and what has none is the same for all."""
    record, ndim = node.operation.pointwise, len(node.shape)
    if record is not None and record.form is Form.SLOPED:
        return node.refs[0] in rows and not any(ref in rows for ref in node.refs[1:]) and ndim > 1
    return all(
        len(shape) == ndim if ref in rows else len(shape) < ndim or shape[:1] == (1,) for ref, shape in shapes.items()
    )


def _contracts(node: Node, shapes: dict[Ref, tuple[int, ...]], rows: Collection[Ref]) -> bool:
    """Rows are the first axis of the result, and of the factors that have any."""
    named, product = node.bound(), node.operation.product
    if product is None:
        return False
    left, right = named[product.left], named[product.right]
    *factors, out = product.axes(len(shapes[left]), len(shapes[right]))
    for ref, axes in zip((left, right), factors, strict=True):
        if (axes[:1] != out[:1]) if ref in rows else out[0] in axes:
            return False
    added = named[product.added] if product.added else None
    if not isinstance(added, Ref):
        return True
    return len(shapes[added]) == len(out) if added in rows else len(shapes[added]) < len(out)


def _looks_up(node: Node, shapes: dict[Ref, tuple[int, ...]], rows: Collection[Ref]) -> bool:
    """Each row says which row of a table it wants, the table being the same for all."""
    named, places = node.bound(), node.operation.places
    if places is Places.ROWS:
        table, indices = named["weight"], (named["indices"],)
    elif places is Places.LISTS:
        table, indices = named["self"], named["indices"]
    elif places is Places.SLICES and named["dim"] == 0:
        table, indices = named["self"], (named["index"],)
    else:
        return False
    used = [ref for ref in indices if ref is not None]
    ndim = max(len(shapes[ref]) for ref in used)
    leading = indices[0] is not None and all(i is not None for i in indices[: len(used)])
    return leading and table not in rows and all(ref in rows and len(shapes[ref]) == ndim for ref in used)


def _axes(node: Node, ndim: int) -> tuple[int, ...]:
    """Return axes of the first argument along which an operation joins elements or looks at places; 0 if in doubt."""
    named, doubt = node.bound(), (0,)
    if node.kind is Kind.VIEW:
        if node.operation.move is Move.RESHAPE:
            return ()  # with as many rows as before, each is reshaped by itself
        if node.operation.move is Move.PERMUTE:
            return () if permutation(node, ndim)[0] == 0 else doubt
        if node.operation.move is Move.EXPAND:
            return () if len(node.shape) == ndim else doubt
        found = node.operation.acts(named, ndim)
        return doubt if found is None or len(node.shape) != ndim else found
    if node.kind is Kind.NORMALISATION and node.operation.statistics in (Statistics.LAYER, Statistics.SQUARES):
        return tuple(range(ndim - len(named["normalized_shape"]), ndim))
    if node.kind in (Kind.SOFTMAX, Kind.REDUCTION, Kind.CUMULATIVE, Kind.MIXING):
        dim = named.get("dim")
        dims = (dim,) if isinstance(dim, int) else dim
        return tuple(d % ndim for d in dims) if dims else doubt
    return doubt
