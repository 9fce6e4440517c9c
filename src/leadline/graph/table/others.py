"""Operations that are neither pointwise nor views."""

from typing import Any

from leadline.graph.table.record import (
    Cell,
    Grouping,
    Half,
    Kind,
    Literals,
    Matrices,
    Noise,
    Operation,
    Places,
    Product,
    Recurrence,
    Statistics,
    Tally,
    Transform,
)

_BATCH = "abcdefgh"


def _operations(kind: Kind, names: str, space: str = "aten", **facts: Any) -> dict[str, Operation]:
    return {f"{space}.{name}": Operation(name.partition(".")[0], kind, **facts) for name in names.split()}


def _contraction(name: str, left: str, right: str, axes: str, added: str | None = None) -> dict[str, Operation]:
    """Return a matrix product whose factors have fixed numbers of axes: ``"ik kj ij"``."""
    first, second, *rest = axes.split()
    letters = first, second, "".join(rest)
    return _operations(Kind.CONTRACTION, name, product=Product(left, right, lambda *_: letters, added))


def _linear(left: int, _: int) -> tuple[str, str, str]:
    batch = _BATCH[: left - 1]
    return f"{batch}k", "jk", f"{batch}j"


def _matmul(left: int, right: int) -> tuple[str, str, str]:
    """Give letters to axes, of which the first broadcast; a size of 1 keeps its letter."""
    batch = _BATCH[: max(left, right) - 2]
    rows, columns = "i" if left > 1 else "", "j" if right > 1 else ""
    left_batch = batch[len(batch) - left + 2 :] if left > 2 else ""
    right_batch = batch[len(batch) - right + 2 :] if right > 2 else ""
    return f"{left_batch}{rows}k", f"{right_batch}k{columns}", f"{batch}{rows}{columns}"


def _in_evaluation(literals: Literals) -> bool:
    """Say whether a batch normalisation takes its statistics from buffers."""
    return literals.get("training", literals.get("train")) is False


def _undropped(literals: Literals) -> bool:
    """Say whether a dropout, of a layer's own too, leaves everything as it is."""
    p = next((literals[name] for name in ("p", "dropout_p", "dropout") if name in literals), None)
    return literals.get("train", literals.get("training")) is False or p == 0


def _accumulates(literals: Literals) -> bool:
    return bool(literals.get("accumulate")) or isinstance(literals.get("reduce"), str)


_CREATION = {
    **_operations(
        Kind.CREATION,
        """
        arange bartlett_window blackman_window eye fft_fftfreq fft_rfftfreq full full_like hamming_window hann_window
        kaiser_window linspace logspace new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices
        triu_indices zeros zeros_like
        """,
    ),
    **_operations(
        Kind.CREATION,
        "empty empty_like empty_permuted empty_strided new_empty new_empty_strided",
        unwritten=True,
    ),
}

_WINDOWS = {
    name: operation
    for axes in (1, 2, 3)
    for name, operation in {
        **_operations(Kind.WINDOW, f"avg_pool{axes}d", tally=Tally.MEAN, spatial=axes),
        **_operations(
            Kind.WINDOW, f"adaptive_avg_pool{axes}d", tally=Tally.MEAN, spatial=axes, adaptive=True
        ),
        **_operations(Kind.WINDOW, f"max_pool{axes}d", tally=Tally.LARGEST, spatial=axes),
        **_operations(
            Kind.WINDOW, f"adaptive_max_pool{axes}d", tally=Tally.LARGEST, spatial=axes, adaptive=True
        ),
    }.items()
} | {
    **_operations(Kind.WINDOW, "_adaptive_avg_pool2d", tally=Tally.MEAN, spatial=2, adaptive=True),
    **_operations(Kind.WINDOW, "_adaptive_avg_pool3d", tally=Tally.MEAN, spatial=3, adaptive=True),
    **_operations(Kind.WINDOW, "max_pool2d_with_indices", tally=Tally.LARGEST, spatial=2),
    **_operations(Kind.WINDOW, "max_pool3d_with_indices", tally=Tally.LARGEST, spatial=3),
}  # fmt: skip

