"""The run folder: what was run (`run.json`), how it went (`metrics.jsonl`), its weights, and its result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline import data
from leadline.data import Dataset
from leadline.errors import CheckpointError, DataError, InUse, StorageError, UsageError
from leadline.files.reading import as_record, read_record
from leadline.files.temporary import remove_leftovers
from leadline.files.writing import make_directory, write_atomically
from leadline.training.checkpoint import load_checkpoint, save_checkpoint, stated_shapes
from leadline.training.code import Code, refuse_untrusted
from leadline.training.config import TrainConfig
from leadline.training.records import ResultRecord, RunRecord
from leadline.training.restoring import load_weights, part, refuse_misfit
from leadline.training.scoring import Score
from leadline.training.state import TrainingState
from leadline.zoo import Specimen, build
from leadline.zoo import build as zoo_build

FORMAT = "leadline-run"
VERSION = 2
LOCK = ".lock"
_PLAIN = ("steps", "planned", "seconds", "parameters", "best_step")
Builder = Callable[..., Specimen]
"""Builds a specimen from a model's name and settings, as `leadline.zoo.build` does."""


@dataclass(frozen=True)
class RunFolder:
    """Paths and file formats of one run."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The one checkpoint: weights, averages, the best averages, optimiser and random states."""
        return self.path / "checkpoint.safetensors"

    @property
    def started(self) -> bool:
        """Whether `run.json` stands, and so whether there is something to resume."""
        return os.path.exists(self.path / "run.json")

    @property
    def kept_anything(self) -> bool:
        """Whether a checkpoint or a result stands, so that another run would destroy something."""
        return any(os.path.exists(self.path / name) for name in ("checkpoint.safetensors", "result.json"))

    def require_empty(self) -> None:
        """Raise `CheckpointError` if the folder holds parts of a run that nothing describes."""
        for name in ("checkpoint.safetensors", "metrics.jsonl", "result.json"):
            if os.path.exists(self.path / name):
                raise CheckpointError(
                    f"{self.path} holds {name} of a run, but no run.json; remove it, or choose another folder"
                )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if need be, and keep everybody else from training in it; a killed process holds nothing.

        What killed writes have left is removed. A folder that holds no run in the end is left as it was found. Raises
        `InUse` if someone holds it, `StorageError` if the disk refuses.
        """
        missing = [folder for folder in (self.path, *self.path.parents) if not os.path.exists(folder)]
        try:
            make_directory(self.path)
            with _locked(self.path / LOCK):
                try:
                    remove_leftovers(self.path)
                    yield
                finally:
                    if not self.started:
                        _remove(self.path / LOCK)
        finally:
            _remove(*missing)  # none of them is empty if a run stands

    @contextmanager
    def begun(self, record: Mapping[str, Any]) -> Iterator[None]:
        """Write `run.json`; an error, or Ctrl-C, before the first checkpoint takes it back: it blocks no other run."""
        try:
            self.describe(record)
            yield
        except (Exception, KeyboardInterrupt, SystemExit):
            if not os.path.exists(self.checkpoint):
                _remove(self.path / "run.json", self.path / "metrics.jsonl")
            raise

    def describe(self, record: Mapping[str, Any]) -> None:
        """Write `run.json`; raises `StorageError` if the disk refuses."""
        self._write("run.json", {"format": FORMAT, "version": VERSION, **record})

    def moved_to(self, model: Mapping[str, Any]) -> None:
        """Note where the code of a user's that the run's model is built by lies now, if it is the same code."""
        record = self.description()
        before, now = (one.get("code") or {} for one in (record["model"], model))
        if before != now and before.get("digest") == now.get("digest"):
            self.describe({**record, "model": dict(model)})

    def description(self) -> dict[str, Any]:
        """Read `run.json`; raises `CheckpointError` if the folder is not a run of ours, or of another version."""
        record = self._read("run.json")
        if record.get("format") != FORMAT:
            raise CheckpointError(f"{self.path / 'run.json'} does not describe a run of leadline's")
        if record.get("version") != VERSION:
            raise CheckpointError(f"{self.path} has version {record.get('version')}; this leadline reads {VERSION}")
        as_record(record, RunRecord, str(self.path / "run.json"), CheckpointError)
        return record

    def save(self, state: TrainingState) -> None:
        """Write the checkpoint, atomically; raises `StorageError` with the previous one intact."""
        save_checkpoint(self.checkpoint, state.tensors(), state.record())

    def log(self, lines: bytes) -> None:
        """Write `metrics.jsonl`, one record per validation: as a whole, like every file, so that no line is torn."""
        write_atomically(self.path / "metrics.jsonl", lines)

    def reopen(self) -> None:
        """Take back `result.json`, since the run goes on; raises `StorageError` if the disk refuses."""
        try:
            os.unlink(self.path / "result.json")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(
                f"{self.path / 'result.json'} could not be removed: {error.strerror or error}"
            ) from error

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`."""
        self._write("result.json", result)

    def result(self) -> dict[str, Any] | None:
        """Read `result.json`; None while the run is unfinished."""
        if not os.path.exists(self.path / "result.json"):
            return None
        record = self._read("result.json")
        as_record(record, ResultRecord, str(self.path / "result.json"), CheckpointError)
        return record

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(record, indent=2) + "\n").encode())

    def _read(self, name: str) -> dict[str, Any]:
        if not os.path.isdir(self.path):
            raise CheckpointError(f"{self.path} is not a run folder")
        return read_record(self.path / name, dict[str, Any], CheckpointError)


