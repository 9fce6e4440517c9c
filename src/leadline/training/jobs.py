"""From the words of a command to a training run: the model, the data, the loop's settings, starting from a recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from leadline import data
from leadline.data import Dataset
from leadline.errors import UsageError
from leadline.training.config import TrainConfig
from leadline.training.folder import RunResult
from leadline.training.loop import train
from leadline.training.monitoring.tracking import Trackers
from leadline.training.recipes import find_recipe
from leadline.zoo import ZOO, build, parse_settings
from leadline.zoo.settings import settings_of


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
) -> RunResult:
    """Train in a run folder by a recipe (None: the default one, if there is any) with what is asked for on top of it.

    `settings` are the model's as ``key=value`` words, `training` those of `TrainConfig` (a length given here replaces
    the recipe's), `options` those of `leadline.data.load`. Raises `UsageError` if a name or setting is unknown, or
    nothing says how long to train.
    """
    asked = parse_settings(model, settings)
    found = find_recipe(model, data_name, recipe)
    dataset = data.load(data_name, **{**found.options, **options})
    lengths = {"steps", "minutes"}
    base = {key: value for key, value in found.training.items() if not (key in lengths and lengths & training.keys())}
    if not lengths & {*base, *training}:
        raise UsageError(f"there is no recipe for {model} on {data_name}: say how long to train, --minutes or --steps")
    config = TrainConfig.from_dict({**base, **training})
    chosen = {**_sizes(model, dataset), **found.settings, **asked}
    _refuse_other_kinds(model, chosen, dataset)
    lag, chosen = int(chosen.get("lag", 1)), {"seed": config.seed, **chosen}
    how: dict[str, Any] = {"resume": resume, "allow_changes": allow_changes, "console": console, "trackers": trackers}
    return train(model, chosen, dataset, config, path, lag=lag, **how)


def _refuse_other_kinds(model: str, settings: Mapping[str, Any], dataset: Dataset) -> None:
    """Pictures have two axes and sound has one; a model reads one or the other."""
    specimen = build(model, **settings)
    read, given = specimen.inputs[0].ndim - 1, 2 if dataset.kind == "image" else 1
    if specimen.likelihood is not None and read != given:
        raise UsageError(
            f"{model} reads '{specimen.layout}', {read} position axes; "
            f"{dataset.name} is {dataset.kind}, which has {given}"
        )


def _sizes(model: str, dataset: Dataset) -> dict[str, Any]:
    """Return the settings that the data decides: the number of classes, the size of its pictures."""
    known = settings_of(ZOO[model])
    sizes: dict[str, Any] = {"classes": dataset.levels}
    if dataset.shape is not None and len(dataset.shape) == 2:
        sizes |= {"height": dataset.shape[0], "width": dataset.shape[1]}
    return {name: value for name, value in sizes.items() if name in known}
