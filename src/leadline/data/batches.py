"""Batches as pure functions of the seed and the step, so that a resumed run needs no other position in the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from leadline.data.dataset import Dataset, Split
from leadline.data.spectrogram import Spectrogram
from leadline.data.transforms import Augmentation


@dataclass(frozen=True)
class Batch:
    """Symbols, which of them count (None: all), the classes of the examples, and their places in the part.

    `x` is int64, ``(batch, height, width)``, with colours ``(batch, height, width, 3)``, or ``(batch, length)``, zero
    where `mask` is False by padding. `frames` are those of the examples' spectrograms, in which the model hears more
    than the symbols before; None: it does not.
    """

    x: Integer[Tensor, "b ..."]
    mask: Bool[Tensor, "b ..."] | None
    labels: Integer[Tensor, "b"] | None
    index: tuple[int, ...]
    frames: Float[Tensor, "b f c"] | None = None

    @property
    def symbols(self) -> int:
        """The number of symbols that count."""
        return self.x.numel() if self.mask is None else int(self.mask.sum())

    def parts(self, number: int, members: int = 1) -> Iterator[Batch]:
        """Cut the batch into a number of parts of about the same size, fewer where it has fewer examples.

        Each part has its share of the examples of every one of some `members`, among whom a batch is divided in order
        (`Tensor.tensor_split`): so each member learns from the same examples, whatever the number of parts.
        """
        shares = [rows.tensor_split(number) for rows in torch.arange(len(self.x)).tensor_split(members)]
        for rows in filter(len, map(torch.cat, zip(*shares, strict=True))):
            mask, labels, frames = (None if t is None else t[rows] for t in self._beside)
            yield Batch(self.x[rows], mask, labels, tuple(self.index[row] for row in rows.tolist()), frames)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        mask, labels, frames = (None if t is None else t.to(device) for t in self._beside)
        return Batch(self.x.to(device), mask, labels, self.index, frames)

    @property
    def _beside(self) -> tuple[Tensor | None, ...]:
        return self.mask, self.labels, self.frames


@dataclass(frozen=True)
class TrainingBatches:
    """The training batches of a data set: batch number `step` depends on (seed, step, strength) alone.

    Images come in a new permutation every epoch (an incomplete last batch is left out). Audio and text come as random
    crops of `crop` symbols from clips drawn by their length; shorter clips are padded and masked.
    The first `burn_in` samples of a crop from the middle of a clip are context only: what precedes them is not silence,
    so they do not count. Crops begin where a frame of the spectrogram does, if there is one. `augmentations` change
    training images, as strongly as `at` is told.

    Examples
    --------
    >>> from leadline.data import load
    >>> batches = TrainingBatches(load("digits"), size=4, seed=1)
    >>> torch.equal(batches.at(7).x, batches.at(7).x), tuple(batches.at(0).x.shape)
    (True, (4, 8, 8))
    """

    data: Dataset
    size: int
    seed: int
    augmentations: tuple[Augmentation, ...] = ()
    crop: int = 2048
    burn_in: int = 0

    @property
    def per_epoch(self) -> int:
        """The number of batches in one pass over the training part."""
        if self.data.kind != "image":
            return max(1, self.data.train.symbols // (self.size * self.crop))
        return max(1, len(self.data.train) // self.size)

    def at(self, step: int, strength: float = 1.0) -> Batch:
        """Return the batch of training step `step`, counted from 0, augmented with a strength from 0 to 1."""
        generator = torch.Generator().manual_seed(_seed(self.seed, step + 1, 0))
        batch = self._images(step) if self.data.kind == "image" else self._crops(generator)
        x, picture = batch.x, self.data.picture
        x = x if picture is None else x.unflatten(1, picture)
        for augmentation in self.augmentations:
            x = augmentation(x, generator, strength)
        x = x if picture is None else x.flatten(1)
        for transform in self.data.transforms:
            x = transform(x, generator)
        return replace(batch, x=x)

    def _images(self, step: int) -> Batch:
        part = self.data.train
        epoch, place = divmod(step, self.per_epoch)
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(_seed(self.seed, epoch, 1)))
        return _gather(part, order[place * self.size : (place + 1) * self.size].tolist())

    def _crops(self, generator: torch.Generator) -> Batch:
        clips = self.data.train.examples
        lengths = torch.tensor([len(clip) for clip in clips], dtype=torch.float64)
        index = torch.multinomial(lengths, self.size, replacement=True, generator=generator).tolist()
        u = torch.rand(self.size, generator=generator, dtype=torch.float64).tolist()
        x = torch.zeros(self.size, self.crop, dtype=torch.int64)
        mask = torch.zeros(self.size, self.crop, dtype=torch.bool)
        heard, frames = self.data.spectrogram, []
        for row, (i, v) in enumerate(zip(index, u, strict=True)):
            # Drawn up to half a crop beyond either end, then clamped: the ends are seen as often as the middle.
            free = len(clips[i]) - self.crop
            start = min(max(int(v * (free + self.crop + 1)) - self.crop // 2, 0), max(free, 0))
            if heard is not None:
                start = min(start + -start % heard.hop, (len(clips[i]) - 1) // heard.hop * heard.hop)
                frames.append(heard.of(clips[i], start, self.crop))
            piece = clips[i][start : start + self.crop]
            x[row, : len(piece)] = piece
            mask[row, (self.burn_in if start else 0) : len(piece)] = True
        return Batch(x, mask, _labels(self.data.train, index), tuple(index), torch.stack(frames) if frames else None)


def evaluation_batches(
    part: Split, size: int, max_symbols: int = 1 << 17, spectrogram: Spectrogram | None = None
) -> Iterator[Batch]:
    """Yield every example of a part whole and exactly once; clips by length, padded and masked.

    A batch holds at most `size` examples, and at most `max_symbols` symbols unless one example alone has more; beside
    sounds stand the frames of their `spectrogram`, if one is given.
    """
    order = sorted(range(len(part)), key=lambda i: part.examples[i].numel())
    group: list[int] = []
    for i in order:
        if group and (len(group) == size or (len(group) + 1) * part.examples[i].numel() > max_symbols):
            yield _gather(part, group, spectrogram)
            group = []
        group.append(i)
    yield _gather(part, group, spectrogram)


def _gather(part: Split, index: Sequence[int], spectrogram: Spectrogram | None = None) -> Batch:
    if isinstance(part.examples, Tensor):
        return Batch(part.examples[list(index)].long(), None, _labels(part, index), tuple(index))
    clips = [part.examples[i] for i in index]
    x = torch.nn.utils.rnn.pad_sequence([clip.long() for clip in clips], batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    mask = torch.arange(x.shape[1]) < lengths[:, None]
    frames = None if spectrogram is None else torch.stack([spectrogram.of(clip, 0, x.shape[1]) for clip in clips])
    return Batch(x, mask, _labels(part, index), tuple(index), frames)


def _labels(part: Split, index: Sequence[int]) -> Integer[Tensor, "b"] | None:
    return None if part.labels is None else part.labels[list(index)]


def _seed(*words: int) -> int:
    """Mix words into one 63-bit seed: neighbouring steps and seeds share nothing."""
    low, high = np.random.SeedSequence(words).generate_state(2).tolist()
    return int(low) << 31 ^ int(high)
