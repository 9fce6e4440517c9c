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
        arange empty empty_like empty_permuted empty_strided eye full full_like linspace logspace new_empty new_full
        new_ones new_zeros ones ones_like scalar_tensor tril_indices triu_indices zeros zeros_like
        hann_window hamming_window blackman_window bartlett_window kaiser_window new_empty_strided fft_fftfreq fft_rfftfreq
    """,
    Kind.POINTWISE: """
        abs absolute acos acosh add addcdiv addcmul angle asin asinh atan atan2 arctan2 atanh bitwise_and bitwise_not bitwise_or
        bitwise_xor bitwise_left_shift bitwise_right_shift ceil celu clamp clamp_max clamp_min clip clone complex copysign cos
        cosh deg2rad detach digamma div divide elu eq erf erfc erfinv exp exp2 expm1 fill floor floor_divide fmax fmin
        fmod frac ge gelu greater greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 imag isclose isfinite
        isinf isnan isneginf isposinf le leaky_relu lerp less less_equal lgamma lift_fresh lift_fresh_copy log log10 log1p log2
        log_sigmoid logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish
        mul multiply nan_to_num ne neg negative not_equal pow polar prelu rad2deg real reciprocal relu relu6 remainder round rsqrt rsub
        selu sgn sigmoid sign signbit silu sin sinc sinh softplus softshrink special_erf special_erfcx special_expit special_i0e
        special_log_ndtr special_ndtr sqrt square sub subtract tan tanh threshold to trunc true_divide type_as where xlogy
        _to_copy _conj _neg_view conj conj_physical resolve_conj resolve_neg positive rrelu_eval tril triu
        alias contiguous log_sigmoid_forward native_dropout_eval special_xlog1py _conj_physical mvlgamma polygamma
        dequantize bernoulli_p copy float_power
    """,
    Kind.VIEW: """
        adjoint as_strided as_strided_copy atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to cat
        channel_shuffle chunk column_stack
        concat concatenate constant_pad_nd diagonal diagonal_copy diag_embed diagonal_scatter diff_none expand expand_as expand_copy flatten
        flip fliplr flipud hstack im2col col2im_none movedim moveaxis narrow numpy_T mT mH pad permute permute_copy
        pixel_shuffle pixel_unshuffle ravel reflection_pad1d reflection_pad2d reflection_pad3d repeat
        replication_pad1d replication_pad2d replication_pad3d reshape reshape_as roll rot90 select select_copy select_scatter slice
        slice_copy slice_scatter split split_copy split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack swapaxes swapdims
        t t_copy tensor_split tile transpose transpose_copy unbind unbind_copy unflatten unfold unfold_copy unsafe_split
        unsafe_chunk unsqueeze unsqueeze_copy view view_as view_copy view_as_complex view_as_real vstack _unsafe_view _reshape_alias
        _reshape_copy upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
        _upsample_nearest_exact2d _upsample_nearest_exact3d meshgrid repeat_interleave
    """,
    Kind.WINDOW: """
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
        adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices
    """,
    Kind.CONVOLUTION: """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution
    """,
    Kind.CONTRACTION: "addbmm addmm addmv baddbmm bmm dot linear matmul mm mv vdot",
    Kind.REDUCTION: """
        all amax amin any aminmax argmax argmin count_nonzero logsumexp max mean median min nanmedian nansum norm prod std std_mean
        sum var var_mean linalg_vector_norm mode kthvalue
    """,
    Kind.CUMULATIVE: "cummax cummin cumprod cumsum logcumsumexp",
    Kind.MIXING: """
        sort argsort topk msort fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn
        fft_rfftn fft_irfftn _fft_c2c _fft_r2c _fft_c2r
    """,
    Kind.SOFTMAX: "softmax log_softmax _softmax _log_softmax _safe_softmax",
    Kind.NORMALISATION: """
        layer_norm native_layer_norm rms_norm _fused_rms_norm batch_norm instance_norm group_norm native_group_norm native_batch_norm
        _native_batch_norm_legit _native_batch_norm_legit_functional _native_batch_norm_legit_no_training
        _weight_norm _weight_norm_interface
    """,
    Kind.ATTENTION: """
        scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu
    """,
    Kind.SCAN: "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    Kind.GATHER: "embedding gather index index_select take take_along_dim masked_select_none _unsafe_index",
    Kind.SCATTER: """
        index_add index_copy index_fill index_put _unsafe_index_put masked_scatter scatter scatter_add scatter_reduce one_hot
    """,
    Kind.RANDOM: """
        alpha_dropout bernoulli dropout exponential feature_dropout multinomial_none native_dropout normal normal_functional rand
        rand_like randint randint_like randn randn_like randperm rrelu rrelu_with_noise_functional uniform poisson
    """,
    Kind.EFFECT: """
        _assert_async _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size
    """,
}  # fmt: skip

_OVERLOADS = {
    "aten.max.other": Kind.POINTWISE,
    "aten.min.other": Kind.POINTWISE,
    "aten.repeat_interleave.Tensor": Kind.OPAQUE,
    "aten.pad.default": Kind.VIEW,
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
