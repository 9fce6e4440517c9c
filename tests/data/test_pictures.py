"""Pictures are read as they are, in grey or in colour: what is lost is refused in a sentence, or asked for."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
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
    assert np.array_equal(read.values[0].numpy(), shallow.astype(int) * 257)
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
    for picture, array in zip(read.values, arrays, strict=True):
        assert np.array_equal(picture.numpy(), array[::3, ::3].astype(int))


COLOUR = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
GREY = np.repeat(RNG.integers(0, 256, (5, 4, 1), dtype=np.uint8), 3, axis=2)


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "RGBA"])
def test_colour_has_three_symbols_a_pixel_unless_grey_is_asked_for(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    folder = saved(tmp_path / mode, *[picture] * 3, suffix=".tif" if mode == "CMYK" else ".png")
    data = load(str(folder))
    made = "CMYK turned into red, green and blue, " if mode == "CMYK" else ""
    assert (data.shape, data.levels, data.read_as) == ((5, 4, 3), 256, f"{made}3 colours a pixel")
    assert np.array_equal(data.test.examples[0].numpy(), np.asarray(picture.convert("RGB")))
    data = load(str(folder), color="grey")
    assert data.read_as == f"{made}colour turned into grey"
    assert np.array_equal(data.test.examples[0].numpy(), np.asarray(picture.convert("RGB").convert("L")))
    with pytest.raises(UsageError, match="color must be grey or rgb"):
        load(str(folder), color="blue")


def test_grey_among_colours_has_three_that_are_equal(tmp_path: Path) -> None:
    folder = saved(tmp_path / "mixed", *map(Image.fromarray, [COLOUR, GREY, GREY[..., 0], GREY[..., 0]]))
    read = read_pictures(sorted(folder.iterdir()), None)
    for values, expected in zip(read.values, [COLOUR, GREY, GREY, GREY], strict=True):
        assert np.array_equal(values.numpy(), expected)
    (folder / "00.png").unlink()
    assert load(str(folder)).shape == (5, 4)
    assert load(str(folder), color="rgb").shape == (5, 4, 3)


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


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits: (h, w, 3), or 4 with how opaque it is."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    size = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, {3: 2, 4: 6}[values.shape[2]], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", size) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def deep_tiff(values: np.ndarray, order: str) -> bytes:
    """A TIFF of 16 bits, (h, w, 3), that is not compressed."""
    content, (h, w, _) = values.astype(order + "u2").tobytes(), values.shape
    at = 8 + len(content)
    tags = [(256, 3, w), (257, 3, h), (258, 3, 0), (259, 3, 1), (262, 3, 2), (273, 4, 8), (277, 3, 3), (278, 3, h)]
    tags.append((279, 4, len(content)))
    bits = at + 2 + 12 * len(tags) + 4
    found = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, at) + content
    found += struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        entry = struct.pack(order + "HHI", tag, kind, 3 if tag == 258 else 1)
        what = bits if tag == 258 else value
        found += entry + (
            struct.pack(order + "HH", what, 0) if kind == 3 and tag != 258 else struct.pack(order + "I", what)
        )
    return found + struct.pack(order + "I3H", 0, 16, 16, 16)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(h=st.integers(1, 9), w=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_colours_of_sixteen_bits_are_not_cut_to_eight(tmp_path: Path, h: int, w: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 65536, (h, w, 3))
    opaque = np.concatenate([values, np.full((h, w, 1), 65535)], 2)
    contents = {"a.png": deep_png(values), "b.png": deep_png(opaque)}
    contents |= {"c.tif": deep_tiff(values, "<"), "d.tif": deep_tiff(values, ">")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        read = read_pictures([tmp_path / name], None)
        assert read.depth == 65536, name
        assert np.array_equal(read.values[0].numpy(), values), name
    luma = (values @ np.array([19595, 38470, 7471]) + 32768) // 65536
    assert np.array_equal(read_pictures([tmp_path / "a.png"], None, "grey").values[0].numpy(), luma)


def test_deep_colours_are_merged_resized_and_refused_like_shallow_ones(tmp_path: Path) -> None:
    arrays = [np.kron(RNG.integers(0, 65536, (2, 2, 3)), np.ones((3, 3, 1), int)) for _ in range(3)]
    folder = tmp_path / "deep"
    folder.mkdir()
    for index, array in enumerate(arrays):
        (folder / f"{index}.png").write_bytes(deep_png(array))
    data = load(str(folder), levels=1000, size=2)
    assert data.read_as == "3 colours a pixel, resized to 2 × 2, 65536 values of each colour merged into 1000"
    assert {x.numpy().tobytes() for part in data.parts for x in part.examples} == {
        (a[::3, ::3] * 1000 // 65536).astype(np.int32).tobytes() for a in arrays
    }
    veiled = np.concatenate([arrays[0], np.full((6, 6, 1), 65534)], 2)
    (folder / "0.png").write_bytes(deep_png(veiled))
    with pytest.raises(DataError, match=r"0\.png has transparent places"):
        load(str(folder))
    (folder / "0.png").unlink()
    (folder / "0.pgm").write_bytes(b"P6\n6 6\n65535\n" + arrays[0].astype(">u2").tobytes())
    with pytest.raises(DataError, match=r"0\.pgm is in colour of more than 8 bits .* save it as PNG"):
        load(str(folder))


def test_merged_levels_are_said(tmp_path: Path) -> None:
    folder = str(saved(tmp_path / "a", *[Image.fromarray(COLOUR[..., 0])] * 3))
    assert load(folder).read_as is None
    assert load(folder, levels=16).read_as == "256 grey values merged into 16"
    assert load(folder, size=2).read_as == "resized to 2 × 2"
    assert torch.equal(load(folder, levels=16).test.examples.long(), load(folder).test.examples.long() // 16)


@settings(max_examples=16)
@given(way=st.integers(1, 8), suffix=st.sampled_from([".png", ".webp", ".tif"]), mode=st.sampled_from(["L", "RGB"]))
def test_pictures_stand_upright_as_their_files_say(
    way: int, suffix: str, mode: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against the table of what side each stored row and column is (CIPA DC-008, tag 0x0112)."""
    path = tmp_path_factory.mktemp("upright") / f"0{suffix}"
    noted = Image.Exif()
    noted[0x0112] = way
    stored = RNG.integers(0, 256, (5, 4, *[3] * (mode == "RGB"))).astype(np.uint8)
    Image.fromarray(stored).save(path, exif=noted, **({"lossless": True} if suffix == ".webp" else {}))
    read = read_pictures([path], None)
    (found,) = read.values
    assert tuple(found.shape[:2]) == ((5, 4) if way < 5 else (4, 5))
    for r, c in np.ndindex(5, 4):
        seen = {1: (r, c), 2: (r, 3 - c), 3: (4 - r, 3 - c), 4: (4 - r, c)}
        seen |= {5: (c, r), 6: (c, 4 - r), 7: (3 - c, 4 - r), 8: (3 - c, r)}
        assert np.array_equal(found[seen[way]].numpy(), stored[r, c])
    assert bool(read.changed) == (way > 1 and suffix != ".tif")  # TIFF's decoder turns them itself