_PRODUCTS = {
    **_operations(Kind.CONTRACTION, "linear", product=Product("input", "weight", _linear, "bias")),
    **_operations(Kind.CONTRACTION, "matmul", product=Product("self", "other", _matmul)),
    **_contraction("mm", "self", "mat2", "ik kj ij"),
    **_contraction("addmm", "mat1", "mat2", "ik kj ij", "self"),
    **_contraction("bmm", "self", "mat2", "bik bkj bij"),
    **_contraction("baddbmm", "batch1", "batch2", "bik bkj bij", "self"),
    **_contraction("addbmm", "batch1", "batch2", "bik bkj ij", "self"),
    **_contraction("mv", "self", "vec", "ik k i"),
    **_contraction("addmv", "mat", "vec", "ik k i", "self"),
    # their factors alone do not say which rows are multiplied by what: `graph.rewriting.unsorted` does
    **_operations(Kind.CONTRACTION, "_grouped_mm", grouping=Grouping.PRODUCT),
    **_operations(Kind.CONTRACTION, "grouped_mm_fallback", "transformers", grouping=Grouping.PRODUCT),
    **_contraction("dot", "self", "tensor", "k k"),
    **_contraction("vdot", "self", "other", "k k"),
}

_REDUCTIONS = {
    **_operations(Kind.REDUCTION, "sum", tally=Tally.SUM),
    **_operations(Kind.REDUCTION, "prod", tally=Tally.PRODUCT),
    **_operations(Kind.REDUCTION, "mean", tally=Tally.MEAN),
    **_operations(Kind.REDUCTION, "amax", tally=Tally.LARGEST),
    **_operations(Kind.REDUCTION, "amin", tally=Tally.LEAST),
    **_operations(Kind.REDUCTION, "max", tally=Tally.LARGEST, first=lambda _: True),
    **_operations(Kind.REDUCTION, "min", tally=Tally.LEAST, first=lambda _: False),
    **_operations(Kind.REDUCTION, "argmax", first=lambda _: True),
    **_operations(Kind.REDUCTION, "argmin", first=lambda _: False),
    **_operations(Kind.REDUCTION, "logsumexp", tally=Tally.LOG_SUM_EXP),
    **_operations(Kind.REDUCTION, "any", tally=Tally.ANY),
    **_operations(Kind.REDUCTION, "all", tally=Tally.ALL),
    **_operations(Kind.REDUCTION, "count_nonzero", tally=Tally.COUNT),
    **_operations(
        Kind.REDUCTION,
        "aminmax kthvalue median mode nanmedian nansum",
    ),
    **_operations(Kind.REDUCTION, "linalg_vector_norm", norm="ord"),
    **_operations(Kind.REDUCTION, "norm", norm="p"),
    **_operations(Kind.REDUCTION, "var var_mean", spread=False),
    **_operations(Kind.REDUCTION, "std std_mean", spread=True),
    **_operations(Kind.REDUCTION, "histc", grouping=Grouping.HISTOGRAM),
    **_operations(Kind.CUMULATIVE, "cumsum", tally=Tally.SUM),
    **_operations(Kind.CUMULATIVE, "cumprod", tally=Tally.PRODUCT),
    **_operations(Kind.CUMULATIVE, "cummax", tally=Tally.LARGEST),
    **_operations(Kind.CUMULATIVE, "cummin", tally=Tally.LEAST),
    **_operations(Kind.CUMULATIVE, "logcumsumexp", tally=Tally.LOG_SUM_EXP),
}


def _descending(literals: Literals) -> bool:
    return bool(literals["descending"])


def _fourier(names: str, inverse: bool | None, real: Half = Half.NEITHER, space: str = "aten") -> dict[str, Operation]:
    return _operations(Kind.MIXING, names, space, transform=Transform(inverse, real))


