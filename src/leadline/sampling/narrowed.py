"""What it costs to store weights narrower than they are multiplied: outputs and scores beside those of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from leadline.errors import UsageError
from leadline.results import Estimate, Result, Status

if TYPE_CHECKING:
    from leadline.sampling.streaming import Stream

SEQUENCES = 8


@dataclass(frozen=True)
class Narrowed(Result):
    """What narrower weights do to a stream.

    Attributes
    ----------
    weights
        How they are stored.
    data
        Whether outputs were compared on data that was ``"given"``, or on ``"random"`` inputs.
    largest
        The largest difference of an output that was seen, beside the stream with the model's own weights.
    difference
        The largest difference within a sequence, over sequences.
    score
        By how many nats a symbol the negative logarithm of the likelihood grows, over sequences of given data; None
        where none was given, or the model's inputs are not classes.
    """

    weights: str
    data: str
    largest: float
    difference: Estimate
    score: Estimate | None
    status: Status = Status.ESTIMATE


def narrowed(stream: Stream, wide: Stream, weights: str, data: Tensor | None, seed: int = 0) -> Narrowed:
    """Compare two streams of one model, sequence by sequence, on data or on random inputs."""
    differences, changes = [], []
    for x in _sequences(stream, data, seed):
        ours, right = (made.logits(x).double() for made in (stream, wide))
        differences.append(float((ours - right).abs().max()))
        if data is not None and stream.likelihood is not None and stream.interface.integer:
            changes.append(_score(wide, right, x) - _score(stream, ours, x))
    drawn = seed if data is None else None
    return Narrowed(
        weights,
        "random" if data is None else "given",
        max(differences),
        Estimate.of(np.array(differences), drawn),
        Estimate.of(np.array(changes)) if changes else None,
    )


def refuse_beyond(found: Narrowed, within: float) -> None:
    """Raise `UsageError` where outputs differ by more than a bound."""
    if not found.largest <= within:
        raise UsageError(
            f"weights={found.weights!r} change an output by {found.largest:.3g} on {found.data} inputs, more than "
            f"within={within:g}: store them wider, or allow more"
        )


def _sequences(stream: Stream, data: Tensor | None, seed: int) -> Iterator[Tensor]:
    """Yield inputs of one sample each."""
    source, interface = stream.source, stream.interface
    name = source.streamed[0]
    axes = source.reading.input_axes[name]
    if data is None:
        like, generator = source.reading.tensors[name], torch.Generator().manual_seed(seed)
        shape = [1 if axis == "b" else size for axis, size in zip(axes, like.shape, strict=True)]
        for _ in range(SEQUENCES):
            if interface.integer:
                levels = interface.classes or (stream.likelihood.levels if stream.likelihood else 2)
                yield torch.randint(levels, shape, generator=generator)
            else:
                yield torch.randn(shape, generator=generator, dtype=like.dtype)
    elif "b" in axes and data.ndim == len(axes):
        yield from data.split(1, axes.index("b"))
    else:
        yield data


def _score(stream: Stream, logits: Tensor, x: Tensor) -> float:
    """Return the mean logarithm of the likelihood of a sequence's symbols."""
    assert stream.likelihood is not None
    reading = stream.source.reading
    places = reading.input_axes[stream.source.streamed[0]]
    found = logits.permute(
        [reading.output_axes.index(axis) for axis in (*places, *reading.layout.channels(reading.output))]
    )
    if stream.lag == 0:  # an output is the distribution of what comes next
        along = places.index(stream.source.system.axes[0])
        length = x.shape[along]
        found, x = found.narrow(along, 0, length - 1), x.narrow(along, 1, length - 1)
    return float(stream.likelihood.log_prob(found, x.long()).mean())
