"""Sequence models: transformers by other hands, recurrences, state spaces, temporal convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from published.entry import Published, sequence, signal, tokens


def _classes(package: str, name: str, build: Callable[[], nn.Module], argument: str = "x", **own: Any) -> Published:
    """Describe a model of classes that returns logits."""
    layout = {argument: "b t", own.pop("output", "output"): "b t v"}
    return Published(package, name, lambda _: build().eval(), tokens(argument), layout, **own)


def _features(package: str, name: str, build: Callable[[], nn.Module], argument: str = "x", **own: Any) -> Published:
    """Describe a model of sequences of eight features that returns others."""
    layout = {argument: "b t c", own.pop("output", "output"): "b t v"}
    return Published(package, name, lambda _: build().eval(), sequence(8, argument), layout, **own)


def _channels(package: str, name: str, build: Callable[[], nn.Module], argument: str = "x", **own: Any) -> Published:
    """Describe a model of sequences with four channels before time."""
    layout = {argument: "b c t", own.pop("output", "output"): "b v t"}
    return Published(package, name, lambda _: build().eval(), signal(4, argument), layout, **own)


def _x_transformer(name: str, attention: str = "Decoder", **settings: Any) -> Published:
    def build() -> nn.Module:
        import x_transformers as xt

        layers = getattr(xt, attention)(dim=32, depth=2, heads=4, attn_dim_head=8, **settings)
        return xt.TransformerWrapper(num_tokens=99, max_seq_len=32, attn_layers=layers)

    return _classes("x-transformers", name, build)


def _local() -> nn.Module:
    from local_attention import LocalTransformer

    return LocalTransformer(
        num_tokens=99, max_seq_len=32, dim=32, depth=2, dim_head=8, heads=4, local_attn_window_size=4
    )


def _linear() -> nn.Module:
    from linear_attention_transformer import LinearAttentionTransformerLM

    return LinearAttentionTransformerLM(99, 32, 2, 32, heads=4, dim_head=8, causal=True)


def _performer(**settings: Any) -> nn.Module:
    from performer_pytorch import PerformerLM

    return PerformerLM(num_tokens=99, max_seq_len=32, dim=32, depth=2, heads=4, dim_head=8, causal=True, **settings)


def _min_gru() -> nn.Module:
    from minGRU_pytorch import minGRU

    return minGRU(8)


def _min_lstm() -> nn.Module:
    from minGRU_pytorch.minLSTM import minLSTM

    return minLSTM(8)


def _gate_loop() -> nn.Module:
    from gateloop_transformer import SimpleGateLoopLayer

    return SimpleGateLoopLayer(8)


def _gate_loop_language() -> nn.Module:
    from gateloop_transformer import Transformer

    return Transformer(dim=32, num_tokens=99, depth=2, heads=4, dim_head=8)


def _megabyte() -> nn.Module:
    from MEGABYTE_pytorch import MEGABYTE

    return MEGABYTE(num_tokens=99, dim=(32, 16), depth=(1, 1), max_seq_len=(8, 4), dim_head=8, heads=4)


def _reformer() -> nn.Module:
    from reformer_pytorch import ReformerLM

    return ReformerLM(99, 32, 2, 32, heads=4, dim_head=8, bucket_size=4, n_hashes=2, causal=True, use_full_attn=True)


def _mega() -> nn.Module:
    from mega_pytorch import Mega

    return Mega(num_tokens=99, dim=32, depth=2, causal=True, ema_heads=4, attn_dim_qk=16, attn_dim_value=32, ff_mult=2)


def _sinkhorn() -> nn.Module:
    from sinkhorn_transformer import SinkhornTransformerLM

    return SinkhornTransformerLM(num_tokens=99, dim=32, depth=1, max_seq_len=32, heads=4, bucket_size=4, causal=True)


def _mamba_py(**settings: Any) -> nn.Module:
    from mambapy.mamba import Mamba, MambaConfig

    return Mamba(MambaConfig(d_model=8, n_layers=2, d_state=4, **settings))


def _s5(**settings: Any) -> nn.Module:
    from s5 import S5

    return S5(8, 8, **settings)


def _s5_block() -> nn.Module:
    from s5 import S5Block

    return S5Block(8, 8, bidir=False)


def _lru() -> nn.Module:
    from LRU_pytorch import LRU

    return LRU(8, 8, 6)


def _liquid(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import ncps.torch

        made: nn.Module = getattr(ncps.torch, name)(8, 6, **settings)
        return made

    return build


def _conformer(causal: bool) -> nn.Module:
    from conformer import Conformer

    return Conformer(8, depth=1, dim_head=4, heads=2, conv_kernel_size=5, conv_causal=causal)


def _conformer_convolution() -> nn.Module:
    from conformer import ConformerConvModule

    return ConformerConvModule(8, causal=True, kernel_size=5)


def _mixture(name: str) -> nn.Module:
    if name == "st-moe-pytorch":
        from st_moe_pytorch import MoE

        return MoE(8, num_experts=4)
    from soft_moe_pytorch import SoftMoE

    return SoftMoE(8, num_experts=2, num_slots=2)


def _retnet() -> nn.Module:
    from yet_another_retnet.retnet import RetNetDecoder, RetNetDecoderLayer

    return RetNetDecoder(RetNetDecoderLayer(16, 2, dim_feedforward=16), 2)


def _wavenet() -> nn.Module:
    from wavenet_vocoder import WaveNet

    sizes = {"residual_channels": 8, "gate_channels": 8, "skip_out_channels": 8}
    return WaveNet(out_channels=4, layers=4, stacks=2, use_speaker_embedding=False, **sizes)


def _tcn(**settings: Any) -> nn.Module:
    from pytorch_tcn import TCN

    return TCN(4, [8, 8, 8], kernel_size=3, **settings)


MODELS: tuple[Published, ...] = (
    _x_transformer("GPT", "Decoder"),
    _x_transformer("Llama's", rotary_pos_emb=True, use_rmsnorm=True, ff_glu=True, ff_swish=True, attn_kv_heads=2),
    _x_transformer("ALiBi", alibi_pos_bias=True, alibi_num_heads=2),
    _x_transformer("T5's bias", rel_pos_bias=True),
    _x_transformer("talking heads", attn_pre_talking_heads=True, attn_post_talking_heads=True),
    _x_transformer("top-k attention", attn_sparse_topk=3),
    _x_transformer("flash", attn_flash=True),
    _x_transformer("encoder", "Encoder"),
    _classes("local-attention", "LocalTransformer", _local),
    _classes("linear-attention-transformer", "LinearAttentionTransformerLM", _linear),
    _classes("performer-pytorch", "PerformerLM", _performer),
    _classes("performer-pytorch", "PerformerLM, generalised", lambda: _performer(generalized_attention=True)),
    _features("minGRU-pytorch", "minGRU", _min_gru),
    _features("minGRU-pytorch", "minLSTM", _min_lstm),
    _features("gateloop-transformer", "SimpleGateLoopLayer", _gate_loop),
    _classes("gateloop-transformer", "Transformer", _gate_loop_language),
    _classes("MEGABYTE-pytorch", "MEGABYTE", _megabyte, "ids"),
    _classes("reformer-pytorch", "ReformerLM, full attention", _reformer),
    _classes("mega-pytorch", "Mega", _mega),
    Published(
        "sinkhorn-transformer",
        "SinkhornTransformerLM",
        lambda _: _sinkhorn().eval(),
        lambda pieces: tokens()(4 * pieces),
        {"x": "b t", "output": "b t v"},
        lengths=(3, 6),
    ),
    _features("mambapy", "Mamba", _mamba_py),
    _features("mambapy", "Mamba, sequential", lambda: _mamba_py(pscan=False)),
    _features("s5-pytorch", "S5", _s5, "signal"),
    _features("s5-pytorch", "S5, both ways", lambda: _s5(bidir=True), "signal"),
    _features("s5-pytorch", "S5Block", _s5_block),
    _features("lru-pytorch", "LRU", _lru, "input"),
    _features("ncps", "CfC", _liquid("CfC"), "input", output="[0]"),
    _features("ncps", "CfC, mixed memory", _liquid("CfC", mixed_memory=True), "input", output="[0]"),
    _features("ncps", "LTC", _liquid("LTC", ode_unfolds=2), "input", output="[0]"),
    _features("conformer", "Conformer", lambda: _conformer(causal=False)),
    _features("conformer", "Conformer, causal convolutions", lambda: _conformer(causal=True)),
    _features("conformer", "ConformerConvModule, causal", _conformer_convolution),
    _features("st-moe-pytorch", "MoE", lambda: _mixture("st-moe-pytorch"), output="[0]"),
    _features("soft-moe-pytorch", "SoftMoE", lambda: _mixture("soft-moe-pytorch")),
    Published(
        "yet-another-retnet",
        "RetNetDecoder",
        lambda _: _retnet().eval(),
        sequence(16),
        {"x": "b t c", "output": "b t v"},
    ),
    _channels("wavenet_vocoder", "WaveNet", _wavenet),
    _channels("pytorch-tcn", "TCN, weight norm", _tcn),
    _channels("pytorch-tcn", "TCN, not causal", lambda: _tcn(causal=False)),
    _channels(
        "pytorch-tcn",
        "TCN, batch norm, skips, gates",
        lambda: _tcn(use_norm="batch_norm", use_skip_connections=True, use_gate=True),
    ),
)
