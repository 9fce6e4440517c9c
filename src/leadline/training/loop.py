"""The training loop: maximum likelihood by AdamW on accelerate, the best averaged weights kept by validation."""

import dataclasses
import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rich.console import Console

from leadline.data import Dataset
from leadline.errors import Diverged, UsageError
from leadline.training.budget import Plan, Watch
from leadline.training.checkpoint import load_checkpoint
from leadline.training.code import Code
from leadline.training.config import TrainConfig
from leadline.training.environment import Environment
from leadline.training.folder import Builder, FollowedFolder, RunFolder, RunResult
from leadline.training.monitoring._monitor import monitor
from leadline.training.monitoring.progress import Reporter
from leadline.training.monitoring.tracking import Trackers, line_of, tracked
from leadline.training.planning import planned, validated_examples
from leadline.training.processes import Processes
from leadline.training.randomness import isolated, seed_everything
from leadline.training.resumption import begin_with, earlier, extends, extensions, identity, started_from, stays
from leadline.training.session import Session
from leadline.zoo import build
from leadline.zoo import build as zoo_build


def train(
    name: str,
    settings: Mapping[str, Any],
    dataset: Dataset,
    config: TrainConfig,
    path: Path | str,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    lag: int = 1,
    build: Builder = build,
    console: Console | None = None,
    trackers: Trackers = (),
    start: Path | str | None = None,
) -> RunResult:
    """Train a density model and score it on the test part, in a run folder that can be resumed bit for bit.

    While it runs, torch's, numpy's and Python's global random states and torch's number of threads are its own; they
    are put back afterwards. A second thread that trains waits for the end, one that analyses or samples a model for the
    end of a step.

    Several processes, started by ``torchrun`` with this same call, share every batch and train one model; the first of
    them writes the folder, which all must see.

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
        result if it is finished. The folder of a run of given steps then equals that of one that was never stopped,
        bit for bit and file for file, the seconds apart. With more steps than it was to take, a run of given steps goes
        on by the schedule of those; `run.json` notes from which step.
    allow_changes
        Resume under another version of torch or leadline, or on another processor, too. The numbers are then not those
        of one run, bit for bit; `run.json` notes from which step on.
    lag
        1: the model's output at a position is that position's own distribution; 0: the next one's.
    build
        Turns name and settings into a specimen; the zoo's unless given.
    console
        Where progress goes; None: nowhere.
    trackers
        Names of accelerate's trackers (``"tensorboard"``, ``"wandb"``, ``"trackio"``, …), or trackers, that get the
        scores and what the config's `monitor` records. What they write is no part of the run folder: files stand in
        the one beside it that ends in ``-trackers``.

    start
        Another run, of a model with the same weights by name and shape: training begins with its best ones.

    Raises
    ------
    UsageError
        If the folder holds a run (other than the one to resume), or model, data and config do not fit. A run that is
        refused, or ends before its first checkpoint, leaves the folder as it found it.
    InUse
        If another process is training in the folder.
    DataError
        If the content of the data is not what the run began with.
    Diverged
        If a loss or gradient is not finite; the message says where, and the last good checkpoint stays.
    CheckpointError
        If the checkpoint to resume from is damaged or foreign.
    StorageError
        If the disk refuses a write; the last checkpoint is intact.
    """
    began = time.perf_counter()
    processes = Processes.here(config.device)
    folder = RunFolder(Path(path)) if processes.leads else FollowedFolder(Path(path))
    console = console if processes.leads else None
    request = _request(name, settings, dataset, config, lag, build)
    request["start"] = None if start is None else started_from(Path(start))
    with _alone(), ExitStack() as stack:
        processes.agreed(lambda: stack.enter_context(folder.held()))
        record = processes.agreed(lambda: earlier(folder, request, resume, allow_changes))
        longer = extends(record, request)
        finished = processes.agreed(lambda: folder.result() if record else None)
        if finished is not None and not longer:
            processes.agreed(lambda: folder.moved_to(request["model"]))
            return RunResult.from_dict(folder.path, finished)
        threads = record["environments"][0]["environment"]["threads"] if record else config.threads
        with isolated(threads), Reporter(console) as reporter:
            seed_everything(config.seed)
            specimen = build(name, **settings)
            known = None if record is None or longer else record["plan"]
            plan = processes.agreed(lambda: Plan.of(known) if known else planned(specimen, dataset, config, lag, began))
            session = Session.open(specimen, dataset, config, lag, plan.schedule, trackers, folder.path, processes)
            stack.callback(session.close)
            seed_everything(config.seed)
            if start is not None and not os.path.exists(folder.checkpoint):
                begin_with(session.state, Path(start))
            described = _restored(session, folder, request, record, plan, longer, allow_changes)
            if longer:
                folder.reopen()  # first: without a result it is an unfinished run, of whichever length
            with folder.begun(described), tracked(session.accelerator, folder.path, config):
                return _train(session, folder, _watch(session, plan, began), reporter)


