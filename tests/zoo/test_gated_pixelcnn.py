"""No blind spot, and the mistake that makes one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline import zoo

PIXEL = (20, 5)
PAST = 20 * 28 + 5


def gated(layers: int) -> nn.Module:
    return zoo.build("gated-pixelcnn", layers=layers, channels=4, head=4, classes=3, height=28, width=28).model.double()


def unseen(model: nn.Module) -> tuple[int, int]:
    """How many earlier pixels have no gradient at PIXEL's logits, and how many later ones have one."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    model.embed.register_forward_hook(keep)  # type: ignore[union-attr]
    model(torch.randint(3, (2, 28, 28)))[:, *PIXEL].pow(2).sum().backward()
    seen = (kept[0].grad != 0).any(-1).any(0).flatten()
    return int((~seen[:PAST]).sum()), int(seen[PAST:].sum())


class ShiftedRows(nn.Module):
    """The trap: a vertical convolution moved down by one row, over input that already stands for the rows above."""

    def __init__(self, above: nn.Module) -> None:
        super().__init__()
        self.above = above

    def forward(self, v: Tensor) -> Tensor:
        return nn.functional.pad(self.above(v), (0, 0, 1, -1))


def shift_every_layer(model: nn.Module) -> nn.Module:
    for layer in list(model.layers)[1:]:  # type: ignore[arg-type]
        layer.above = ShiftedRows(layer.above)
    return model


def test_every_earlier_pixel_within_reach_is_seen() -> None:
    assert unseen(gated(layers=20)) == (0, 0)  # 3 + 19 columns reach the right border from column 5


def test_shifting_every_vertical_layer_leaves_a_blind_spot() -> None:
    assert unseen(shift_every_layer(gated(layers=11))) == (235, 0)
    assert unseen(shift_every_layer(gated(layers=20))) == (190, 0)  # beyond any depth
