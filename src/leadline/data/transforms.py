"""Changes to symbols: fewer levels, bits, and augmentations. The random ones draw from a generator of the caller's.

Augmentations here are exact moves of pixels, which leave values as they are (`leadline.data.bending` has one that does
not). They fade out during training, so that the density that is learned in the end is one over the original images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.errors import UsageError

Transform = Callable[[Integer[Tensor, "b ..."], torch.Generator], Integer[Tensor, "b ..."]]
"""A random change to a batch of training examples."""


def reduce_levels(x: Integer[Tensor, "..."], old: int, new: int) -> Integer[Tensor, "..."]:
    """Merge neighbouring values of 0 to old - 1 into `new` classes of near equal size.

    Examples
    --------
    >>> reduce_levels(torch.arange(6), 6, 3)
    tensor([0, 0, 1, 1, 2, 2])
    """
    if not 2 <= new <= old:
        raise UsageError(f"levels must lie between 2 and the data's {old}, got {new}")
    return x if new == old else x.long() * new // old


@dataclass(frozen=True)
class Binarise:
    """Draw each pixel as a bit that is 1 with probability value / (levels - 1)."""

    levels: int

    def __call__(self, x: Integer[Tensor, "b ..."], generator: torch.Generator) -> Integer[Tensor, "b ..."]:
        """Return the bits."""
        u = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        return (u * (self.levels - 1) < x).to(x.dtype)


Augmentation = Callable[[Integer[Tensor, "b h w *c"], torch.Generator, float], Integer[Tensor, "b h w *c"]]
"""Changes a batch; the number is the strength, from 1 at the beginning of training to 0, where nothing changes."""


@dataclass(frozen=True)
class Shift:
    """Move each image by up to `pixels` rows and columns with probability ``chance · strength``, filling with 0."""

    pixels: int
    chance: float = 1.0

    def __call__(
        self, x: Integer[Tensor, "b h w *c"], generator: torch.Generator, strength: float = 1.0
    ) -> Integer[Tensor, "b h w *c"]:
        """Return the moved images."""
        b, height, width = x.shape[:3]
        p = self.pixels
        moves = torch.randint(-p, p + 1, (b, 2), generator=generator)
        moves *= (torch.rand(b, 1, generator=generator) < self.chance * strength).long()
        padded = torch.nn.functional.pad(x, (0, 0) * (x.ndim - 3) + (p, p, p, p))
        rows = (torch.arange(height) + p)[None, :, None] + moves[:, 0, None, None]
        columns = (torch.arange(width) + p)[None, None, :] + moves[:, 1, None, None]
        return padded[torch.arange(b)[:, None, None], rows, columns]


@dataclass(frozen=True)
class Turn:
    """Turn or mirror each square image into one of its 8 symmetric forms with probability ``chance · strength``.

    Strokes look alike from all sides: a model learns their texture from eight times the images before it settles on the
    upright ones.
    """

    chance: float = 1.0

    def __call__(
        self, x: Integer[Tensor, "b h w *c"], generator: torch.Generator, strength: float = 1.0
    ) -> Integer[Tensor, "b h w *c"]:
        """Return the turned images; raises `UsageError` if the images are not square."""
        b, height, width = x.shape[:3]
        if height != width:
            raise UsageError(f"only square images can be turned, these are {height} × {width}; leave turn out")
        form = torch.randint(8, (b,), generator=generator)
        form *= (torch.rand(b, generator=generator) < self.chance * strength).long()
        sides = (x, x.transpose(1, 2))
        forms = torch.stack([torch.rot90(side, quarter, (1, 2)) for side in sides for quarter in range(4)])
        return forms[form, torch.arange(b)]


@dataclass(frozen=True)
class Warp:
    """Slant and stretch each image with probability ``chance · strength``, along rows and along columns.

    Rows slide sideways in proportion to their height, by up to `slant` pixels a row; one row is left out and another
    one doubled. Handwriting varies like this from writer to writer.
    """

    chance: float = 1.0
    slant: float = 0.4

    def __call__(
        self, x: Integer[Tensor, "b h w *c"], generator: torch.Generator, strength: float = 1.0
    ) -> Integer[Tensor, "b h w *c"]:
        """Return the warped images, filled with 0."""
        chosen = torch.rand(len(x), generator=generator) < self.chance * strength
        slanted = self._rows(x, generator, self.slant)
        warped = self._rows(slanted.transpose(1, 2), generator, self.slant / 2).transpose(1, 2)
        return torch.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), warped, x)

    @staticmethod
    def _rows(x: Integer[Tensor, "b h w *c"], generator: torch.Generator, slant: float) -> Integer[Tensor, "b h w *c"]:
        b, height, width = x.shape[:3]
        slope, offset = (torch.rand(2, b, 1, generator=generator) * 2 - 1) * torch.tensor([slant, 0.5])[:, None, None]
        # Half of the images keep their slant, half of them their rows.
        slope *= torch.rand(b, 1, generator=generator) < 0.5
        dropped, doubled = torch.randint(height, (2, b, 1), generator=generator)
        doubled = torch.where(torch.rand(b, 1, generator=generator) < 0.5, doubled, dropped)
        row = torch.arange(height)
        source = row + ((dropped <= row) & (row < doubled)).long() - ((doubled < row) & (row <= dropped)).long()
        slide = ((row - (height - 1) / 2) * slope + offset).round().long()
        column = torch.arange(width) + slide[:, :, None]
        inside = (column >= 0) & (column < width)
        moved = x[torch.arange(b)[:, None, None], source[:, :, None], column.clamp(0, width - 1)]
        filled: Tensor = moved * inside.reshape(*inside.shape, *[1] * (x.ndim - 3))
        return filled