def _request(
    name: str, settings: Mapping[str, Any], dataset: Dataset, config: TrainConfig, lag: int, build: Builder
) -> dict[str, Any]:
    """Return what is asked for, as `run.json` will give it back, to be compared with it."""
    model: dict[str, Any] = {"name": name, "settings": dict(settings)}
    if build is not zoo_build:
        model |= {"code": Code.behind(build).as_dict()}
    request = {"model": model, "data": dataset.describe(), "train": config.as_dict(), "lag": lag}
    found: dict[str, Any] = json.loads(json.dumps(request))
    return found


def _restored(
    session: Session,
    folder: RunFolder,
    request: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    plan: Plan,
    longer: bool,
    allow_changes: bool,
) -> dict[str, Any]:
    """Go back to the folder's checkpoint, if there is one; return what `run.json` says from now on."""
    state, config = session.state, session.config
    state.run = hashlib.sha256(json.dumps(identity(request), sort_keys=True).encode()).hexdigest()
    if os.path.exists(folder.checkpoint):
        state.restore(*load_checkpoint(folder.checkpoint))
    if config.minutes is None:  # a run that takes more steps than it was to goes on by its new schedule
        state.schedule = plan.schedule
    now = Environment.current(session.accelerator.device, session.processes.count)
    first = {"environments": [{"step": 0, "environment": now.as_dict()}]}
    places = session.processes.agreed(lambda: stays(record or first, now, state.step, folder.path, allow_changes))
    described = {**request, "plan": dataclasses.asdict(plan), "environments": places}
    return described | extensions(record, state.step, config.steps if longer else None)


_ONE_RUN = threading.Lock()
_training: ContextVar[bool] = ContextVar("training", default=False)


@contextmanager
def _alone() -> Iterator[None]:
    """Let other threads wait: a run owns the process's random states and number of threads. None within another."""
    if _training.get():
        raise UsageError("a training within another one, such as in its build=, would mix their random states")
    with _ONE_RUN:
        token = _training.set(True)
        try:
            yield
        finally:
            _training.reset(token)


def _watch(session: Session, plan: Plan, began: float) -> Watch:
    config, data = session.config, session.dataset
    return Watch(
        config.minutes,
        began - session.state.seconds,
        most=config.steps or math.inf,
        validation=plan.validation,
        final=(len(data.validation) + len(data.test)) / validated_examples(config, data),
    )


def _train(session: Session, folder: RunFolder, watch: Watch, reporter: Reporter) -> RunResult:
    """Train to the end, from wherever the session stands."""
    state = session.state
    reporter.step(state.step, state.schedule.steps)
    folder.log(state.log)
    try:
        with _monitored(session):
            _run(session, folder, watch, reporter)
        return _finish(session, folder, watch)
    except Diverged as error:
        raise Diverged(f"{error}; stopped after {state.step} steps, {_kept(folder)}") from error


