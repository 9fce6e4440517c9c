"""Whether a run folder holds the run to go on with: the same request, the same data, the same environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.errors import UsageError
from leadline.training.environment import Environment
from leadline.training.folder import RunFolder, require_same


def earlier(folder: RunFolder, request: Mapping[str, Any], resume: bool) -> dict[str, Any] | None:
    """Return the record of the run that the folder holds, if it is the one to resume."""
    if not folder.started:
        folder.require_empty()
        return None
    if not resume:
        raise UsageError(f"{folder.path} already holds a run; resume it, or choose another folder")
    record = folder.description()
    for key, value in request.items():
        if _named(record.get(key)) != _named(value):
            raise UsageError(f"{folder.path} holds another run: {_difference(key, record.get(key), value)}")
    require_same(request["data"]["name"], request["data"]["digest"], record["data"]["digest"], folder.path)
    return record


def _named(value: Any) -> Any:
    """Leave the digest of the data out: that it differs is said in other words.

    A setting that was not there yet when a run began is one that was left out.
    """
    if not isinstance(value, dict):
        return value
    return {key: held for key, held in value.items() if key != "digest" and held is not None}


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
