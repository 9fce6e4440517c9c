"""What a model is told of each sample that is drawn: a class, or frames of how it is to sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.data.audio import classes_of, read_sound
from leadline.data.spectrogram import Spectrogram
from leadline.errors import UsageError
from leadline.sampling import uniforms
from leadline.training import Run
from leadline.zoo import Specimen

Told = tuple[Tensor, ...]
"""The inputs beside the one that is drawn, each for one sample that stands for all, or for every sample."""
Group = tuple[list[int], Told | None]
"""The numbers of samples that are given the same, and what that is."""


def told(
    specimen: Specimen, n: int, label: int | Sequence[int] | None, frames: Float[Tensor, "m f c"] | None
) -> Told | None:
    """Return what `n` samples are given, None if nothing was said and the model needs nothing said.

    Raises `UsageError` for a class or frames that the model does not take, or that are missing.
    """
    labels = _labels(specimen, n, label)
    if (specimen.frames is not None) != (frames is not None):
        raise UsageError(
            "this model is given a spectrogram: say which frames to draw by"
            if frames is None
            else "this model takes no frames of a spectrogram"
        )
    if frames is not None and (len(frames) not in (1, n) or frames.shape[2:] != (specimen.frames or ())[:1]):
        raise UsageError(
            f"frames has shape {tuple(frames.shape)}; {n} samples need those of 1 sound, or of {n}, with "
            f"{(specimen.frames or (0,))[0]} channels"
        )
    given = (*([torch.tensor(labels)] if labels else []), *([] if frames is None else [frames]))
    return given or None


def _labels(specimen: Specimen, n: int, label: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return one class for all samples, or one for each, or none; refuse those that the model does not have."""
    if specimen.conditional != (label is not None):
        raise UsageError(
            "this model is conditional: say which class to draw" if label is None else "this model has no classes"
        )
    if label is None:
        return ()
    labels = (label,) if isinstance(label, int) else tuple(label)
    if len(labels) not in (1, n):
        raise UsageError(f"{len(labels)} classes are given for {n} samples; give one for each, or one for all")
    known = specimen.labels
    strange = next((c for c in labels if c < 0 or (known is not None and c >= known)), None)
    if strange is not None:
        had = "from 0 on" if known is None else f"0 to {known - 1}"
        raise UsageError(f"there is no class {strange}: this model has the classes {had}")
    return labels


def told_a_class(specimen: Specimen) -> Specimen:
    """Return the density of each class, of a model that was taught classes and is the mean over them without one."""
    x = specimen.inputs[0]
    layout = specimen.layout.replace(" ->", ", _ ->", 1)
    return replace(specimen, inputs=(x, x.new_zeros(len(x))), layout=layout, taught=False)


def drawn_classes(specimen: Specimen, n: int, seed: int, length: int | None) -> tuple[int, ...]:
    """Return a class for each sample, all alike probable, from the number of its stream that follows its symbols'."""
    assert specimen.labels is not None, "a model that was taught classes says how many"
    rows, *others = specimen.inputs[0].shape[1:]
    u = uniforms(seed, n, math.prod((rows if length is None else length, *others)) + 1)[:, -1]
    return tuple((u * specimen.labels).long().tolist())


def inputs_of(specimen: Specimen, given: Told | None, length: int | None) -> tuple[Tensor, ...]:
    """Return example inputs that hold what is given; by frames, of `length` symbols or as many as they last for."""
    first, *rest = specimen.inputs
    if given is None:
        return (first, *rest)
    if specimen.frames is None:
        return (first, *given)
    *classes, frames = given
    lasts = frames.shape[1] * specimen.frames[1]
    if length is not None and length > lasts:
        raise UsageError(f"the frames of that sound last for {lasts} samples, and {length} are asked for")
    length = lasts if length is None else length
    return (first.new_zeros(1, length), *classes, frames[:, : -(-length // specimen.frames[1])])


def alike(given: Told | None, n: int) -> list[Group]:
    """Put samples that are given the same together: their numbers, and what that is, for one sample.

    Examples
    --------
    >>> alike((torch.tensor([4, 7, 4]),), 3)
    [([0, 2], (tensor([4]),)), ([1], (tensor([7]),))]
    """
    if given is None:
        return [(list(range(n)), None)]
    groups: list[tuple[list[int], Told]] = []
    for row in range(n):
        own = tuple(tensor[row : row + 1] if len(tensor) > 1 else tensor for tensor in given)
        for rows, known in groups:
            if all(map(torch.equal, own, known)):
                rows.append(row)
                break
        else:
            groups.append(([row], own))
    return list(groups)


def heard_in(run: Run, source: Path | None, n: int = 1) -> Float[Tensor, "m f c"]:
    """Return the frames of a file of sound, as the run's own data has them; of `n` validation examples without one.

    Examples are cut to the shortest. Raises `UsageError` if the run's data has no spectrogram, or the sound another
    rate; `DataError` if it cannot be read.
    """
    about = run.data
    spectrogram = Spectrogram.asked(about["options"], int(about["rate"] or 1), int(about["levels"]))
    if spectrogram is None:
        raise UsageError(f"{run.path} was trained without a spectrogram (-d spectrogram=), so it is like no sound")
    if source is not None:
        signal, rate = read_sound(source)
        if rate != about["rate"]:
            raise UsageError(f"{source} has {rate} samples a second, and {run.path} was trained on {about['rate']}")
        return spectrogram.of(classes_of(signal, about["options"])).unsqueeze(0)
    examples = run.dataset().validation.examples[:n]
    if len(examples) < n:
        raise UsageError(f"the validation part holds {len(examples)} examples, fewer than {n}")
    shortest = min(map(len, examples))
    return torch.stack([spectrogram.of(example, 0, shortest) for example in examples])
