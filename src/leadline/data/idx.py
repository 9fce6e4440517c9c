"""The IDX format of MNIST and its descendants: a big-endian header, then raw unsigned bytes, gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from leadline.errors import DataError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> UInt8[Tensor, "..."]:
    """Read one IDX.gz file of unsigned bytes, of any number of axes.

    Raises `DataError`, with the file's name, if it is not a gzip or not an IDX of bytes, or shorter or longer than its
    header says.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as gzip: {error}") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path} is not an IDX file of unsigned bytes: its header is {raw[:4].hex() or 'empty'}")
    axes = raw[3]
    start = 4 + 4 * axes
    if len(raw) < start:
        raise DataError(f"{path} ends within its IDX header")
    shape = struct.unpack(f">{axes}I", raw[4:start])
    expected = torch.Size(shape).numel()
    if len(raw) - start != expected:
        raise DataError(f"{path} holds {len(raw) - start} bytes of data where its header {shape} means {expected}")
    return torch.frombuffer(bytearray(raw[start:]) or bytearray(1), dtype=torch.uint8)[:expected].reshape(shape)
