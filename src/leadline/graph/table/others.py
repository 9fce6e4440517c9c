"""Operations that are neither pointwise nor views."""

from __future__ import annotations

from leadline.graph.table.record import Kind, Operation

_PACKETS = {
    Kind.CREATION: """
        arange bartlett_window blackman_window empty empty_like empty_permuted empty_strided eye fft_fftfreq
        fft_rfftfreq full full_like hamming_window hann_window kaiser_window linspace logspace new_empty
        new_empty_strided new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices triu_indices zeros
        zeros_like
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
        argsort.default _fft_c2c _fft_c2r fft_fft fft_fft2 fft_fftn fft_ifft fft_ifft2 fft_ifftn fft_irfft fft_irfft2
        fft_irfftn _fft_r2c fft_rfft fft_rfft2 fft_rfftn sort topk
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
    # packed sequences; indices whose shape depends on values
    Kind.OPAQUE: "lstm.data gru.data rnn_tanh.data rnn_relu.data where.default",
}  # fmt: skip

# what torch decomposes other transforms to, and the grid recurrence
_ELSEWHERE = {
    Kind.MIXING: "prims.fft_r2c.default prims.fft_c2c.default prims.fft_c2r.default",
    Kind.SCAN: "leadline.grid_rnn.default leadline.grid_lstm.default",
}

OTHERS: dict[str, Operation] = {
    **{
        f"aten.{name}": Operation(name.partition(".")[0], kind)
        for kind, names in _PACKETS.items()
        for name in names.split()
    },
    **{op: Operation(op.split(".")[1], kind) for kind, ops in _ELSEWHERE.items() for op in ops.split()},
}
