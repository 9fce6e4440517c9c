"""The checkpoint: one safetensors file whose header carries everything else as JSON, and a checksum of both.

One file means that one rename switches from the old checkpoint to the new one. Nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadline.errors import CheckpointError
from leadline.files.writing import write_atomically

FORMAT = "leadline-checkpoint"
VERSION = "1"
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON state, atomically; raises `StorageError` with the previous checkpoint intact."""
    from safetensors.torch import save

    # Clones: tied parameters share storage, which the format does not allow.
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    header = {"format": FORMAT, "version": VERSION, "state": text, "sha256": _digest(plain, text)}
    write_atomically(path, save(plain, metadata=header))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises `CheckpointError` if the file is missing, a pickle (which is refused unread), not a safetensors file, not a
    checkpoint of ours, of another version, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(_PICKLE_STARTS):
            raise CheckpointError(
                f"{path} is a pickle (torch.save's format), which could run any code when read: refused; "
                "a checkpoint is a safetensors file"
            )
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: the run was stopped before its first checkpoint") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of leadline's training")
    if header.get("version") != VERSION:
        raise CheckpointError(f"{path} has format version {header.get('version')}; this leadline reads {VERSION}")
    text = header.get("state", "")
    if header.get("sha256") != _digest(tensors, text):
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content")
    return tensors, json.loads(text)


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
