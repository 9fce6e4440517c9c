"""Every view of the table moves elements as its record says: along the axes that it names, and along no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from leadline.graph.ir import frozen
from leadline.graph.table import OPERATIONS, Kind, Move, operation_of

X = torch.arange(2 * 4 * 4 * 4.0).reshape(2, 4, 4, 4) + 1
Example = tuple[Callable[[Tensor], tuple[Any, ...]], tuple[Any, ...]]


def plain(*rest: Any) -> Example:
    return lambda x: (x,), rest


def of(first: Callable[[Tensor], Any], *rest: Any) -> Example:
    return lambda x: (first(x),), rest


# From overloads to their first arguments, made of a tensor of shape (2, 4, 4, 4), and the rest.
EXAMPLES: dict[str, Example] = {
    "atleast_1d.default": plain(),
    "atleast_2d.default": plain(),
    "atleast_3d.default": plain(),
    "flatten.using_ints": plain(1),
    "ravel.default": plain(),
    "reshape.default": plain([8, 16]),
    "reshape_as.default": plain(torch.zeros(8, 16)),
    "_reshape_alias.default": plain([8, 16], [16, 1]),
    "_reshape_copy.default": plain([8, 16]),
    "squeeze.dim": of(lambda x: x[:, :1], 1),
    "squeeze_copy.dim": of(lambda x: x[:, :1], 1),
    "unflatten.int": plain(1, [2, 2]),
    "_unsafe_view.default": plain([8, 16]),
    "unsqueeze.default": plain(1),
    "unsqueeze_copy.default": plain(1),
    "view.default": plain([8, 16]),
    "view_as.default": plain(torch.zeros(8, 16)),
    "view_copy.default": plain([8, 16]),
    "moveaxis.int": plain(1, 3),
    "movedim.int": plain(1, 3),
    "mT.default": plain(),
    "numpy_T.default": of(lambda x: x[0, 0]),
    "permute.default": plain([0, 2, 3, 1]),
    "permute_copy.default": plain([0, 2, 3, 1]),
    "swapaxes.default": plain(1, 3),
    "swapdims.default": plain(1, 3),
    "t.default": of(lambda x: x[0, 0]),
    "t_copy.default": of(lambda x: x[0, 0]),
    "transpose.int": plain(1, -1),
    "transpose_copy.int": plain(1, -1),
    "broadcast_to.default": plain([3, 2, 4, 4, 4]),
    "expand.default": of(lambda x: x[:, :1], [3, 2, 5, 4, 4]),
    "expand_as.default": plain(torch.zeros(3, 2, 4, 4, 4)),
    "expand_copy.default": plain([3, 2, 4, 4, 4]),
    "chunk.default": plain(2, 1),
    "narrow.default": plain(-1, 1, 2),
    "select.int": plain(-2, 1),
    "select_copy.int": plain(1, -1),
    "slice.Tensor": plain(1, 0, None, 2),
    "slice_copy.Tensor": plain(1, 1, 3),
    "split.Tensor": plain(3, 1),
    "split_copy.Tensor": plain(3, 1),
    "split_with_sizes.default": plain([1, 3], -1),
    "split_with_sizes_copy.default": plain([1, 3], -1),
    "tensor_split.sections": plain(3, 2),
    "unbind.int": plain(1),
    "unbind_copy.int": plain(1),
    "unsafe_chunk.default": plain(2, 1),
    "unsafe_split.Tensor": plain(3, 1),
    "flip.default": plain([1, -1]),
    "flipud.default": plain(),
    "fliplr.default": plain(),
    "roll.default": plain([1, 2], [1, -1]),
    "repeat.default": plain([2, 1, 3, 1, 1]),
    "tile.default": plain([3, 1]),
    "repeat_interleave.self_int": plain(2, 1),
    "constant_pad_nd.default": plain([0, 0, 1, -1], 0.0),
    "pad.default": plain([1, 0, 0, 0], "constant", 0.0),
    "reflection_pad1d.default": of(lambda x: x[0], [1, 0]),
    "reflection_pad2d.default": plain([0, 0, 1, 2]),
    "reflection_pad3d.default": plain([0, 0, 1, 2, 1, 1]),
    "replication_pad1d.default": of(lambda x: x[0], [1, 0]),
    "replication_pad2d.default": plain([0, 0, 1, 2]),
    "replication_pad3d.default": plain([0, 0, 1, 2, 1, 1]),
    "cat.default": of(lambda x: [x, x[:, :1]], 1),
    "concat.default": of(lambda x: [x, x[:, :1]], 1),
    "concatenate.default": of(lambda x: [x, x[:, :1]], 1),
    "stack.default": of(lambda x: [x, x], 1),
    "select_scatter.default": (lambda x: (x, x[:, 1]), (1, 2)),
    "slice_scatter.default": (lambda x: (x, x[:, :2]), (1, 1, 3)),
    "diagonal_scatter.default": (lambda x: (x, x.diagonal(0, 1, 2)), (0, 1, 2)),
    "diagonal.default": plain(1, 1, 3),
    "diagonal_copy.default": plain(1, 1, 3),
    "tril.default": plain(1),
    "triu.default": plain(),
    "unfold.default": plain(2, 3, 1),
    "unfold_copy.default": plain(2, 3, 1),
    "upsample_nearest1d.default": of(lambda x: x[0], [8]),
    "_upsample_nearest_exact1d.default": of(lambda x: x[0], [8]),
    "upsample_nearest2d.default": plain([8, 8]),
    "_upsample_nearest_exact2d.default": plain([8, 8]),
    "upsample_nearest3d.default": of(lambda x: x[None], [8, 8, 8]),
    "_upsample_nearest_exact3d.default": of(lambda x: x[None], [8, 8, 8]),
    "pixel_shuffle.default": plain(2),
    "pixel_unshuffle.default": plain(2),
    "channel_shuffle.default": plain(2),
    "view_as_complex.default": of(lambda x: x[..., :2].contiguous()),
    "view_as_real.default": of(lambda x: torch.complex(x, x)),
    "view.dtype": plain(torch.int32),
    "view_copy.dtype": plain(torch.int32),
    "rot90.default": plain(1, [1, 2]),
    "atleast_1d.Sequence": of(lambda x: [x, x]),
    "atleast_2d.Sequence": of(lambda x: [x, x]),
    "atleast_3d.Sequence": of(lambda x: [x, x]),
    "block_diag.default": of(lambda x: [x[0, 0], x[0, 1]]),
    "broadcast_tensors.default": of(lambda x: [x, x[:1]]),
    "column_stack.default": of(lambda x: [x, x]),
    "diag_embed.default": plain(),
    "hstack.default": of(lambda x: [x, x]),
    "im2col.default": plain([2, 2], [1, 1], [0, 0], [1, 1]),
    "meshgrid.default": of(lambda x: [x[0, 0, 0], x[0, 0, 1]]),
    "vstack.default": of(lambda x: [x, x]),
}
NEW_NUMBERS = (Move.RETYPE, Move.PAIRS_TO_COMPLEX)


def call(name: str, x: Tensor) -> list[Tensor]:
    """Run an example on a tensor."""
    packet, overload = name.split(".")
    first, rest = EXAMPLES[name]
    result = getattr(getattr(torch.ops.aten, packet), overload)(*first(x), *rest)
    return [*result] if isinstance(result, tuple | list) else [result]


def first(name: str) -> Tensor:
    given = EXAMPLES[name][0](X)[0]
    tensor: Tensor = given[0] if isinstance(given, list) else given
    return tensor


def acts(name: str) -> tuple[int, ...] | None:
    """The axes along which an example acts, as its record says."""
    packet, overload = name.split(".")
    schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
    named = {a.name: frozen(a.default_value) for a in schema.arguments if a.has_default_value()}
    maker, rest = EXAMPLES[name]
    named |= {a.name: frozen(v) for a, v in zip(schema.arguments, (*maker(X), *rest), strict=False)}
    return operation_of(f"aten.{name}").acts(named, first(name).ndim)


def test_every_view_has_an_example() -> None:
    shown = {id(operation_of(f"aten.{name}")) for name in EXAMPLES}
    views = [op for op, record in OPERATIONS.items() if record.kind is Kind.VIEW]
    assert [op for op in views if id(OPERATIONS[op]) not in shown] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_results_hold_elements_of_the_arguments_or_zeros(name: str) -> None:
    if operation_of(f"aten.{name}").move not in NEW_NUMBERS:
        given = {0.0, *X.flatten().tolist()}
        assert all({*part.flatten().tolist()} <= given for part in call(name, X))


@pytest.mark.parametrize("name", [name for name in EXAMPLES if acts(name) is not None])
def test_axes_on_which_nothing_acts_are_kept_as_they_are(name: str) -> None:
    """Put the places of such an axis into another order: so are those of one axis of each result."""
    shape, acting = first(name).shape, acts(name)
    assert acting is not None
    behind = X.ndim - len(shape)  # the examples that take less of the tensor take its last axes
    for axis, size in enumerate(shape):
        if size == 1 or axis in acting or axis + behind < 0 or X.shape[axis + behind] != size:
            continue
        order = torch.arange(size).roll(1)
        before, after = call(name, X), call(name, X.index_select(axis + behind, order))
        for a, b in zip(before, after, strict=True):
            assert any(n == size and torch.equal(a.index_select(at, order), b) for at, n in enumerate(a.shape)), axis


@pytest.mark.parametrize("name", [name for name in EXAMPLES if acts(name)])
def test_every_axis_on_which_it_acts_is_one(name: str) -> None:
    """Where places of such an axis change their order, something else happens than that."""
    shape, acting = first(name).shape, acts(name)
    behind = X.ndim - len(shape)
    for axis in acting or ():
        if axis + behind >= 0 and shape[axis] > 2:
            order = torch.arange(shape[axis]).roll(1)
            after = call(name, X.index_select(axis + behind, order) if X.shape[axis + behind] == shape[axis] else X)
            same = [torch.equal(a.index_select(at, order), b) for a, b in zip(call(name, X), after, strict=True)
                    for at, n in enumerate(a.shape) if n == shape[axis]]  # fmt: skip
            assert not all(same) or not same


def test_moves_are_what_they_are_called() -> None:
    for name in EXAMPLES:
        move, results, x = operation_of(f"aten.{name}").move, call(name, X), first(name)
        if move is Move.RESHAPE:
            assert torch.equal(results[0].flatten(), x.flatten())
        elif move is Move.PERMUTE:
            assert sorted(results[0].shape) == sorted(x.shape)
            assert sorted(results[0].flatten().tolist()) == sorted(x.flatten().tolist())
        elif move is Move.EXPAND:
            assert torch.equal(results[0], x.expand(results[0].shape))
        elif move is Move.TAKE:
            (axis,) = acts(name) or ()
            pieces = [part if part.ndim == x.ndim else part.unsqueeze(axis) for part in results]
            rows = {tuple(row.flatten().tolist()) for row in x.unbind(axis)}
            assert all(tuple(row.flatten().tolist()) in rows for part in pieces for row in part.unbind(axis))
        elif move is Move.JOIN:
            assert torch.equal(results[0], torch.cat([x, x[:, :1]], 1))
        elif move is Move.FLIP:
            assert torch.equal(results[0], x.flip(acts(name) or ()))
