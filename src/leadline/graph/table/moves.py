"""Views: every element of the result is one element of an argument, or a literal."""

from leadline.graph.table.record import Acts, Kind, Literals, Move, Operation, everywhere


def _nowhere(literals: Literals, ndim: int) -> tuple[int, ...]:  # noqa: ARG001 - all have one signature
    return ()


def _named(*names: str) -> Acts:
    """Act along the axes that arguments name: one, several, or all where there are none."""

    def acts(literals: Literals, ndim: int) -> tuple[int, ...] | None:
        found: list[int] = []
        for name in names:
            value = literals.get(name)
            if value is None or value == ():
                return None
            found += value if isinstance(value, tuple) else [value]
        return tuple(sorted({axis % ndim for axis in found})) if ndim else ()

    return acts


def _last(count: int) -> Acts:
    return lambda _, ndim: tuple(range(max(0, ndim - count), ndim))


def _axis(axis: int) -> Acts:
    return lambda _, ndim: (axis,) if axis < ndim else ()


def _padded(literals: Literals, ndim: int) -> tuple[int, ...]:
    """Act along the last axes, those that get something or lose something."""
    pad = literals.get("pad", literals.get("padding"))
    assert isinstance(pad, tuple), "a padding is a list of numbers"
    return tuple(sorted(ndim - 1 - i // 2 for i in range(0, len(pad), 2) if pad[i] != 0 or pad[i + 1] != 0))


def _repeated(literals: Literals, ndim: int) -> tuple[int, ...]:
    times = literals.get("repeats", literals.get("dims"))
    assert isinstance(times, tuple), "repeats are a list of numbers"
    return tuple(axis for axis, n in enumerate(times, ndim - len(times)) if n != 1 and axis >= 0)


def _views(move: Move, acts: Acts, names: str) -> dict[str, Operation]:
    return {
        f"aten.{name}": Operation(name.partition(".")[0], Kind.VIEW, move=move, acts=acts) for name in names.split()
    }


_SAME_ELEMENTS = """
    atleast_1d atleast_2d atleast_3d flatten ravel reshape reshape_as _reshape_alias _reshape_copy squeeze squeeze_copy
    unflatten _unsafe_view unsqueeze unsqueeze_copy view view_as view_copy
"""
_OTHER_ORDER = """
    moveaxis movedim mT numpy_T permute permute_copy swapaxes swapdims t t_copy transpose transpose_copy
"""
_SOME_PLACES = """
    chunk narrow select select_copy slice slice_copy split split_copy split_with_sizes split_with_sizes_copy
    tensor_split unbind unbind_copy unsafe_chunk unsafe_split
"""
_ENDS_REPEATED = """
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
"""

VIEWS: dict[str, Operation] = {
    **_views(Move.RESHAPE, everywhere, _SAME_ELEMENTS),
    **_views(Move.PERMUTE, _nowhere, _OTHER_ORDER),
    **_views(Move.EXPAND, _nowhere, "broadcast_to expand expand_as expand_copy"),
    **_views(Move.TAKE, _named("dim"), _SOME_PLACES),
    **_views(Move.FLIP, _named("dims"), "flip"),
    **_views(Move.FLIP, _axis(0), "flipud"),
    **_views(Move.FLIP, _axis(1), "fliplr"),
    **_views(Move.ROLL, _named("dims"), "roll"),
    **_views(Move.REPEAT, _repeated, "repeat tile"),
    **_views(Move.REPEAT, _named("dim"), "repeat_interleave.self_int"),
    **_views(Move.PAD, _padded, "constant_pad_nd pad"),
    **_views(Move.MIRROR, _padded, _ENDS_REPEATED),
    **_views(Move.JOIN, _named("dim"), "cat concat concatenate"),
    **_views(Move.STACK, _nowhere, "stack"),
    **_views(Move.WRITE, _named("dim"), "select_scatter slice_scatter"),
    **_views(Move.WRITE, _named("dim1", "dim2"), "diagonal_scatter"),
    **_views(Move.DIAGONAL, _named("dim1", "dim2"), "diagonal diagonal_copy"),
    **_views(Move.TRIANGLE, _last(2), "tril triu"),
    **_views(Move.WINDOWS, _named("dimension"), "unfold unfold_copy"),
    **_views(Move.ENLARGE, _last(1), "upsample_nearest1d _upsample_nearest_exact1d"),
    **_views(Move.ENLARGE, _last(2), "upsample_nearest2d _upsample_nearest_exact2d"),
    **_views(Move.ENLARGE, _last(3), "upsample_nearest3d _upsample_nearest_exact3d"),
    **_views(Move.SHUFFLE, _last(3), "pixel_shuffle pixel_unshuffle"),
    **_views(Move.SHUFFLE, _axis(1), "channel_shuffle"),
    **_views(Move.PAIRS_TO_COMPLEX, _last(1), "view_as_complex"),
    **_views(Move.COMPLEX_TO_PAIRS, _nowhere, "view_as_real"),
    **_views(Move.RETYPE, everywhere, "view.dtype view_copy.dtype"),
    **_views(Move.SPREAD, everywhere, "block_diag diag_embed"),
    **_views(Move.OTHER, _named("dims"), "rot90"),
    **_views(
        Move.OTHER,
        everywhere,
        """
        atleast_1d.Sequence atleast_2d.Sequence atleast_3d.Sequence broadcast_tensors column_stack
        hstack im2col meshgrid vstack
        """,
    ),
}
