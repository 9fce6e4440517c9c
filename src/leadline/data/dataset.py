"""What a data set is here: three parts of integer symbols, with their provenance, and their division."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.data.spectrogram import Spectrogram
from leadline.data.transforms import Transform
from leadline.errors import DataError, UsageError

UNDIVIDED = "not divided"
"""The division of a set whose three parts are all of it."""


@dataclass(frozen=True)
class Split:
    """One part of a data set, with the class of every example, or None.

    Images are one integer tensor ``(n, height, width)``, in colour ``(n, height, width, 3)``, or ``(n, length)`` row
    after row; clips are a tuple of tensors ``(length,)``.
    """

    examples: Sequence[Integer[Tensor, "..."]] | Integer[Tensor, "n ..."]
    labels: Integer[Tensor, "n"] | None = None

    def __post_init__(self) -> None:
        if len(self.examples) == 0:
            raise DataError("a part of the data set is empty: it holds too few files for train, validation and test")
        if self.labels is not None and len(self.labels) != len(self.examples):
            raise DataError(f"{len(self.examples)} examples but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def symbols(self) -> int:
        """The number of symbols (pixels, audio samples) in this part."""
        return sum(example.numel() for example in self.examples)


def joined(parts: Sequence[Split]) -> Split:
    """Return the examples of several parts as one."""
    tensors = [part.examples for part in parts if isinstance(part.examples, Tensor)]
    labels = [part.labels for part in parts if part.labels is not None]
    examples = torch.cat(tensors) if len(tensors) == len(parts) else tuple(e for part in parts for e in part.examples)
    return Split(examples, torch.cat(labels) if len(labels) == len(parts) else None)


@dataclass(frozen=True)
class Dataset:
    """Integer symbols 0 to levels - 1 in three parts, with their provenance.

    Attributes
    ----------
    name, options
        What `load` was called with: it gives the same data set again.
    kind
        ``"image"`` (every example has `shape`), ``"audio"`` or ``"text"`` (sequences of any length, `shape` is None).
    levels
        The number of values that a symbol takes, after binarisation or reduction.
    licence, division
        The licence of the data, and how it was divided into parts.
    binarisation
        How grey levels became bits; None where they did not.
    transforms
        Applied to every training batch, e.g. dynamic binarisation; validation and test never change.
    rate
        Samples per second of audio.
    read_as
        What was made of the numbers in the files, such as 16 bits merged into 256 levels; None: they are as they were.
    names
        What the labels stand for, by number: names of sub-folders, or of a CSV. None: they have no names.
    alphabet
        The characters that symbols of text stand for, by number; None: symbols are bytes, or no text.
    piece
        The most symbols of an example that is validated or scored: longer texts are cut. None: examples are whole.
    spectrogram
        What a model is given of each sound, frame by frame, beside the symbols before; None: nothing.
    picture
        The sizes of pictures whose symbols follow each other in one row (`flattened`); None: they do not.
    """

    name: str
    kind: Literal["image", "audio", "text"]
    train: Split
    validation: Split
    test: Split
    levels: int
    licence: str
    division: str
    shape: tuple[int, ...] | None = None
    binarisation: str | None = None
    transforms: tuple[Transform, ...] = ()
    rate: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    read_as: str | None = None
    names: tuple[str, ...] | None = None
    alphabet: str | None = None
    piece: int | None = None
    spectrogram: Spectrogram | None = None
    picture: tuple[int, ...] | None = None

    @property
    def classes(self) -> int | None:
        """The number of classes that the labels name, or None without labels."""
        if self.names is not None:
            return len(self.names)
        labels = [part.labels for part in self.parts]
        if any(label is None for label in labels):
            return None
        return 1 + max(int(label.max()) for label in labels if label is not None)

    @property
    def parts(self) -> tuple[Split, Split, Split]:
        """The three parts: train, validation, test."""
        return self.train, self.validation, self.test

    def part(self, name: str) -> Split:
        """Return the part called ``"train"``, ``"validation"`` or ``"test"``, or ``"all"`` that there is.

        Raises `UsageError` for training examples that are drawn anew each time.
        """
        if name == "all" and self.division == UNDIVIDED:
            return self.test
        if self.transforms and name in ("train", "all"):
            raise UsageError(
                f"the training part of {self.name} is drawn anew each time ({self.binarisation}): it has no score"
            )
        if name == "all":
            return joined(self.parts)
        found: Split = getattr(self, name)
        return found

    @cached_property
    def digest(self) -> str:
        """A digest of all symbols and labels, SHA-256: other content under the same name has another one."""
        digest = hashlib.sha256()
        for part in self.parts:
            examples = (part.examples,) if isinstance(part.examples, Tensor) else part.examples
            for word, tensors in (("examples", examples), ("labels", () if part.labels is None else (part.labels,))):
                digest.update(f"{word} {len(tensors)}".encode())
                for tensor in tensors:
                    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                    digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return everything but the symbols, of which it gives the digest, as JSON can hold it."""
        names = ("name", "kind", "levels", "licence", "division", "binarisation", "rate", "read_as", "alphabet")
        plain = {name: getattr(self, name) for name in names}
        sizes = {name: len(getattr(self, name)) for name in ("train", "validation", "test")}
        plain |= {"classes": self.classes, "piece": self.piece}
        named = {"shape": self.shape, "names": self.names, "picture": self.picture}
        lists = {name: None if value is None else list(value) for name, value in named.items()}
        return plain | lists | {"options": dict(self.options), "examples": sizes, "digest": self.digest}