class FollowedFolder(RunFolder):
    """A run folder in which another process holds the lock and writes the files.

    Examples
    --------
    >>> with FollowedFolder(Path("nowhere")).held():
    ...     FollowedFolder(Path("nowhere")).log(b"")
    >>> os.path.exists("nowhere")
    False
    """

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold nothing: the process that leads does."""
        yield

    @contextmanager
    def begun(self, record: Mapping[str, Any]) -> Iterator[None]:  # noqa: ARG002
        """Describe nothing."""
        yield

    def reopen(self) -> None:
        """Leave the result to the process that leads."""

    def save(self, state: TrainingState) -> None:
        """Leave the checkpoint to the process that leads, whose weights are the same."""

    def log(self, lines: bytes) -> None:
        """Leave the log to the process that leads."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Leave the result to the process that leads."""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file; what a killed process held is free. Another holder is not waited for."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InUse(
            f"{path.parent} is in use: another process is training in it; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        raise StorageError(f"{path} could not be held: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _remove(*paths: Path) -> None:
    """Remove files, and folders that are empty, as far as it goes."""
    for path in paths:
        with suppress(OSError, ValueError):
            path.rmdir() if os.path.isdir(path) else path.unlink()


@dataclass(frozen=True)
class RunResult:
    """How a run ended: steps done and planned, wall time over all resumptions, trainable parameters, and two scores.

    Fewer steps than were planned last were done if the time ran out all the same. The scores are those of the
    averaged weights of `best_step`, which had the lowest validation score.
    """

    path: Path
    steps: int
    planned: int
    seconds: float
    parameters: int
    best_step: int
    validation: Score
    test: Score

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `result.json` holds it."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {**plain, "validation": self.validation.as_dict(), "test": self.test.as_dict()}

    @classmethod
    def from_dict(cls, path: Path, record: Mapping[str, Any]) -> RunResult:
        """Return the result that `as_dict` described; raises `CheckpointError` if it does not describe one."""
        try:
            plain: dict[str, Any] = {name: record[name] for name in _PLAIN}
            scores: dict[str, Any] = {name: Score.from_dict(record[name]) for name in ("validation", "test")}
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path / 'result.json'} is damaged: it lacks or misreads {error}") from error
        return cls(path=path, **plain, **scores)


@dataclass(frozen=True)
class Run:
    """A trained model, read back from its folder: its name and settings, as it was built, and how it was trained.

    `specimen` holds the model with the best averaged weights, in evaluation mode. `lag` is 1 for a density model, 0 for
    a model of the next symbol. `data` describes the data set: name, options, kind, levels, shape, rate, binarisation.
    The result is None while the run is unfinished.
    """

    path: Path
    name: str
    settings: Mapping[str, Any]
    specimen: Specimen
    lag: int
    config: TrainConfig
    data: Mapping[str, Any]
    result: RunResult | None

    def dataset(self) -> Dataset:
        """Load the data set that the run was trained on; raises `DataError` if its content has changed since."""
        dataset = data.load(self.data["name"], **self.data["options"])
        require_same(dataset.name, dataset.digest, self.data["digest"], self.path)
        return dataset


def require_same(name: str, digest: str, begun: str, path: Path) -> None:
    """Raise `DataError` if the data called `name` has another digest than that which the run at `path` began with."""
    if digest != begun:
        raise DataError(
            f"the content of {name} is not what {path} was trained on: its digest is {digest[:12]}…, not "
            f"{begun[:12]}…; put back what it held, or begin another run"
        )


def load_run(path: Path | str, *, build: Builder = build) -> Run:
    """Read the folder that `train` wrote: rebuild the model, by `build`, and load the best averaged weights.

    Raises `CheckpointError` if the folder or its checkpoint is missing, damaged, foreign, a pickle, or of another
    model; `UsageError` if the model was built by code of the user's, which is run only where `build` is given.
    """
    folder = RunFolder(Path(path))
    record = folder.description()
    model, described = record["model"], record["data"]
    if build is zoo_build and model.get("code") is not None:
        refuse_untrusted(folder.path, Code.of(model["code"]))
    try:
        if build is zoo_build:  # of a user's models nothing is known before they are built
            refuse_misfit(model["name"], model["settings"], stated_shapes(folder.checkpoint))
        specimen = build(model["name"], **model["settings"])
        config = TrainConfig.from_dict(record["train"])
        lag = int(record["lag"])
    except (KeyError, TypeError, OverflowError, UsageError) as error:
        raise CheckpointError(f"{folder.path / 'run.json'} does not fit this leadline: {error}") from error
    axes = 1 if described["shape"] is None else len(described["shape"])
    if specimen.inputs[0].ndim != 1 + axes:
        raise CheckpointError(f"{folder.path / 'run.json'} has examples of {axes} axes, which {model['name']} has not")
    result = folder.result()  # before the checkpoint: once it stands, that is the last one
    tensors, _ = load_checkpoint(folder.checkpoint, weights=specimen.model.state_dict())
    weights = part(tensors, "best") or part(tensors, "averaged")
    load_weights(specimen.model, weights)
    specimen.model.eval()
    return Run(
        path=folder.path,
        name=model["name"],
        settings=model["settings"],
        specimen=specimen,
        lag=lag,
        config=config,
        data=described,
        result=None if result is None else RunResult.from_dict(folder.path, result),
    )
