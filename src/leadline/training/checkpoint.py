"""The checkpoint: one safetensors file whose header carries everything else as JSON, and a checksum of both.

One file means that one rename switches from the old checkpoint to the new one. Nothing is ever unpickled.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, Raw, Struct
from torch import Tensor

from leadline.errors import CheckpointError, needing
from leadline.files.reading import open_regular, parse_record
from leadline.files.writing import write_atomically

FORMAT = "leadline-checkpoint"
VERSION = "2"
_LONGEST_HEADER = 4 << 20
_LONGEST_RANDOM, _LONGEST_LOG = 1 << 16, 1 << 26
_THINNEST, _SMALL = 16, 1 << 20
"""A file that takes less than a sixteenth of its size on the disk, and a megabyte, was not written by training."""
_ATTEMPTS = 10
"""Ways to read a checkpoint that is replaced meanwhile, before that is taken for a fault."""
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON state, atomically; raises `StorageError` with the previous checkpoint intact."""
    with needing("train", "writing checkpoints"):
        from safetensors.torch import save

    # Clones: tied parameters share storage, which the format does not allow.
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    header = {"format": FORMAT, "version": VERSION, "state": text, "sha256": _digest(plain, text)}
    write_atomically(path, save(plain, metadata=header))


def load_checkpoint(
    path: Path, *, weights: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote, for a model of these `weights` where they are given.

    A run that goes on may replace it at any time: what is returned is one checkpoint, the older or the newer.

    Raises `CheckpointError` if the file is missing, a pickle (which is refused unread), not a safetensors file, not a
    checkpoint of ours, of another version, of another model, much larger than what it takes on the disk, or damaged.
    """
    for _ in range(_ATTEMPTS):
        header = _header(path)
        if weights is not None:
            _refuse_other_sizes(path, header, weights)
        try:
            return _content(path, header)
        except CheckpointError:
            if header.file == _file_at(path):
                raise
    raise CheckpointError(f"{path} is replaced by others faster than it can be read")


def stated_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a checkpoint's header states, without reading a tensor; raises as `load_checkpoint`."""
    return {name: tuple(info.shape) for name, info in _header(path).tensors.items()}


class _Stated(Struct, frozen=True):
    dtype: str
    shape: list[Annotated[int, Meta(ge=0)]]
    data_offsets: tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]]


@dataclass(frozen=True)
class _Header:
    metadata: dict[str, str]
    tensors: dict[str, _Stated]
    file: tuple[int, ...]


def _header(path: Path) -> _Header:
    """Read what a checkpoint says of itself, and hold it against the file's size."""
    if not os.path.exists(path) and not os.path.islink(path):
        raise CheckpointError(f"{path} does not exist: the run was stopped before its first checkpoint")
    with open_regular(path, CheckpointError) as file:
        start = file.read(8)
        if start.startswith(_PICKLE_STARTS):
            raise CheckpointError(
                f"{path} is a pickle (torch.save's format), which could run any code when read: refused; "
                "a checkpoint is a safetensors file"
            )
        size, status = int.from_bytes(start, "little"), os.fstat(file.fileno())
        if len(start) < 8 or size > min(_LONGEST_HEADER, status.st_size - 8):
            raise CheckpointError(f"{path} is not a readable safetensors file: it has no header")
        text = file.read(size)
    stated = parse_record(
        text, dict[str, Raw], f"{path} is not a readable safetensors file: its header", CheckpointError
    )
    where = f"the header of {path}"
    metadata = parse_record(stated.pop("__metadata__", Raw(b"{}")), dict[str, str], where, CheckpointError)
    tensors = {name: parse_record(info, _Stated, where, CheckpointError) for name, info in stated.items()}
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of leadline's training")
    if metadata.get("version") != VERSION:
        raise CheckpointError(f"{path} has format version {metadata.get('version')}; this leadline reads {VERSION}")
    if 8 + size + max((info.data_offsets[1] for info in tensors.values()), default=0) != status.st_size:
        raise CheckpointError(f"{path} is damaged: its size is not the one that its tensors have")
    if status.st_size > _THINNEST * max(512 * getattr(status, "st_blocks", status.st_size), _SMALL):
        raise CheckpointError(f"{path} is damaged: of its {status.st_size} bytes hardly any are on the disk")
    return _Header(metadata, tensors, _told_apart(status))


def _content(path: Path, header: _Header) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what a header announces, and hold it against the checksum."""
    with needing("train", "reading checkpoints"):
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, framework="pt") as file:
            # Clones: what safetensors returns is a view of the file, and changes with it.
            tensors = {name: file.get_tensor(name).clone() for name in header.tensors}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    text = header.metadata.get("state", "")
    if header.metadata.get("sha256") != _digest(tensors, text):
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content")
    return tensors, parse_record(text, dict[str, Any], str(path), CheckpointError)


def _file_at(path: Path) -> tuple[int, ...]:
    """Tell the file that is at `path` now from others; nothing if there is none."""
    try:
        return _told_apart(path.stat())
    except OSError:
        return ()


def _told_apart(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_other_sizes(path: Path, header: _Header, weights: Mapping[str, Tensor]) -> None:
    """Refuse tensors that a model of these weights does not have, before they are read."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    held = {*shapes.values(), (), (1,)}
    for name, info in header.tensors.items():
        group, _, inner = name.partition(".")
        shape = tuple(info.shape)
        if group in ("model", "averaged", "best"):
            fits = shapes.get(inner) == shape
        elif group == "optimizer":
            fits = shape in held
        else:
            fits = math.prod(shape) <= (_LONGEST_LOG if group == "log" else _LONGEST_RANDOM)
        if not fits:
            raise CheckpointError(f"{path} belongs to another model: its {name} has the shape {shape}")


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
