"""What a run folder holds, to be compared as a whole: every file, every tensor and number but the seconds."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from leadline.training import load_checkpoint


def contents(folder: Path) -> dict[str, Any]:
    """Return what every file below `folder` holds; the seconds that something took are left out, nothing else."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _content(path: Path) -> Any:
    if path.name == "checkpoint.safetensors":
        tensors, state = load_checkpoint(path)
        log = _lines(tensors.pop("log").numpy().tobytes())
        if "beartype" in sys.modules:  # it draws from Python's generator which items of a list to look at
            state["random"].pop("python")
        return {name: (t.dtype, t.shape, t.numpy().tobytes()) for name, t in tensors.items()}, log, timeless(state)
    if path.suffix == ".html":
        return re.sub(rb"\b[0-9.]+ m?s\b", b"", path.read_bytes())
    if path.suffix == ".jsonl":
        return _lines(path.read_bytes())
    return timeless(json.loads(path.read_bytes())) if path.suffix == ".json" else path.read_bytes()


def _lines(content: bytes) -> list[Any]:
    assert content.endswith(b"\n") or not content
    return [timeless(json.loads(line)) for line in content.splitlines()]


def timeless(record: Any) -> Any:
    """Leave the seconds out of a JSON record."""
    if isinstance(record, list):
        return [timeless(value) for value in record]
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if key != "seconds"}
    return record
