"""Densities as they are usually written, beside the zoo's: what a training step is measured against.

`pixelcnn` masks whole square kernels, with the channels first; `wavenet` is the public package wavenet-vocoder (``pip
install --no-deps wavenet-vocoder==0.1.1``), None where that is not installed; `mdrnn` loops over the cells; and
`transformer` is torch's own encoder. They have the sizes of the zoo's model beside them, without a vector for each
pixel; the package's head is as wide as its skips, and its first layer multiplies one-hot symbols.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, one_hot

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import grid_reference


class Masked(nn.Conv2d):
    """A square kernel times its mask."""

    def __init__(self, inputs: int, outputs: int, kernel: int, kind: str) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + (kind == "B") :], mask[kernel // 2 + 1 :] = 0, 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Residual(nn.Module):
    """Adds what its layers make of the input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        return x + self.layers(x)


class Images(nn.Module):
    """Embeds pixels, with the channels first in memory, and gives logits last."""

    def __init__(self, config: Any, *layers: nn.Module) -> None:
        super().__init__()
        self.embed, self.layers = nn.Embedding(config.classes, config.embedding), nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.layers(self.embed(x).permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)


def pixelcnn(config: Any) -> nn.Module:
    wide, narrow = config.channels, config.inner
    blocks = (
        Residual(
            nn.ReLU(),
            nn.Conv2d(wide, narrow, 1),
            nn.ReLU(),
            Masked(narrow, narrow, config.kernel, "B"),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Conv2d(narrow, wide, 1),
        )
        for _ in range(config.layers)
    )
    head = (nn.ReLU(), nn.Conv2d(wide, config.head, 1), nn.ReLU(), nn.Conv2d(config.head, config.classes, 1))
    return Images(config, Masked(config.embedding, wide, config.first_kernel, "A"), *blocks, *head)


class OneHot(nn.Module):
    """Gives layers one-hot symbols, and gives logits last."""

    def __init__(self, classes: int, layers: nn.Module) -> None:
        super().__init__()
        self.classes, self.layers = classes, layers

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.layers(one_hot(x, self.classes).mT.float()).mT


def wavenet(config: Any) -> nn.Module | None:
    try:
        from wavenet_vocoder.wavenet import WaveNet
    except ImportError:
        return None
    layers = WaveNet(
        config.classes,
        config.layers * config.stacks,
        config.stacks,
        config.channels,
        2 * config.channels,
        config.skip,
        config.kernel,
        dropout=0.0,
        weight_normalization=False,
        legacy=False,
    )
    return OneHot(config.classes, layers)


class PlainMDRNN(nn.Module):
    """A tanh recurrence cell by cell over the two nearest pixels, and a head."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        k, d = config.hidden, config.layers
        self.embed = nn.Embedding(config.classes, config.embedding)
        self.weight_in = nn.Parameter(torch.randn(k, 2 * config.embedding) / 8)
        self.below = nn.Parameter(torch.randn(d - 1, k, k) / k)
        self.sides = nn.ParameterList(torch.randn(d, k, k) / k for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(d, k))
        head = (nn.Linear(k, config.head), nn.ReLU(), nn.Linear(config.head, config.classes))
        self.head = nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        z = nn.functional.pad(self.embed(x), (0, 0, 1, 0, 1, 0))
        z = torch.cat([z[:, :-1, 1:], z[:, 1:, :-1]], -1)
        return self.head(grid_reference.grid_rnn(z, self.weight_in, self.below, *self.sides, self.bias))


class PlainTransformer(nn.Module):
    """Torch's encoder under a causal mask."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        k = config.heads * config.head_channels
        self.embed, self.position = nn.Embedding(config.classes, k), nn.Embedding(config.length, k)
        layer = nn.TransformerEncoderLayer(
            k, config.heads, 4 * k, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(k), enable_nested_tensor=False)
        self.logits = nn.Linear(k, config.classes)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(config.length))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.logits(self.layers(self.embed(x) + self.position.weight, self.mask, is_causal=True))


PEERS: Mapping[str, Callable[[Any], nn.Module | None]] = {
    "pixelcnn": pixelcnn,
    "wavenet": wavenet,
    "mdrnn": lambda config: PlainMDRNN(config) if config.cell == "tanh" else None,
    "transformer": PlainTransformer,
}
