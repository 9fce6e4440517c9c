"""What a sound sounds like, frame by frame: its log mel spectrogram, which local conditioning gives to a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from leadline.data.companding import signal_of
from leadline.errors import UsageError

_FLOOR = 1e-6
"""The power, of a sine at full scale a quarter, below which everything is silence."""
_PER_SECOND = 100
MOST_CHANNELS, MOST_HOP = 1024, 8192


@dataclass(frozen=True)
class Spectrogram:
    """The log mel spectrogram of classes of sound: `channels` numbers for every `hop` samples.

    Frame f looks, through a Hann window, at the four hops of samples around its own, which are f · hop and those after
    it; beyond the ends of a sound is silence. The power at each frequency, over the window's own sum squared, is summed
    in triangles that lie evenly on the mel scale (``2595 log10(1 + Hz / 700)``) from 0 to half the `rate`, and
    ``1 + log10(power + 1e-6) / 3`` is what a channel holds: -1 of silence, 0.8 of a sine at full scale.

    `levels` and `encoding` say which signal the classes stand for.

    Examples
    --------
    >>> made = Spectrogram(channels=4, hop=80, rate=8000, levels=256)
    >>> made.of(torch.full((200,), 128)).shape, made.frames(200)
    (torch.Size([3, 4]), 3)
    """

    channels: int
    hop: int
    rate: int
    levels: int
    encoding: str | None = None

    def __post_init__(self) -> None:
        if not _triangles(self.channels, self.window, self.rate).any(0).all():
            raise UsageError(
                f"frames of {self.window} samples cannot tell {self.channels} channels apart: "
                "give fewer (spectrogram=), or a larger hop"
            )

    @classmethod
    def asked(cls, options: Mapping[str, Any], rate: int, levels: int) -> Spectrogram | None:
        """Return the one that options of a data set ask for, as `spectrogram` channels and a `hop`; None if none.

        Without a `hop` there are 100 frames a second. Raises `UsageError` for a hop alone.
        """
        channels, hop = options.get("spectrogram"), options.get("hop")
        for name, value, most in (("spectrogram", channels, MOST_CHANNELS), ("hop", hop, MOST_HOP)):
            if value is not None and not (type(value) is int and 1 <= value <= most):  # as a file may say
                raise UsageError(f"{name} must be a whole number from 1 to {most}, got {value!r}")
        if channels is None:
            if hop is not None:
                raise UsageError(f"hop={hop} says how far frames of a spectrogram lie apart: say spectrogram=, too")
            return None
        return cls(channels, hop or max(1, round(rate / _PER_SECOND)), rate, levels, options.get("encoding"))

    @property
    def window(self) -> int:
        """Samples that a frame looks at."""
        return 4 * self.hop

    def frames(self, samples: int) -> int:
        """Return how many frames there are of a number of samples."""
        return -(-samples // self.hop)

    def of(
        self, classes: Integer[Tensor, "t"], start: int = 0, samples: int | None = None
    ) -> Float[Tensor, "frames channels"]:
        """Return the frames of `samples` classes of a sound from `start` on, a multiple of the hop; of all, by default.

        They are those of the whole sound, wherever the piece begins; beyond its end they are of silence.
        """
        count, before = self.frames(len(classes) - start if samples is None else samples), (self.window - self.hop) // 2
        first, width = start - before, (count - 1) * self.hop + self.window
        lo, hi = max(first, 0), min(first + width, len(classes))
        signal = torch.zeros(width, dtype=torch.float32)
        if lo < hi:
            known = torch.from_numpy(signal_of(classes[lo:hi], self.levels, self.encoding))
            signal[lo - first : hi - first] = known.to(signal.dtype)
        shape = torch.hann_window(self.window, dtype=torch.float32)
        power = torch.fft.rfft(signal.unfold(0, self.window, self.hop) * shape).abs().square() / shape.sum().square()
        return 1 + torch.log10(power @ _triangles(self.channels, self.window, self.rate) + _FLOOR) / 3

    def __str__(self) -> str:
        return f"its log mel spectrogram, {self.channels} channels at each {self.hop} samples"


@lru_cache(maxsize=8)
def _triangles(channels: int, window: int, rate: int) -> Float[Tensor, "frequencies channels"]:
    """Return what each frequency counts in each channel: from the centre of the one before it to that of the next."""
    hertz = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    places = 2595 * torch.log10(1 + hertz / 700) / (2595 * math.log10(1 + rate / 1400)) * (channels + 1)
    centres = torch.arange(1, channels + 1)
    return (1 - (places[:, None] - centres).abs()).clamp(min=0).float()