def test_one_picture_on_its_side_among_others_is_turned_or_refused_for_its_size(tmp_path: Path) -> None:
    noted = Image.Exif()
    noted[0x0112] = 6
    saved(tmp_path, *[Image.fromarray(picture.astype(np.uint8)) for picture in deep(3, 256)])
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(tmp_path / "side.png", exif=noted)
    assert load(str(tmp_path)).shape == (5, 4)
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(tmp_path / "side.png")
    with pytest.raises(DataError, match=r"side\.png is 4 × 5 where .* is 5 × 4; give size="):
        load(str(tmp_path))


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_files_of_several_pictures_are_refused(suffix: str, tmp_path: Path) -> None:
    first, *others = [Image.fromarray(picture.astype(np.uint8)).convert("RGB") for picture in deep(3, 256)]
    first.save(tmp_path / f"0{suffix}", save_all=True, append_images=others)
    with pytest.raises(DataError, match=rf"0\{suffix} holds 3 pictures, one after the other"):
        read_pictures([tmp_path / f"0{suffix}"], None)


@settings(max_examples=10)
@given(bits=st.sampled_from([12, 16]), white=st.booleans(), seed=st.integers(0, 99))
def test_tiffs_of_twelve_bits_and_those_where_zero_is_white_span_all_levels(
    bits: int, white: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Written by hand from the specification (TIFF 6.0)."""
    numbers = np.random.default_rng(seed).integers(0, 1 << bits, (3, 4))
    numbers[0, :2] = 0, (1 << bits) - 1
    path = tmp_path_factory.mktemp("tiff") / "0.tif"
    path.write_bytes(_tiff(numbers, bits, white))
    if bits == 12 and white:
        with pytest.raises(DataError, match="cannot be read as a picture"):  # Pillow knows no such pictures
            read_pictures([path], None)
        return
    (values,) = read_pictures([path], None).values
    wanted = np.rint(numbers * 65535 / ((1 << bits) - 1)).astype(int)
    assert np.array_equal(values.numpy(), 65535 - wanted if white else wanted)


def _tiff(numbers: np.ndarray, bits: int, white: bool) -> bytes:
    height, width = numbers.shape
    stream = "".join(f"{number:0{bits}b}" for number in numbers.flat)
    data = bytes(int(stream[at : at + 8], 2) for at in range(0, len(stream), 8))
    data = data if bits == 12 else numbers.astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 0 if white else 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, len(data))]
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + table + bytes(4)
