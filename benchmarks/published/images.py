"""Models of images: U-Nets, autoencoders, classifiers, recurrences over frames, axial attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from architectures import ARCHITECTURES, Architecture
from torch import Tensor, nn

from published.entry import Inputs, Published, image


def _maps(package: str, name: str, build: Callable[[], nn.Module], argument: str = "x", **own: Any) -> Published:
    """From an image to a map of the same size; many divide it by two or four first."""
    channels, output, times = own.pop("channels", 3), own.pop("output", "output"), own.pop("times", 1)
    layout = {argument: "b c h w", output: "b v h w"}
    own = {"lengths": (4, 5)} | own
    inputs = own.pop("inputs", lambda length: image(channels, argument)(times * length))
    return Published(package, name, lambda _: build().eval(), inputs, layout, **own)


_BLOCKS = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}


class Sampled(nn.Module):
    """A model of `diffusers`, whose input and output have one name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, timestep: Tensor | None = None, encoder_hidden_states: Tensor | None = None) -> Any:
        conditions = {"timestep": timestep, "encoder_hidden_states": encoder_hidden_states}
        return self.model(x, **{name: given for name, given in conditions.items() if given is not None}).sample


def _diffusers(name: str, timed: bool = True, text: bool = False, times: int = 1, **settings: Any) -> Published:
    def build() -> nn.Module:
        import diffusers

        return Sampled(getattr(diffusers, name)(**settings))

    def inputs(length: int) -> Inputs:
        given: dict[str, Tensor] = {"x": torch.randn(2, 3, times * length, times * length)}
        given |= {"timestep": torch.tensor([3])} if timed else {}
        return given | ({"encoder_hidden_states": torch.randn(2, 5, 8)} if text else {})

    return _maps("diffusers", name, build, inputs=inputs)


def _monai(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import monai.networks.nets

        made: nn.Module = getattr(monai.networks.nets, name)(**settings)
        return made

    return build


_PLANE: Mapping[str, Any] = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2}


def _efficient() -> nn.Module:
    from efficientnet_pytorch import EfficientNet
    from efficientnet_pytorch.utils import BlockArgs, GlobalParams

    block = BlockArgs(1, 3, [1], 2, 32, 8, 0.25, True)
    return EfficientNet(
        [block, block._replace(stride=[2], input_filters=8, output_filters=16)],
        GlobalParams(1.0, 1.0, 32, 0.2, 3, 0.99, 1e-3, 0.2, 8, None, True),
    )


def _axial() -> nn.Module:
    from axial_attention import AxialAttention

    return AxialAttention(8, heads=2, dim_index=1)


def _convolutional_lstm() -> nn.Module:
    from conv_lstm import ConvLSTM

    return ConvLSTM(2, [3, 3], 3, num_layers=2)


def _classifier(architecture: Architecture) -> Published:
    return Published(
        "transformers",
        architecture.name,
        lambda _: architecture.model(),
        lambda length: {"pixel_values": torch.randn(2, 3, length, length)},
        architecture.layout,
        lengths=(32, 33),
    )


MODELS: tuple[Published, ...] = (
    _diffusers(
        "UNet2DModel",
        times=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **_BLOCKS,
    ),
    _diffusers(
        "UNet2DConditionModel",
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=2,
        in_channels=3,
        out_channels=3,
        text=True,
        **_BLOCKS,
    ),
    _diffusers(
        "AutoencoderTiny",
        times=2,
        timed=False,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ),
    _maps("monai", "UNet", _monai("UNet", **_PLANE, channels=(4, 8), strides=(2,)), times=2),
    _maps("monai", "AttentionUnet", _monai("AttentionUnet", **_PLANE, channels=(4, 8), strides=(2,)), times=2),
    _maps("monai", "SegResNet", _monai("SegResNet", **_PLANE, blocks_down=(1, 1), blocks_up=(1,)), times=2),
    _maps("axial-attention", "AxialAttention", _axial, channels=8),
    Published(
        "efficientnet-pytorch",
        "EfficientNet",
        lambda _: _efficient().eval(),
        image(3, "inputs"),
        {"inputs": "b c h w", "output": "b c"},
        lengths=(16, 17),
    ),
    Published(
        "conv-lstm",
        "ConvLSTM",
        lambda _: _convolutional_lstm().eval(),
        lambda length: {"input_tensor": torch.randn(2, length, 2, 5, 5)},
        {"input_tensor": "b t c x y", "[0][0]": "b t v i j"},
        lengths=(6, 7),
    ),
    *(_classifier(architecture) for architecture in ARCHITECTURES if architecture.name == "ResNet"),
)
