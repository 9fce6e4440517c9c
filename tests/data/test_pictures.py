"""Pictures are read as they are: what grey levels cannot hold is refused in a sentence, or asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leadline.data import Dataset, load
from leadline.data.pictures import read_pictures
from leadline.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def saved(folder: Path, *pictures: Image.Image, suffix: str = ".png") -> Path:
    folder.mkdir(exist_ok=True)
    for index, picture in enumerate(pictures):
        picture.save(folder / f"{index:02}{suffix}")
    return folder


def deep(n: int = 10, high: int = 65536) -> list[np.ndarray]:
    return [RNG.integers(0, high, (5, 4)).astype(np.uint16) for _ in range(n)]


def every(data: Dataset) -> list[bytes]:
    return sorted(x.numpy().tobytes() for part in data.parts for x in part.examples)


@settings(max_examples=12)
@given(levels=st.sampled_from([None, 2, 3, 17, 256]), suffix=st.sampled_from([".png", ".tif", ".pgm"]))
def test_sixteen_bits_are_merged_evenly_and_that_is_said(
    levels: int | None, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    arrays = deep()
    folder = saved(tmp_path_factory.mktemp("deep"), *map(Image.fromarray, arrays), suffix=suffix)
    data = load(str(folder), levels=levels)
    meant = levels or 256
    assert data.levels == meant
    assert every(data) == sorted((a.astype(int) * meant // 65536).astype(np.uint8).tobytes() for a in arrays)
    assert data.read_as == f"65536 grey values merged into {meant}"
    assert data.describe()["read_as"] == data.read_as


def test_eight_bits_among_sixteen_keep_their_levels(tmp_path: Path) -> None:
    shallow = RNG.integers(0, 256, (5, 4)).astype(np.uint8)
    folder = saved(tmp_path / "mixed", Image.fromarray(shallow), *map(Image.fromarray, deep(3)))
    read = read_pictures(sorted(folder.iterdir()), None)
    assert read.depth == 65536
    assert np.array_equal(read.grey[0].numpy(), shallow.astype(int) * 257)
    assert shallow.tobytes() in every(load(str(folder)))


@pytest.mark.parametrize("binarise", ["threshold", "fixed", "dynamic"])
def test_sixteen_bits_become_bits_by_their_intensity(binarise: str, tmp_path: Path) -> None:
    black, white = np.zeros((6, 6), np.uint16), np.full((6, 6), 65535, np.uint16)
    data = load(str(saved(tmp_path / "a", *map(Image.fromarray, (black, white) * 6))), binarise=binarise)
    assert data.levels == 2
    for part in (data.validation, data.test):
        assert all(len(picture.unique()) == 1 for picture in part.examples)


def test_a_mean_of_sixteen_bits_is_that_of_its_pixels(tmp_path: Path) -> None:
    arrays = [np.kron(RNG.integers(0, 65536, (2, 2)), np.ones((3, 3), int)).astype(np.uint16) for _ in range(3)]
    read = read_pictures(sorted(saved(tmp_path / "a", *map(Image.fromarray, arrays)).iterdir()), 2)
    for picture, array in zip(read.grey, arrays, strict=True):
        assert np.array_equal(picture.numpy(), array[::3, ::3].astype(int))


COLOUR = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
GREY = np.repeat(RNG.integers(0, 256, (5, 4, 1), dtype=np.uint8), 3, axis=2)


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "RGBA"])
def test_colour_is_refused_unless_grey_is_asked_for(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    folder = saved(tmp_path / mode, *[picture] * 3, suffix=".tif" if mode == "CMYK" else ".png")
    with pytest.raises(DataError, match=r"00\.\w+ is in colour, .*color=grey"):
        load(str(folder))
    data = load(str(folder), color="grey")
    assert data.read_as == "colour turned into grey"
    assert np.array_equal(data.test.examples[0].numpy(), np.asarray(picture.convert("RGB").convert("L")))
    with pytest.raises(UsageError, match="color must be grey"):
        load(str(folder), color="blue")


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA", "1"])
def test_grey_in_whatever_mode_is_grey(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(GREY).convert(mode)
    data = load(str(saved(tmp_path / mode, *[picture] * 3)))
    assert data.read_as is None
    assert np.array_equal(data.test.examples[0].numpy(), np.asarray(picture.convert("L")))


def test_what_has_no_grey_is_refused(tmp_path: Path) -> None:
    veiled = np.concatenate([GREY, np.full((5, 4, 1), 128, np.uint8)], axis=2)
    with pytest.raises(DataError, match="transparent places"):
        load(str(saved(tmp_path / "veiled", *[Image.fromarray(veiled)] * 3)), color="grey")
    floats = Image.fromarray(RNG.random((5, 4)).astype(np.float32))
    with pytest.raises(DataError, match="not whole"):
        load(str(saved(tmp_path / "floats", *[floats] * 3, suffix=".tif")))
    wide = Image.fromarray(np.full((5, 4), 70_000, np.int32))
    with pytest.raises(DataError, match="numbers from 70000 to 70000; 8 and 16 bits"):
        load(str(saved(tmp_path / "wide", *[wide] * 3, suffix=".tif")))


def test_colours_of_sixteen_bits_are_not_cut_to_eight(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RNG.integers(0, 65536, (5, 4, 3)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 5, 16, 2, 0, 0, 0))
    whole = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(whole)
    for color in (None, "grey"):
        with pytest.raises(DataError, match="colour of more than 8 bits"):
            read_pictures([tmp_path / "a.png"], None, color)


def test_merged_levels_are_said(tmp_path: Path) -> None:
    folder = str(saved(tmp_path / "a", *[Image.fromarray(COLOUR[..., 0])] * 3))
    assert load(folder).read_as is None
    assert load(folder, levels=16).read_as == "256 grey values merged into 16"
    assert load(folder, size=2).read_as == "resized to 2 × 2"
    assert torch.equal(load(folder, levels=16).test.examples.long(), load(folder).test.examples.long() // 16)
