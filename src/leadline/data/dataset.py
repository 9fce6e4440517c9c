"""What a data set is here: three parts of integer symbols, with their provenance, and their division."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.data.transforms import Transform
from leadline.errors import DataError


@dataclass(frozen=True)
class Split:
    """One part of a data set, with the class of every example, or None.

    Images are one integer tensor ``(n, height, width)``, clips a tuple of tensors ``(length,)``.
    """

    examples: Sequence[Integer[Tensor, "..."]] | Integer[Tensor, "n h w"]
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


@dataclass(frozen=True)
class Dataset:
    """Integer symbols 0 to levels - 1 in three parts, with their provenance.

    Attributes
    ----------
    name, options
        What `load` was called with: it gives the same data set again.
    kind
        ``"image"`` (every example has `shape`) or ``"audio"`` (clips of any length, `shape` is None).
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
    """

    name: str
    kind: Literal["image", "audio"]
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

    @property
    def classes(self) -> int | None:
        """The number of classes that the labels name, or None without labels."""
        labels = [part.labels for part in (self.train, self.validation, self.test)]
        if any(label is None for label in labels):
            return None
        return 1 + max(int(label.max()) for label in labels if label is not None)

    @cached_property
    def digest(self) -> str:
        """A digest of all symbols and labels, SHA-256: other content under the same name has another one."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            examples = (part.examples,) if isinstance(part.examples, Tensor) else part.examples
            for word, tensors in (("examples", examples), ("labels", () if part.labels is None else (part.labels,))):
                digest.update(f"{word} {len(tensors)}".encode())
                for tensor in tensors:
                    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                    digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return everything but the symbols, of which it gives the digest, as JSON can hold it."""
        names = ("name", "options", "kind", "levels", "shape", "licence", "division", "binarisation", "rate")
        plain = {name: getattr(self, name) for name in names}
        sizes = {name: len(getattr(self, name)) for name in ("train", "validation", "test")}
        shape = list(self.shape) if self.shape else None
        return plain | {"options": dict(self.options), "shape": shape, "examples": sizes, "digest": self.digest}


def divide(n: int, seed: int, source: Path) -> tuple[list[int], list[int], list[int]]:
    """Shuffle 0 to n - 1 with `seed` and divide them 8 : 1 : 1, at least one each.

    Raises `DataError` if there are fewer than three files in `source`.

    Examples
    --------
    >>> [len(part) for part in divide(20, seed=0, source=Path("."))]
    [16, 2, 2]
    """
    if n < 3:
        raise DataError(f"{source} holds {n} usable files; train, validation and test need at least one each")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    tenth = max(1, n // 10)
    return order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth]