_MIXING = {
    **_fourier("fft_fft fft_fft2 fft_fftn", inverse=False),
    **_fourier("fft_ifft fft_ifft2 fft_ifftn", inverse=True),
    **_fourier("fft_rfft fft_rfft2 fft_rfftn _fft_r2c", inverse=False, real=Half.INPUT),
    **_fourier("fft_irfft fft_irfft2 fft_irfftn _fft_c2r", inverse=True, real=Half.OUTPUT),
    **_fourier("_fft_c2c", inverse=None),
    # what torch decomposes other transforms to
    **_fourier("fft_r2c.default", inverse=False, real=Half.INPUT, space="prims"),
    **_fourier("fft_c2r.default", inverse=True, real=Half.OUTPUT, space="prims"),
    **_fourier("fft_c2c.default", inverse=None, space="prims"),
    **_operations(Kind.MIXING, "circular_convolution", "leadline", circular=True),
    **_operations(Kind.MIXING, "topk", located=True, first=lambda literals: bool(literals["largest"])),
    **_operations(Kind.MIXING, "sort", grouping=Grouping.SORT, located=True, first=_descending),
    **_operations(Kind.MIXING, "argsort", grouping=Grouping.ORDER, first=_descending),
}


def _side(literals: Literals) -> bool:
    """Say whether the lower triangle of a matrix is read, or is the result."""
    return not literals["upper"]


_MATRICES = {
    **_operations(
        Kind.MATRICES,
        """
        _linalg_det _linalg_eigh _linalg_slogdet _linalg_svd cholesky_inverse linalg_eig linalg_eigvals
        linalg_ldl_factor_ex
        """,
        matrices=Matrices(),
    ),
    **_operations(Kind.MATRICES, "inverse linalg_inv linalg_inv_ex", matrices=Matrices(inverts=True)),
    **_operations(Kind.MATRICES, "linalg_matrix_exp", matrices=Matrices(powers=True)),
    **_operations(Kind.MATRICES, "linalg_qr", matrices=Matrices(triangles=lambda _: (None, False))),
    **_operations(Kind.MATRICES, "linalg_lu", matrices=Matrices(triangles=lambda _: (None, True, False))),
    **_operations(Kind.MATRICES, "_linalg_solve_ex", matrices=Matrices("B", inverts=True)),
    **_operations(Kind.MATRICES, "linalg_lu_factor_ex", matrices=Matrices(factors=True)),
    **_operations(Kind.MATRICES, "linalg_lu_solve", matrices=Matrices("B", by_factors=True)),
    **_operations(Kind.MATRICES, "linalg_pinv", matrices=Matrices(pseudo=True)),
    **_operations(Kind.MATRICES, "linalg_solve_triangular", matrices=Matrices("B", inverts=True, side=_side)),
    **_operations(
        Kind.MATRICES,
        "linalg_cholesky_ex",
        matrices=Matrices(side=_side, triangles=lambda literals: (_side(literals),)),
    ),
}

_NORMALISATIONS = {
    **_operations(Kind.SOFTMAX, "softmax _softmax"),
    **_operations(Kind.SOFTMAX, "_safe_softmax", safe=True),
    **_operations(Kind.SOFTMAX, "log_softmax _log_softmax", logarithm=True),
    **_operations(
        Kind.NORMALISATION,
        "batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional",
        statistics=Statistics.BATCH,
        frozen=_in_evaluation,
    ),
    **_operations(
        Kind.NORMALISATION,
        "_native_batch_norm_legit_no_training",
        statistics=Statistics.BATCH,
        frozen=lambda _: True,
    ),
    **_operations(Kind.NORMALISATION, "group_norm native_group_norm", statistics=Statistics.GROUP),
    **_operations(Kind.NORMALISATION, "layer_norm native_layer_norm", statistics=Statistics.LAYER),
    **_operations(Kind.NORMALISATION, "rms_norm _fused_rms_norm", statistics=Statistics.SQUARES),
    **_operations(Kind.NORMALISATION, "_weight_norm _weight_norm_interface", statistics=Statistics.WEIGHT),
}

