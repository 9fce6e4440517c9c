"""From the words of a command to a training run: the model, the data, the loop's settings, starting from a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from leadline import data
from leadline.data import Dataset
from leadline.errors import UsageError
from leadline.training.config import TrainConfig
from leadline.training.folder import RunFolder, RunResult
from leadline.training.loop import train
from leadline.training.monitoring.tracking import Trackers
from leadline.training.recipes import Recipe, find_recipe
from leadline.zoo import ZOO, Specimen, build, parse_settings
from leadline.zoo.settings import settings_of

_MOST, _MIXED = 1024, 10
"""Levels of sound beyond which a model of the zoo gives a mixture of so many components, unless it is told otherwise.

A logit for each of 65,536 levels would be slow, and learned from next to no samples.
"""


@dataclass(frozen=True)
class Job:
    """What is trained on, how, and by which recipe."""

    dataset: Dataset
    config: TrainConfig
    recipe: Recipe


def prepared(
    model: str, data_name: str, recipe: str | None, training: Mapping[str, Any], options: Mapping[str, Any]
) -> Job:
    """Load the data and make the loop's settings, by a recipe (None: the default one, if any) and what is asked for.

    Crops of texts are as long as the pieces that are scored, unless something says otherwise. Raises `UsageError` if a
    name or setting is unknown, or nothing says how long to train.
    """
    found = find_recipe(model, data_name, recipe)
    dataset = data.load(data_name, **{**found.options, **options})
    lengths = {"steps", "minutes"}
    base = {key: value for key, value in found.training.items() if not (key in lengths and lengths & training.keys())}
    if not lengths & {*base, *training}:
        raise UsageError(f"there is no recipe for {model} on {data_name}: say how long to train, --minutes or --steps")
    crop = {} if dataset.piece is None else {"crop": dataset.piece}
    return Job(dataset, TrainConfig.from_dict({**crop, **base, **training}), found)


def train_by_recipe(
    model: str,
    settings: Sequence[str],
    data_name: str,
    path: Path,
    *,
    recipe: str | None = None,
    training: Mapping[str, Any],
    options: Mapping[str, Any],
    resume: bool = False,
    allow_changes: bool = False,
    console: Console | None = None,
    trackers: Trackers = (),
    start: Path | None = None,
) -> RunResult:
    """Train in a run folder by a recipe (None: the default one, if there is any) with what is asked for on top of it.

    `settings` are the model's as ``key=value`` words, `training` those of `TrainConfig` (a length given here replaces
    the recipe's), `options` those of `leadline.data.load`. Models with a choice are trained as densities, with a lag of
    1; one that begins with the weights of a run (`start`) has its settings. Raises `UsageError` if a name or setting is
    unknown, or nothing says how long to train.
    """
    asked = parse_settings(model, settings)
    job = prepared(model, data_name, recipe, training, options)
    known = settings_of(ZOO[model])
    sizes = {name: value for name, value in sizes_of(job.dataset).items() if name in known}
    if job.dataset.kind == "audio" and job.dataset.levels > _MOST and "components" in known:
        sizes["components"] = _MIXED
    chosen = {**sizes, **job.recipe.settings, **_settings_of_start(model, start), **asked}
    specimen = build(model, **chosen)
    if specimen.likelihood is None and "lag" in known and "lag" not in chosen:
        chosen["lag"] = 1
        specimen = build(model, **chosen)
    refuse_misfit_data(model, specimen, job.dataset)
    lag, chosen = int(chosen.get("lag", 1)), {"seed": job.config.seed, **chosen}
    how: dict[str, Any] = {"resume": resume, "allow_changes": allow_changes, "console": console, "trackers": trackers}
    how |= {"start": start}
    return train(model, chosen, job.dataset, job.config, path, lag=lag, **how)


def _settings_of_start(model: str, start: Path | None) -> dict[str, Any]:
    """Return the settings of the run whose weights training begins with, if its model is of the same name."""
    held = {} if start is None else RunFolder(start).description()["model"]
    return dict(held["settings"]) if held.get("name") == model else {}


def refuse_misfit_data(model: str, specimen: Specimen, dataset: Dataset) -> None:
    """Refuse data with other axes than a density model reads, other labels or frames; raises `UsageError`."""
    read, given = specimen.inputs[0].ndim - 1, 1 if dataset.shape is None else len(dataset.shape)
    if specimen.likelihood is not None and read != given:
        kind = {2: "image, in grey", 3: "image, in colour"}.get(given, dataset.kind)
        flat = " (leave out -d flatten=true)" if dataset.picture is not None else ""
        hints = {
            (2, 1): flat,
            (2, 3): "; -d color=grey turns it into grey",
            (1, 2): " (-d flatten=true: one, row after row)",
        }
        turned = hints.get((read, given), "")
        raise UsageError(
            f"{model} reads '{specimen.layout}', {read} position axes; "
            f"{dataset.name} is {kind}, which has {given}{turned}"
        )
    if specimen.likelihood is not None and given == 3 and specimen.inputs[0].shape[-1] != (dataset.shape or ())[-1]:
        raise UsageError(f"{model} reads {specimen.inputs[0].shape[-1]} colours a pixel, and {dataset.name} has "
                         f"{(dataset.shape or ())[-1]}")  # fmt: skip
    _refuse_too_long(model, specimen.most, dataset)
    _refuse_misfit_frames(model, specimen, dataset)
    if not (specimen.conditional or specimen.taught) or specimen.likelihood is None:
        return
    if dataset.classes is None:
        raise UsageError(f"{model} is conditioned on a class, and {dataset.name} has no labels (-d labels=…)")
    if specimen.labels is not None and dataset.classes > specimen.labels:
        raise UsageError(
            f"{model} is conditioned on {specimen.labels} classes, and {dataset.name} has {dataset.classes}: "
            f"labels={dataset.classes}"
        )


def _refuse_misfit_frames(model: str, specimen: Specimen, dataset: Dataset) -> None:
    heard = dataset.spectrogram
    if specimen.frames == (None if heard is None else (heard.channels, heard.hop)):
        return
    wanted = "no spectrogram"
    if specimen.frames is not None:
        channels, hop = specimen.frames
        wanted = f"{channels} channels (-d spectrogram=) of frames of {hop} samples (-d hop=)"
    raise UsageError(f"{model} hears {wanted}; {dataset.name} gives {heard or 'none'}")


def _refuse_too_long(model: str, most: int | None, dataset: Dataset) -> None:
    """Refuse examples that are longer than a model takes."""
    if most is None:
        return
    longest = max(example.numel() for part in (dataset.validation, dataset.test) for example in part.examples)
    if longest > most:
        cut = "" if dataset.kind == "image" else f"cut what is scored into pieces (-d piece={most}), or "
        raise UsageError(
            f"{model} takes at most {most} symbols, and {dataset.name} has an example of {longest}: "
            f"{cut}take length={longest}"
        )


def sizes_of(dataset: Dataset) -> dict[str, Any]:
    """Return the settings that the data decides: classes, the size of pictures, colours, the length of pieces, frames.

    Examples
    --------
    >>> sizes_of(data.load("photographs"))
    {'classes': 256, 'height': 32, 'width': 32, 'colors': 3}
    """
    shape = dataset.shape or ()
    axes = ("length",) if len(shape) == 1 else ("height", "width", "colors")
    sizes: dict[str, Any] = {"classes": dataset.levels, **dict(zip(axes, shape, strict=False))}
    if dataset.spectrogram is not None:
        sizes |= {"conditions": dataset.spectrogram.channels, "hop": dataset.spectrogram.hop}
    return sizes if dataset.piece is None else sizes | {"length": dataset.piece}
