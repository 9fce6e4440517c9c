"""The training loop: maximum likelihood by AdamW on accelerate, the best averaged weights kept by validation."""

import copy
import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from leadline.data import Dataset
from leadline.errors import Diverged, UsageError
from leadline.training.budget import Budget, plan
from leadline.training.checkpoint import load_checkpoint
from leadline.training.config import TrainConfig
from leadline.training.folder import Builder, RunFolder, RunResult
from leadline.training.progress import Reporter
from leadline.training.session import Session
from leadline.training.state import isolated, seed_everything
from leadline.zoo import Specimen, build


def train(
    name: str,
    settings: Mapping[str, Any],
    dataset: Dataset,
    config: TrainConfig,
    path: Path | str,
    *,
    resume: bool = False,
    lag: int = 1,
    build: Builder = build,
    console: Console | None = None,
) -> RunResult:
    """Train a density model and score it on the test part, in a run folder that can be resumed bit for bit.

    Parameters
    ----------
    name, settings
        The model, as `build` takes it: ``build(name, **settings)``. Zoo models draw their initial weights from the
        setting `seed`; other factories draw from torch's generator, seeded by the config.
    dataset
        The data; the test part is looked at once, after training.
    config
        Length, batch size, learning rate and so on.
    path
        The run folder. It must not hold a run yet, unless `resume`.
    resume
        Go on where the folder's checkpoint stands, under the same settings; start anew if it holds no run, return the
        result if it is finished. On the same machine, torch and number of threads the final weights equal those of a
        run that was never stopped, bit for bit.
    lag
        1: the model's output at a position is that position's own distribution; 0: the next one's.
    build
        Turns name and settings into a specimen; the zoo's unless given.
    console
        Where progress goes; None: nowhere.

    Raises
    ------
    UsageError
        If the folder holds a run (other than the one to resume), or model, data and config do not fit.
    Diverged
        If a loss or gradient is not finite; the message says where, and the last good checkpoint stays.
    CheckpointError
        If the checkpoint to resume from is damaged or foreign.
    StorageError
        If the disk refuses a write; the last checkpoint is intact.
    """
    clock = time.perf_counter()
    folder = RunFolder(Path(path))
    model = {"name": name, "settings": dict(settings)}
    request = {"model": model, "data": dataset.describe(), "train": config.as_dict(), "lag": lag}
    request = json.loads(json.dumps(request))  # as run.json will give it back, to be compared with it
    record = _earlier(folder, request, resume)
    finished = folder.result() if record else None
    if finished is not None:
        return RunResult.from_dict(folder.path, finished)
    with isolated(config.threads):
        seed_everything(config.seed)
        specimen = build(name, **settings)
        if record is None:
            record = {**request, "plan": dataclasses.asdict(_plan(specimen, dataset, config, lag, clock))}
            folder.begin(record)
        planned = Budget(**record["plan"])
        session = Session.open(specimen, dataset, config, lag, planned.steps)
        seed_everything(config.seed)
        if folder.checkpoint.exists():
            session.state.restore(*load_checkpoint(folder.checkpoint))
            folder.rewind(session.state.step)
            clock -= session.state.seconds
        try:
            with Reporter(console, planned.steps, session.state.step) as reporter:
                _run(session, folder, planned, clock, reporter)
            return _finish(session, folder, planned, clock)
        except Diverged as error:
            raise Diverged(f"{error}; stopped after {session.state.step} steps, {_kept(folder)}") from error


def _run(session: Session, folder: RunFolder, planned: Budget, clock: float, reporter: Reporter) -> None:
    """Train to the last step, or until the budget is all but used up."""
    state, config = session.state, session.config
    every = config.validate_every or planned.validate_every
    save_every = config.checkpoint_every or every
    deadline = math.inf if config.minutes is None else clock + 60 * config.minutes - planned.reserve
    while state.step < session.steps and time.perf_counter() < deadline:
        session.step()
        reporter.step(state.step)
        if state.step % every == 0:
            _validate(session, folder, clock, reporter)
        if state.step % save_every == 0:
            state.seconds = time.perf_counter() - clock
            folder.save(state)
    if state.validated != state.step or not state.best:
        _validate(session, folder, clock, reporter)