_SCANS = {
    **_operations(Kind.SCAN, "rnn_tanh", recurrence=Recurrence(Cell.TANH), quiet=_undropped),
    **_operations(Kind.SCAN, "rnn_relu", recurrence=Recurrence(Cell.RELU), quiet=_undropped),
    **_operations(Kind.SCAN, "gru", recurrence=Recurrence(Cell.GRU), quiet=_undropped),
    **_operations(Kind.SCAN, "lstm", recurrence=Recurrence(Cell.LSTM), quiet=_undropped),
    **_operations(Kind.SCAN, "rnn_tanh_cell", recurrence=Recurrence(Cell.TANH, step=True)),
    **_operations(Kind.SCAN, "rnn_relu_cell", recurrence=Recurrence(Cell.RELU, step=True)),
    **_operations(Kind.SCAN, "gru_cell", recurrence=Recurrence(Cell.GRU, step=True)),
    **_operations(Kind.SCAN, "lstm_cell", recurrence=Recurrence(Cell.LSTM, step=True)),
    **_operations(Kind.SCAN, "grid_rnn.default", "leadline", recurrence=Recurrence(Cell.TANH, grid=True)),
    **_operations(Kind.SCAN, "grid_lstm.default", "leadline", recurrence=Recurrence(Cell.LSTM, grid=True)),
    # packed sequences
    **_operations(Kind.OPAQUE, "lstm.data gru.data rnn_tanh.data rnn_relu.data"),
}

_INDEXING = {
    **_operations(Kind.GATHER, "embedding", places=Places.ROWS),
    **_operations(Kind.GATHER, "index _unsafe_index", places=Places.LISTS),
    **_operations(Kind.GATHER, "index_select", places=Places.SLICES),
    **_operations(Kind.GATHER, "gather", places=Places.ELEMENTS),
    **_operations(Kind.SCATTER, "index_put _unsafe_index_put", places=Places.LISTS, combines=_accumulates),
    **_operations(Kind.SCATTER, "index_copy", places=Places.SLICES),
    # what is written there is a literal, or one number for all
    **_operations(Kind.SCATTER, "index_fill", places=Places.SLICES, combines=lambda _: True),
    **_operations(Kind.SCATTER, "index_add", places=Places.SLICES, combines=lambda _: True),
    **_operations(Kind.SCATTER, "scatter", places=Places.ELEMENTS, combines=_accumulates),
    **_operations(Kind.SCATTER, "scatter_add scatter_reduce", places=Places.ELEMENTS, combines=lambda _: True),
    **_operations(Kind.SCATTER, "masked_scatter", places=Places.MASK),
    **_operations(Kind.SCATTER, "one_hot", places=Places.CLASSES, combines=lambda _: True),
    # indices whose number depends on values
    **_operations(Kind.OPAQUE, "where.default"),
}

_RANDOM = {
    **_operations(Kind.RANDOM, "dropout native_dropout feature_dropout", noise=Noise.DROPOUT, quiet=_undropped),
    **_operations(Kind.RANDOM, "alpha_dropout", noise=Noise.ALPHA_DROPOUT, quiet=_undropped),
    **_operations(Kind.RANDOM, "rand rand_like", noise=Noise.SHAPE, reach=(0.0, 1.0)),
    **_operations(Kind.RANDOM, "randint randint_like randn randn_like randperm", noise=Noise.SHAPE),
    **_operations(Kind.RANDOM, "rrelu", noise=Noise.SLOPE, quiet=_undropped),
    **_operations(Kind.RANDOM, "bernoulli", reach=(0.0, 1.0)),
    **_operations(Kind.RANDOM, "exponential normal poisson rrelu_with_noise_functional uniform"),
}

_NUMBERS = _operations(  # Python's own, on numbers that were read from tensors
    Kind.POINTWISE,
    """
    abs add and_ eq floordiv ge gt le lt mod mul ne neg not_ or_ pos pow sub sym_float sym_int sym_ite sym_max sym_min
    sym_not sym_sum truediv
    """,
    "number",
)

OTHERS: dict[str, Operation] = {
    **_NUMBERS,
    **_CREATION,
    **_WINDOWS,
    **_operations(Kind.CONVOLUTION, "conv1d conv2d conv3d convolution"),
    **_operations(Kind.CONVOLUTION, "conv_transpose1d conv_transpose2d conv_transpose3d", transposed=True),
    **_PRODUCTS,
    **_REDUCTIONS,
    **_MIXING,
    **_MATRICES,
    **_NORMALISATIONS,
    **_operations(Kind.ATTENTION, "scaled_dot_product_attention", quiet=_undropped),
    **_SCANS,
    **_INDEXING,
    **_RANDOM,
    **_operations(
        Kind.EFFECT,
        "_assert_async _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size",
    ),
}
