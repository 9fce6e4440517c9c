"""Runs of models of the user's: trained from a factory, and read back if their code may be run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from leadline import data
from leadline.audit.named_model import users_function
from leadline.audit.users_density import UsersDensity, lag_of
from leadline.errors import UsageError
from leadline.files.streams import complain
from leadline.key_values import literals
from leadline.training import Run, RunFolder, RunResult, TrainConfig, load_run, train
from leadline.training.code import Code, refuse_untrusted
from leadline.training.folder import Builder
from leadline.training.jobs import Job, prepared, refuse_misfit_data, sizes_of, train_by_recipe
from leadline.training.randomness import isolated, seed_everything
from leadline.zoo import Specimen


def open_run(path: Path | str, *, trust: bool = False) -> Run:
    """Read a run folder; where its model is built by code of a user's, that is run with `trust` alone.

    A file that has changed since the run began is named on standard error. Raises as `leadline.training.load_run` does.
    """
    folder = RunFolder(Path(path))
    record = folder.description()
    held = record["model"].get("code")
    if held is None:
        return load_run(path)
    code = Code.of(held)
    if not trust or not code.word:
        refuse_untrusted(folder.path, code)
    if code.file.endswith(".py") and not os.path.isfile(code.file):
        raise UsageError(
            f"the model of {folder.path} is built by {code.file}, which is not there any more: put it back, or go on "
            "with the run by the file that it is now (leadline train FILE.py:… --resume), or read the run in Python, "
            "with load_run(path, build=…)"
        )
    if code.now != code.digest:
        complain(
            f"{code.file} has changed since {folder.path} was trained with it, or a file beside it that it imports has"
        )
    return load_run(path, build=_builder(code, record["data"]))


def _builder(code: Code, about: Mapping[str, Any]) -> Builder:
    if code.calls == "factory":
        return UsersDensity(code.word, about, likelihood=code.likelihood, layout=code.layout)
    _, make = users_function(code.word)

    def build(name: str, **settings: Any) -> Specimen:
        found = make(name, **settings)
        if not isinstance(found, Specimen):
            raise UsageError(f"{code.word} returned {type(found).__name__}, where training got a specimen from it")
        return found

    return build


def train_named(
    model: str,
    settings: Sequence[str],
    data_name: str,
    path: Path,
    *,
    training: Mapping[str, Any],
    options: Mapping[str, Any],
    recipe: str | None = None,
    likelihood: str | None = None,
    layout: str | None = None,
    **how: Any,
) -> RunResult:
    """Train a model of the zoo, or what a factory of the user's returns, in a run folder that says how to build it.

    Of a factory's product a density is trained: what its outputs may see is found from the model, and one that sees
    what comes later is refused. `likelihood` and `layout` are those of `UsersDensity`; the other arguments, and errors,
    those of `training.jobs.train_by_recipe`.
    """
    if ":" not in model:
        if likelihood is not None or layout is not None:
            raise UsageError("a likelihood and a layout are said of a model of your own; those of the zoo have theirs")
        how |= {"recipe": recipe, "training": training, "options": options}
        return train_by_recipe(model, settings, data_name, path, **how)
    if recipe is not None:
        raise UsageError(f"there is no recipe {recipe!r} for a model of your own: say how long to train")
    job = prepared(model, data_name, None, training, options)
    return _train_users(model, settings, path, job, likelihood, layout, how)


def _train_users(
    word: str,
    settings: Sequence[str],
    path: Path,
    job: Job,
    likelihood: str | None,
    layout: str | None,
    how: Mapping[str, Any],
) -> RunResult:
    build = UsersDensity.at(word, job.dataset.describe(), likelihood=likelihood, layout=layout)
    found, _ = users_function(word)
    asked = {**_taken(found, sizes_of(job.dataset)), **literals(settings)}
    lag = _checked(build, asked, job.dataset, job.config)
    return train(build.word, asked, job.dataset, job.config, path, lag=lag, build=build, **how)


def users_run(
    word: str,
    settings: Sequence[str],
    data_name: str,
    options: Mapping[str, Any],
    likelihood: str | None = None,
    layout: str | None = None,
) -> Run:
    """Return a model of the user's, with the weights that its factory gives it, as if it were a run on the data."""
    dataset = data.load(data_name, **options)
    build = UsersDensity.at(word, dataset.describe(), likelihood=likelihood, layout=layout)
    found, _ = users_function(word)
    asked = {**_taken(found, sizes_of(dataset)), **literals(settings)}
    with isolated(None):
        seed_everything(0)
        specimen = build(word, **asked)
    refuse_misfit_data(word, specimen, dataset)
    specimen.model.eval()
    config = TrainConfig(steps=1)
    return Run(Path(word), word, asked, specimen, lag_of(specimen), config, dataset.describe(), None)


def _checked(build: UsersDensity, settings: Mapping[str, Any], dataset: data.Dataset, config: TrainConfig) -> int:
    """Build the model once, refuse what cannot be trained, and return its lag."""
    with isolated(config.threads), torch.random.fork_rng(devices=[]):
        seed_everything(config.seed)
        specimen = build(build.word, **settings)
        refuse_misfit_data(build.word, specimen, dataset)
        return lag_of(specimen)


def _taken(function: Callable[..., Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return those sizes that a factory takes by name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin
        return {}
    return {name: value for name, value in sizes.items() if name in parameters}
