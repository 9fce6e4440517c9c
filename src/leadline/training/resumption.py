"""Whether a run folder holds the run to go on with: the same request, the same data, the same environment."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.errors import CheckpointError, UsageError
from leadline.files.reading import read_bytes
from leadline.training.checkpoint import load_checkpoint
from leadline.training.code import Code
from leadline.training.environment import Environment
from leadline.training.folder import RunFolder, require_same
from leadline.training.restoring import load_weights, part
from leadline.training.state import TrainingState


def earlier(
    folder: RunFolder, request: Mapping[str, Any], resume: bool, allow_changes: bool = False
) -> dict[str, Any] | None:
    """Return the record of the run that the folder holds, if it is the one to resume, or to extend; None: begin.

    The user's code that its model was built by must not have changed, unless that is allowed.
    """
    if not folder.started:
        folder.require_empty()
        return None
    if not folder.kept_anything:  # it was killed before its first checkpoint: there is nothing to go on with
        return None
    if not resume:
        raise UsageError(f"{folder.path} already holds a run; resume it, or choose another folder")
    record = folder.description()
    steps = {"steps": request["train"]["steps"]} if _longer(record, request) else {}
    held = {key: _named(value) for key, value in {**record, "train": {**record["train"], **steps}}.items()}
    for key, value in request.items():
        if held.get(key) != _named(value):
            raise UsageError(f"{folder.path} holds another run: {_difference(key, held.get(key), _named(value))}")
    require_same(request["data"]["name"], request["data"]["digest"], record["data"]["digest"], folder.path)
    before, now = (one["model"].get("code") or {} for one in (record, request))
    if before.get("digest") != now.get("digest") and not allow_changes:
        raise UsageError(
            f"the code that the model of {folder.path} was built by has changed: {Code.of(now).file}, or a file beside "
            "it that it imports; put back what it was, or allow changes (--allow-changes), or begin another run"
        )
    return record


def extends(record: Mapping[str, Any] | None, request: Mapping[str, Any]) -> bool:
    """Whether a request asks for more steps than the run of a record was to take."""
    return record is not None and _longer(record, request)


def extensions(record: Mapping[str, Any] | None, step: int, steps: int | None) -> dict[str, Any]:
    """Return what a record says of a run that was told to take more steps; `steps` is how many now, None: as before."""
    known = [] if record is None else list(record.get("extensions", []))
    if steps is not None:
        known.append({"step": step, "steps": steps})
    return {"extensions": known} if known else {}


def identity(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run stays the same by, however long it goes on."""
    train = {name: value for name, value in request["train"].items() if name != "steps"}
    kept = {key: _named(value) for key, value in request.items()}
    return kept | {"train": train, "digest": request["data"]["digest"]}


def _longer(record: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Whether a run of a number of steps is asked to take more: a run in minutes is as long as it is."""
    before, now = record["train"], request["train"]
    if before.get("minutes") is not None or now["minutes"] is not None:
        return False
    return bool((before.get("steps") or 0) < (now["steps"] or 0))


_FOLLOWS = ("name", "options")


def _named(value: Any) -> Any:
    """Leave out what follows from the rest, or is said in other words where it differs: of data, all but its name.

    A setting that was not there yet when a run began is one that was left out. Code of a user's is known by its name
    and what is in its file, not by where that lies.
    """
    if not isinstance(value, dict):
        return value
    if "options" in value:
        return {key: value[key] for key in _FOLLOWS}
    code = {} if value.get("code") is None else {key: v for key, v in value["code"].items() if key != "digest"}
    word = code.get("word")
    if word:
        code = {key: v for key, v in code.items() if key != "word"} | {"function": word.rpartition(":")[2]}
        value = {key: held for key, held in value.items() if (key, held) != ("name", word)}
    return {key: held for key, held in value.items() if key != "code" and held is not None} | code


def _difference(name: str, held: Any, asked: Any) -> str:
    """Name the settings in which a run on disk differs from the one asked for."""
    if isinstance(held, dict) and isinstance(asked, dict):
        keys = [key for key in {**held, **asked} if held.get(key) != asked.get(key)]
        return "; ".join(_difference(key, held.get(key), asked.get(key)) for key in keys)
    return f"its {name} is {held}, not {asked}"


def stays(record: Mapping[str, Any], now: Environment, step: int, path: Path, allowed: bool) -> list[dict[str, Any]]:
    """Return the environments that a run was in, each with the step that it went on from there, `now` included.

    Raises `UsageError` if the last one is another than `now`, and that is not allowed.
    """
    known: list[dict[str, Any]] = record["environments"]
    changes = Environment.of(known[-1]["environment"]).changes(now)
    if not changes:
        return known
    if not allowed:
        raise UsageError(
            f"{path} was trained elsewhere: {changes}; its numbers would not be those of one run, bit for bit: "
            "go on where it began, or allow changes (--allow-changes), which the run then notes"
        )
    return [*known, {"step": step, "environment": now.as_dict()}]


def started_from(path: Path) -> dict[str, Any]:
    """Return what a record says of the run that another one begins with the weights of."""
    checkpoint = RunFolder(path).checkpoint
    return {"run": str(path.resolve()), "digest": hashlib.sha256(read_bytes(checkpoint, CheckpointError)).hexdigest()}


def begin_with(state: TrainingState, path: Path) -> None:
    """Give a fresh model, and its average, the best weights of a run; raises `CheckpointError` if they do not fit."""
    tensors, _ = load_checkpoint(RunFolder(path).checkpoint, weights=state.averaged.state_dict())
    weights = part(tensors, "best") or part(tensors, "averaged")
    load_weights(state.model, weights)
    load_weights(state.averaged, weights)