def _kept(folder: RunFolder) -> str:
    """Say what a run that cannot go on leaves behind."""
    if not folder.checkpoint.exists():
        return "before the first checkpoint"
    _, record = load_checkpoint(folder.checkpoint)
    return f"the last good checkpoint, of step {record['step']}, is {folder.checkpoint}"


def _validate(session: Session, folder: RunFolder, clock: float, reporter: Reporter) -> None:
    """Score the averaged weights on the validation part, keep them if they are the best, and say so."""
    state = session.state
    train = float(torch.stack(session.recent).mean()) / math.log(2) if session.recent else None
    session.recent.clear()
    bits = session.score(session.dataset.validation, "validation", examples=session.config.validation_examples)
    best = state.keep_if_best(bits.bits_per_dim)
    folder.log(
        {
            "step": state.step,
            "train": train,
            "validation": bits.bits_per_dim,
            "best": best,
            "lr": session.config.learning_rate(state.step, steps=session.steps),
            "seconds": round(time.perf_counter() - clock, 3),
        }
    )
    reporter.validation(state.step, train, bits.bits_per_dim, best)


def _finish(session: Session, folder: RunFolder, planned: Budget, clock: float) -> RunResult:
    """Score the best averaged weights on all of validation and test, and write the result."""
    state, best = session.state, session.best()
    validation = session.score(session.dataset.validation, "validation", model=best)
    test = session.score(session.dataset.test, "test", model=best)
    state.seconds = time.perf_counter() - clock
    folder.save(state)
    result = RunResult(
        path=folder.path,
        steps=state.step,
        planned=planned.steps,
        seconds=round(state.seconds, 3),
        parameters=session.parameters,
        best_step=state.best_step,
        validation=validation,
        test=test,
    )
    folder.finish(result.as_dict())
    return result


def _earlier(folder: RunFolder, request: Mapping[str, Any], resume: bool) -> dict[str, Any] | None:
    """Return the record of the run that the folder holds, if it is the one to resume."""
    if not folder.started:
        return None
    if not resume:
        raise UsageError(f"{folder.path} already holds a run; resume it, or choose another folder")
    record = folder.description()
    for key, value in request.items():
        if record.get(key) != value:
            raise UsageError(f"{folder.path} holds another run: {_difference(key, record.get(key), value)}")
    return record


def _difference(name: str, held: Any, asked: Any) -> str:
    """Name the settings in which a run on disk differs from the one asked for."""
    if isinstance(held, dict) and isinstance(asked, dict):
        keys = [key for key in {**held, **asked} if held.get(key) != asked.get(key)]
        return "; ".join(_difference(key, held.get(key), asked.get(key)) for key in keys)
    return f"its {name} is {held}, not {asked}"


def _plan(specimen: Specimen, dataset: Dataset, config: TrainConfig, lag: int, clock: float) -> Budget:
    """Turn the budget into steps; the calibration runs on a copy of the model."""
    if config.minutes is None:
        assert config.steps is not None  # the config has one of them
        return Budget.of_steps(config.steps)
    copied = dataclasses.replace(specimen, model=copy.deepcopy(specimen.model))
    rehearsal = Session.open(copied, dataset, config, lag, steps=1000)
    examples = min(config.validation_examples or len(dataset.validation), len(dataset.validation))
    probe = min(examples, 128)

    def validate() -> float:
        start = time.perf_counter()
        rehearsal.score(dataset.validation, "validation", examples=probe)
        return (time.perf_counter() - start) * examples / probe

    fitting = plan(
        config.minutes,
        step=rehearsal.step,
        validate=validate,
        final=(len(dataset.validation) + len(dataset.test)) / examples,
        spent=time.perf_counter() - clock,
    )
    if config.steps is None or fitting.steps < config.steps:
        return fitting
    return Budget(config.steps, -(-config.steps * fitting.validate_every // fitting.steps), fitting.reserve)
