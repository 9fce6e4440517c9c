"""The one table of operations: what kind each ATen operator is. A domain writes one rule per kind."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """How values flow through an operation."""

    INPUT = "input"  # leaves
    PARAMETER = "parameter"
    BUFFER = "buffer"
    CREATION = "creation"  # depends on no tensor's values: arange, zeros, full_like
    POINTWISE = "pointwise"  # element p of the output from elements p of the broadcast arguments
    VIEW = "view"  # every output element is one input element or a literal: reshape, slice, pad, cat, roll
    WINDOW = "window"  # pooling
    CONVOLUTION = "convolution"
    CONTRACTION = "contraction"  # matrix products
    REDUCTION = "reduction"  # sum, max, argmax, var along axes
    CUMULATIVE = "cumulative"  # cumsum: element i from elements up to i along an axis
    MIXING = "mixing"  # every element along the axes from every one: sort, FFT
    SOFTMAX = "softmax"
    NORMALISATION = "normalisation"  # statistics over axes, then pointwise
    ATTENTION = "attention"
    SCAN = "scan"  # recurrences, kept whole
    GATHER = "gather"  # elements chosen by index tensors: embedding, index, gather
    SCATTER = "scatter"  # elements placed by index tensors
    RANDOM = "random"  # pointwise with noise: dropout in training, bernoulli
    EFFECT = "effect"  # assertions; no value
    OPAQUE = "opaque"  # no rule


LEAVES = frozenset({Kind.INPUT, Kind.PARAMETER, Kind.BUFFER})

_PACKETS = {
    Kind.CREATION: """
        arange bartlett_window blackman_window empty empty_like empty_permuted empty_strided eye fft_fftfreq
        fft_rfftfreq full full_like hamming_window hann_window kaiser_window linspace logspace new_empty
        new_empty_strided new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices triu_indices zeros
        zeros_like
    """,
    Kind.POINTWISE: """
        __and__ __lshift__ __or__ __rshift__ __xor__ abs absolute acos acosh add addcdiv addcmul alias angle
        arctan2 asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or
        bitwise_right_shift bitwise_xor ceil celu clamp clamp_max clamp_min clip clone complex _conj conj
        _conj_physical conj_physical contiguous copy copysign cos cosh deg2rad detach digamma div divide elu eq
        erf erfc erfinv exp exp2 expm1 fill float_power floor floor_divide fmax fmin fmod frac ge gelu greater
        greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 imag isclose isfinite
        isinf isnan isneginf isposinf item le leaky_relu lerp less less_equal lgamma lift_fresh lift_fresh_copy
        _local_scalar_dense log log10 log1p log2 log_sigmoid log_sigmoid_forward logaddexp logaddexp2
        logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul multiply
        mvlgamma nan_to_num ne neg _neg_view negative not_equal polar polygamma positive pow prelu rad2deg real
        reciprocal relu relu6 remainder resolve_conj resolve_neg round rsqrt rsub selu sgn sigmoid sign signbit
        silu sin sinc sinh softplus softshrink special_erf special_erfcx special_expit special_i0e
        special_log_ndtr special_ndtr special_xlog1py sqrt square sub subtract tan tanh threshold to _to_copy
        true_divide trunc type_as where xlogy
    """,
    Kind.VIEW: """
        atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to cat channel_shuffle chunk
        column_stack concat concatenate constant_pad_nd diag_embed diagonal diagonal_copy diagonal_scatter expand
        expand_as expand_copy flatten flip fliplr flipud hstack im2col mT meshgrid moveaxis movedim narrow numpy_T
        pad permute permute_copy pixel_shuffle pixel_unshuffle ravel reflection_pad1d reflection_pad2d
        reflection_pad3d repeat replication_pad1d replication_pad2d replication_pad3d reshape _reshape_alias
        reshape_as _reshape_copy roll rot90 select select_copy select_scatter slice slice_copy slice_scatter split
        split_copy split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack swapaxes swapdims t t_copy
        tensor_split tile transpose transpose_copy tril triu unbind unbind_copy unflatten unfold unfold_copy
        unsafe_chunk unsafe_split _unsafe_view unsqueeze unsqueeze_copy upsample_nearest1d upsample_nearest2d
        upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d view
        view_as view_as_complex view_as_real view_copy vstack
    """,
    Kind.WINDOW: """
        adaptive_avg_pool1d _adaptive_avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool3d
        adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool1d
        max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices
    """,
    Kind.CONVOLUTION: "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution",
    Kind.CONTRACTION: "addbmm addmm addmv baddbmm bmm dot linear matmul mm mv vdot",
    Kind.REDUCTION: """
        all amax amin aminmax any argmax argmin count_nonzero kthvalue linalg_vector_norm logsumexp max mean median
        min mode nanmedian nansum norm prod std std_mean sum var var_mean
    """,
    Kind.CUMULATIVE: "cummax cummin cumprod cumsum logcumsumexp",
    Kind.MIXING: """
        _fft_c2c _fft_c2r fft_fft fft_fft2 fft_fftn fft_ifft fft_ifft2 fft_ifftn fft_irfft fft_irfft2 fft_irfftn
        _fft_r2c fft_rfft fft_rfft2 fft_rfftn sort topk
    """,
    Kind.SOFTMAX: "softmax log_softmax _softmax _log_softmax ",
    Kind.NORMALISATION: """
        batch_norm _fused_rms_norm group_norm layer_norm native_batch_norm _native_batch_norm_legit
        _native_batch_norm_legit_functional _native_batch_norm_legit_no_training native_group_norm native_layer_norm
        rms_norm _weight_norm _weight_norm_interface
    """,
    Kind.ATTENTION: "scaled_dot_product_attention ",
    Kind.SCAN: "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    Kind.GATHER: "embedding gather index index_select _unsafe_index",
    Kind.SCATTER: """
        index_add index_copy index_fill index_put masked_scatter one_hot scatter scatter_add scatter_reduce
        _unsafe_index_put
    """,
    Kind.RANDOM: """
        alpha_dropout bernoulli dropout exponential feature_dropout native_dropout normal poisson rand rand_like
        randint randint_like randn randn_like randperm rrelu rrelu_with_noise_functional uniform
    """,
    Kind.EFFECT: """
        _assert_async _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size
    """,
}  # fmt: skip

_OVERLOADS = {
    "aten.max.other": Kind.POINTWISE,
    "aten.min.other": Kind.POINTWISE,
    "aten.lstm.data": Kind.OPAQUE,  # packed sequences
    "aten.gru.data": Kind.OPAQUE,
    "aten.rnn_tanh.data": Kind.OPAQUE,
    "aten.rnn_relu.data": Kind.OPAQUE,
    "aten.repeat_interleave.self_int": Kind.VIEW,
    "aten.argsort.default": Kind.MIXING,
    "aten.where.default": Kind.OPAQUE,  # indices: the shape depends on values
    "prims.fft_r2c.default": Kind.MIXING,  # what torch decomposes other transforms to
    "prims.fft_c2c.default": Kind.MIXING,
    "prims.fft_c2r.default": Kind.MIXING,
    "leadline.grid_rnn.default": Kind.SCAN,
    "leadline.grid_lstm.default": Kind.SCAN,
}

KINDS: dict[str, Kind] = {
    f"aten.{name}": kind for kind, names in _PACKETS.items() for name in names.split()
} | _OVERLOADS


def kind_of(op: str) -> Kind:
    """Return the kind of an ATen overload; `opaque` when the table does not know it.

    Examples
    --------
    >>> kind_of("aten.add.Tensor"), kind_of("aten.max.other"), kind_of("aten.max.dim")
    (<Kind.POINTWISE: 'pointwise'>, <Kind.POINTWISE: 'pointwise'>, <Kind.REDUCTION: 'reduction'>)
    """
    return KINDS.get(op) or KINDS.get(op.rpartition(".")[0]) or Kind.OPAQUE
