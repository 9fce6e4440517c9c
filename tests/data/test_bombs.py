"""Files that are small and mean much: refused by what their headers say, within a few megabytes; and odd sounds."""

import gzip
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leadline.data import load
from leadline.data.audio import read_sound
from leadline.data.idx import read_idx
from leadline.data.pictures import read_pictures
from leadline.errors import DataError, UsageError


def idx(path: Path, shape: tuple[int, ...], content: bytes) -> Path:
    path.write_bytes(gzip.compress(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + content, 1))
    return path


@pytest.mark.parametrize(
    "shape", [(2**32 - 1,), (2**31, 28, 28), (0, 2**31), (60000, 28, 28), (2**32 - 1,) * 8, (1,) * 9]
)
def test_sizes_that_a_file_cannot_hold(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.gz"):
        read_idx(idx(tmp_path / "a.gz", shape, bytes(100)))


def test_a_gzip_that_goes_on_is_not_unpacked(tmp_path: Path) -> None:
    path = idx(tmp_path / "a.gz", (10,), bytes(1 << 26))
    tracemalloc.start()
    with pytest.raises(DataError, match="more bytes of data"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def png(path: Path, width: int, height: int) -> Path:
    """Write a PNG whose header is right, and whose pixels are a few zeros."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1 << 16))),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000), (2**31 - 1, 2**31 - 1), (0, 5), (1, 2**25 + 1)])
@pytest.mark.parametrize("resized", [None, 8])
def test_pictures_are_refused_by_their_size(size: tuple[int, int], resized: int | None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png"):
        read_pictures([png(tmp_path / "a.png", *size)], resized)


def test_many_pictures_are_refused_together(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", 5000, 5000)
    with pytest.raises(DataError, match="100 pictures of 5000 × 5000 are more than"):
        read_pictures([path] * 100, None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["a.wav", "a.png", "train-images-idx3-ubyte.gz"])
def test_pipes_in_a_folder_do_not_hang(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError):
        load(str(tmp_path))
    for other in range(3):
        os.mkfifo(tmp_path / f"{other}{Path(name).suffix}")
    with pytest.raises(DataError, match=r"not a regular file|is missing"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [(".wav", "FLOAT", 1e-7), (".wav", "DOUBLE", 0), (".wav", "PCM_24", 1e-6), (".wav", "PCM_U8", 1e-2),
     (".flac", "PCM_16", 1e-4), (".flac", "PCM_24", 1e-6)],
)  # fmt: skip
def test_sounds_of_other_kinds_hold_the_same_signal(suffix: str, subtype: str, error: float, tmp_path: Path) -> None:
    signal = 0.8 * np.sin(0.05 * np.arange(3000))
    soundfile.write(tmp_path / f"a{suffix}", np.stack([signal, signal], axis=1), 11025, subtype=subtype)
    read, rate = read_sound(tmp_path / f"a{suffix}")
    assert rate == 11025
    np.testing.assert_allclose(read, signal, atol=error)


def riff(path: Path, rate: int = 8000, bits: int = 16, kind: int = 1, data: bytes = bytes(range(200))) -> Path:
    width = max(1, bits // 8)
    fmt = struct.pack("<HHIIHH", kind, 1, rate, (rate * width) % 2**32, width, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


@pytest.mark.parametrize(
    "changes",
    [{"rate": 0}, {"bits": 40}, {"bits": 0}, {"rate": 2**32 - 1}, {"kind": 85}, {"kind": 0}, {"data": b""},
     {"kind": 3, "bits": 32, "data": np.array([1, np.nan, 2], "<f4").tobytes()},
     {"kind": 3, "bits": 32, "data": np.array([1, np.inf, 2], "<f4").tobytes()}],
)  # fmt: skip
def test_odd_wavs_are_data_errors(changes: dict[str, object], tmp_path: Path) -> None:
    assert len(read_sound(riff(tmp_path / "good.wav"))[0]) == 100
    with pytest.raises(DataError, match=r"bad\.wav"):
        read_sound(riff(tmp_path / "bad.wav", **changes))  # type: ignore[arg-type]


def test_a_flac_that_claims_too_much(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.sin(np.arange(3000)), 8000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21:26] = bytes([content[21] | 0x0F, 255, 255, 255, 255])  # the number of samples in its first block
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.flac"):
        read_sound(tmp_path / "a.flac")


@pytest.mark.parametrize(
    ("name", "option"),
    [("tones", {"levels": 0}), ("tones", {"levels": 1}), ("tones", {"levels": 65537}), ("tones", {"seed": -1}),
     ("tones", {"seed": 2**64}), ("tones", {"clips": -1}), ("tones", {"length": 0}), ("tones", {"clips": 2**29}),
     ("digits", {"levels": 0}), ("folder", {"limit": 0}), ("folder", {"limit": -1}), ("folder", {"seed": 2**64})],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(name: str, option: dict[str, int], tmp_path: Path) -> None:
    if name == "folder":
        for index in range(4):
            riff(tmp_path / f"{index}.wav")
    with pytest.raises(UsageError):
        load(str(tmp_path) if name == "folder" else name, **option)
