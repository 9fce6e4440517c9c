"""Pictures as sequences: for models of one axis, which read symbol after symbol."""

from dataclasses import replace

from torch import Tensor

from leadline.data.dataset import Dataset, Split
from leadline.errors import UsageError


def flattened(dataset: Dataset) -> Dataset:
    """Return a set of pictures as one of sequences, row after row, which remembers their `picture`'s sizes.

    Raises `UsageError` where examples are no pictures.

    Examples
    --------
    >>> from leadline.data import load
    >>> made = flattened(load("digits"))
    >>> made.shape, made.picture, tuple(made.test.examples.shape)
    ((64,), (8, 8), (447, 64))
    """
    if dataset.shape is None:
        raise UsageError(f"flatten=true lays pictures out row after row; {dataset.name} is {dataset.kind}")
    train, validation, test = (Split(_rows(part.examples), part.labels) for part in dataset.parts)
    said = "pixels row after row" if dataset.read_as is None else f"{dataset.read_as}, row after row"
    return replace(
        dataset,
        train=train,
        validation=validation,
        test=test,
        shape=(int(train.examples[0].numel()),),
        picture=dataset.shape,
        options={**dataset.options, "flatten": True},
        read_as=said,
    )


def _rows(examples: object) -> Tensor:
    assert isinstance(examples, Tensor)  # pictures of one size are one tensor
    return examples.flatten(1)
