"""Small smooth distortions of images, drawn anew each time: what differs between two pictures of the same thing."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

_FINER = 4
_HARDER = 2.0
_KNOTS = 5


@dataclass(frozen=True)
class Bend:
    """Turn, slant, stretch, move and bend each image a little, and thin or thicken its strokes.

    An image is chosen with probability ``chance · strength``. It is interpolated on a grid four times finer, whose
    points are displaced by an affine map and a smooth random field, its contrast is raised, so that edges stay as sharp
    as they were, and it is averaged back: roughly what counting the pixels of a distorted finer drawing gives. Values
    lie between 0 and `top`; beyond the border there is nothing.

    `turn` is in radians; `slant`, `stretch`, `move` and `field` (the most that the random field displaces) are in parts
    of half the image's size; `thickness` is in parts of the grey scale.

    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to visual document
    analysis", 2003.
    """

    top: int
    chance: float = 1.0
    turn: float = 0.12
    slant: float = 0.25
    stretch: float = 0.1
    move: float = 0.06
    field: float = 0.09
    thickness: float = 0.12

    def __call__(
        self, x: Integer[Tensor, "b h w *c"], generator: torch.Generator, strength: float = 1.0
    ) -> Integer[Tensor, "b h w *c"]:
        """Return the bent images; their colours are bent alike."""
        b, height, width = x.shape[:3]
        chosen = torch.rand(b, generator=generator) < self.chance * strength
        colors = x.reshape(b, height, width, -1).movedim(-1, 1).float() / self.top
        places = self._places((b, height, width), generator)
        grey = grid_sample(colors, places, mode="bicubic", align_corners=False)
        threshold = 0.5 + self.thickness * _drawn(generator, b, 1, 1, 1)
        sharp = (_HARDER * (grey - threshold) + 0.5).clamp(0, 1)
        bent = (self.top * avg_pool2d(sharp, _FINER)).round().to(x.dtype).movedim(1, -1).reshape(x.shape)
        return torch.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), bent, x)

    def _places(self, shape: tuple[int, int, int], generator: torch.Generator) -> Float[Tensor, "b hh ww 2"]:
        """Draw where in each image, whose sides are from -1 to 1, the finer grid looks."""
        b, height, width = shape
        size = (_FINER * height, _FINER * width)
        row, column = ((torch.arange(n) + 0.5) * 2 / n - 1 for n in size)
        slant = self.slant * _drawn(generator, b)
        angle = self.turn * _drawn(generator, b)
        wider, taller = 1 + self.stretch * _drawn(generator, 2, b)
        moved = self.move * _drawn(generator, b, 1, 1, 2)
        knots = self.field * _drawn(generator, b, 2, _KNOTS, _KNOTS)
        field = interpolate(knots, size, mode="bilinear", align_corners=True)
        across = torch.stack([wider * angle.cos(), slant - angle.sin()], -1)
        down = torch.stack([angle.sin(), taller * angle.cos()], -1)
        points = torch.stack([column.expand(size), row[:, None].expand(size)], -1)
        turned = torch.einsum("hwc,bdc->bhwd", points, torch.stack([across, down], 1))
        return turned + moved + field.movedim(1, -1)


def _drawn(generator: torch.Generator, *shape: int) -> Float[Tensor, "..."]:
    """Draw numbers between -1 and 1."""
    return 2 * torch.rand(*shape, generator=generator) - 1
