"""IDX files, compressed by gzip: read into the memory that their header states, and no further."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from leadline.errors import DataError
from leadline.files.reading import LARGEST, open_regular

_UNSIGNED_BYTE = 0x08
_MOST_AXES = 8
_DENSEST = 1100
"""Bytes that a byte of gzip may stand for: deflate reaches 1032."""


def read_idx(path: Path) -> UInt8[Tensor, "..."]:
    """Read one IDX.gz file of unsigned bytes, of up to eight axes.

    Raises `DataError`, with the file's name, if it is not a gzip or not an IDX of bytes, shorter or longer than its
    header says, or larger than anything that is read.
    """
    with open_regular(path, DataError) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                shape = _shape(path, stream, size)
                data = torch.empty(math.prod(shape), dtype=torch.uint8)
                held = _filled(data, stream)
                longer = bool(stream.read(1))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read as gzip: {error}") from error
    if held != len(data) or longer:
        held_text = "more bytes" if longer else f"{held} bytes"
        raise DataError(f"{path} holds {held_text} of data where its header {shape} means {len(data)}")
    return data.reshape(shape)


def _shape(path: Path, stream: gzip.GzipFile, size: int) -> tuple[int, ...]:
    """Read the header; refuse sizes that the file cannot hold, or that are too large for any."""
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UNSIGNED_BYTE or head[3] > _MOST_AXES:
        raise DataError(f"{path} is not an IDX file of unsigned bytes: its header is {head.hex() or 'empty'}")
    sizes = stream.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise DataError(f"{path} ends within its IDX header")
    shape = struct.unpack(f">{head[3]}I", sizes)
    if math.prod(shape) > min(LARGEST, _DENSEST * size) or max(shape, default=0) > LARGEST:
        raise DataError(
            f"{path} states the sizes {shape}, more than {size} compressed bytes can hold, or more than {LARGEST} bytes"
        )
    return shape


def _filled(data: UInt8[Tensor, "n"], stream: gzip.GzipFile) -> int:
    """Fill `data` from the stream, as far as that goes; return how far."""
    rest, held = data.numpy(), 0
    while held < len(rest) and (count := stream.readinto(rest[held:].data)):
        held += count
    return held