@contextmanager
def _monitored(session: Session) -> Iterator[None]:
    """Record the gradient by stage in the log, and how far it reaches, where the config asks for them."""
    state, config = session.state, session.config

    def log(numbers: Mapping[str, float], step: int) -> None:
        state.log += line_of({"step": step, **numbers})
        session.accelerator.log(dict(numbers), step=step)

    every = config.monitor or config.reach
    if every is None:
        yield
        return
    looked_at = session.example() if config.reach else ()
    how: dict[str, Any] = {"layout": session.layout, "reach_every": config.reach} if config.reach else {}
    how |= {"together": session.processes.added} if session.processes.count > 1 else {}
    with monitor(state.model, *looked_at, every=every, start=state.step, log=log, **how):
        yield


def _run(session: Session, folder: RunFolder, watch: Watch, reporter: Reporter) -> None:
    """Train to the last step, or until the budget is all but used up."""
    state, config = session.state, session.config
    decided = session.processes.agreed if config.minutes else _done  # who leads reads the clock
    while state.step < state.schedule.steps and decided(lambda: watch.left() > 0) and not _stale(session):
        start = time.perf_counter()
        session.step()
        took = time.perf_counter() - start
        state.schedule = decided(lambda: watch.stepped(took, state.schedule, state.step))  # noqa: B023
        reporter.step(state.step, state.schedule.steps)
        due = state.step - state.validated >= (config.validate_every or state.schedule.validate_every)
        if due:
            _validate(session, folder, watch, reporter)
        if state.step % config.checkpoint_every == 0 if config.checkpoint_every else due:
            state.seconds = watch.seconds()
            folder.save(state)
    if state.validated != state.step or not state.best:
        _validate(session, folder, watch, reporter)


def _done(work: Callable[[], Any]) -> Any:
    return work()


def _stale(session: Session) -> bool:
    """Whether as many validations as the config's patience have passed without a better one."""
    patience, state = session.config.patience, session.state
    if patience is None or state.step != state.validated:
        return False
    lines = [line for text in state.log.splitlines() if "validation" in (line := json.loads(text))]
    since = next((place for place, line in enumerate(reversed(lines)) if line["best"]), len(lines))
    return since >= patience


def _kept(folder: RunFolder) -> str:
    """Say what a run that cannot go on leaves behind."""
    if not os.path.exists(folder.checkpoint):
        return "before the first checkpoint"
    _, record = load_checkpoint(folder.checkpoint)
    return f"the last good checkpoint, of step {record['step']}, is {folder.checkpoint}"


def _validate(session: Session, folder: RunFolder, watch: Watch, reporter: Reporter) -> None:
    """Score the averaged weights on the validation part, keep them if they are the best, and say so."""
    state, start = session.state, time.perf_counter()
    told = state.told()
    bits = session.score(session.dataset.validation, "validation", examples=session.config.validation_examples)
    best = state.keep_if_best(bits.bits_per_dim)
    watch.validated(time.perf_counter() - start)
    line = {
        "step": state.step,
        **told,
        "validation": bits.bits_per_dim,
        "best": best,
        "lr": session.config.learning_rate(state.step, state.schedule.progress(state.step)),
        "seconds": round(watch.seconds(), 3),
    }
    state.log += line_of(line)
    folder.log(state.log)
    session.accelerator.log({key: value for key, value in line.items() if value is not None}, step=state.step)
    reporter.validation(state.step, told["train"], bits.bits_per_dim, best)


def _finish(session: Session, folder: RunFolder, watch: Watch) -> RunResult:
    """Score the best averaged weights on all of validation and test, and write the result."""
    state, best = session.state, session.best()
    validation = session.score(session.dataset.validation, "validation", model=best)
    test = session.score(session.dataset.test, "test", model=best)
    state.seconds = watch.seconds()
    folder.save(state)
    result = RunResult(
        path=folder.path,
        steps=state.step,
        planned=state.schedule.steps,
        seconds=round(state.seconds, 3),
        parameters=session.parameters,
        best_step=state.best_step,
        validation=validation,
        test=test,
    )
    folder.finish(result.as_dict())
    return result
