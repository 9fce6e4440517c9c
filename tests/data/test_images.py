"""Images: the digits as they are, IDX files, folders of pictures, and what is refused."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from leadline.data import load
from leadline.data.images import FASHION_DIRECTORY
from leadline.errors import DataError, UsageError


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def idx_folder(folder: Path, n: int = 24) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (n, 5, 4))
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(n) % 3)
    return images


def picture_folder(folder: Path, n: int = 10) -> list[np.ndarray]:
    arrays = [np.random.default_rng(i).integers(0, 256, (6, 7), dtype=np.uint8) for i in range(n)]
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{i:02}.png")
    return arrays


def test_digits_are_scikit_learns_in_dataset_order() -> None:
    data, source = load("digits"), load_digits()
    joined = torch.cat([torch.as_tensor(part.examples) for part in (data.train, data.validation, data.test)])
    assert np.array_equal(joined.numpy(), source.images)
    assert [len(data.train), len(data.validation), len(data.test)] == [1000, 350, 447]
    labels = torch.cat([part.labels for part in (data.train, data.validation, data.test)])
    assert np.array_equal(labels.numpy(), source.target)
    assert (data.levels, data.classes, data.shape, data.binarisation) == (17, 10, (8, 8), None)


def test_fewer_levels_keep_the_order_of_values() -> None:
    full, few = load("digits").test.examples, load("digits", levels=4)
    assert few.levels == 4
    assert few.test.examples.max() == 3
    assert torch.equal(few.test.examples.long(), full.long() * 4 // 17)


def test_binarisation_says_what_it_did() -> None:
    grey, fixed, dynamic = load("digits"), load("digits", binarise="fixed"), load("digits", binarise="dynamic")
    assert fixed.levels == dynamic.levels == 2
    assert fixed.binarisation is not None
    assert fixed.binarisation.startswith("fixed")
    assert not fixed.transforms
    assert set(fixed.train.examples.unique().tolist()) == {0, 1}
    # black stays black, white white, and the mean stays near the mean intensity
    for part in ("train", "test"):
        old, new = getattr(grey, part).examples, getattr(fixed, part).examples
        assert new[old == 0].max() == 0
        assert new[old == 16].min() == 1
        assert abs(new.double().mean() - old.double().mean() / 16) < 0.01
    assert torch.equal(fixed.test.examples, load("digits", binarise="fixed").test.examples)
    assert not torch.equal(fixed.test.examples, load("digits", binarise="fixed", seed=1).test.examples)
    assert len(dynamic.transforms) == 1
    assert dynamic.train.examples.max() == 16
    assert dynamic.test.examples.max() == 1
    threshold = load("digits", binarise="threshold").test.examples
    assert torch.equal(threshold.long(), (grey.test.examples * 2 // 17).long())


@pytest.mark.parametrize(
    "options", [{"levels": 1}, {"levels": 18}, {"binarise": "fxed"}, {"binarise": "fixed", "levels": 4}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        load("digits", **options)


def test_idx_folder_round_trip(tmp_path: Path) -> None:
    images = idx_folder(tmp_path)
    data = load(str(tmp_path))
    assert np.array_equal(torch.cat([data.train.examples, data.validation.examples]).numpy(), images)
    assert (len(data.train), len(data.validation), data.levels, data.classes) == (22, 2, 256, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not gzip at all", "gzip"),
        (gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 24) + bytes(24))[:-9], "gzip"),
        (gzip.compress(b"PNG?abcdef"), "not an IDX"),
        (gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 3, 24)), "within its IDX header"),
        (gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 24) + bytes(23)), "23 bytes"),
        (gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 23) + bytes(23)), "do not match"),
    ],
    ids=["text", "cut short", "foreign", "header only", "a byte short", "another number"],  # gzip bytes hold the time
)
def test_a_corrupt_idx_file_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    idx_folder(tmp_path)
    bad = tmp_path / "train-labels-idx1-ubyte.gz"
    bad.write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        load(str(tmp_path))
    assert str(bad) in str(error.value)


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-images"):
        load(str(tmp_path))


def test_a_missing_set_names_the_install_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"apt-get install .*dataset-fashion-mnist"):
        load("fashion-mnist", data_dir=str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"apt-get install .*asterisk-core-sounds-en-wav"):
        load("speech", data_dir=str(tmp_path / "none"))


@pytest.mark.skipif(not Path(FASHION_DIRECTORY).is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_whole() -> None:
    data = load("fashion-mnist")
    assert [len(data.train), len(data.validation), len(data.test)] == [55_000, 5_000, 10_000]
    assert (data.shape, data.levels, data.classes) == ((28, 28), 256, 10)


def test_picture_folder_divides_every_file_once(tmp_path: Path) -> None:
    arrays = picture_folder(tmp_path)
    data = load(str(tmp_path))
    joined = torch.cat([torch.as_tensor(part.examples) for part in (data.train, data.validation, data.test)])
    assert sorted(x.numpy().tobytes() for x in joined) == sorted(a.tobytes() for a in arrays)
    assert (len(data.train), data.levels, data.shape) == (8, 256, (6, 7))
    again = load(str(tmp_path), seed=0)
    assert torch.equal(again.train.examples, data.train.examples)
    assert load(str(tmp_path), size=4, levels=8).shape == (4, 4)


def test_bad_pictures_are_named(tmp_path: Path) -> None:
    picture_folder(tmp_path)
    odd = tmp_path / "odd.png"
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(odd)
    with pytest.raises(DataError, match=r"odd\.png is 3 × 3 .* size="):
        load(str(tmp_path))
    odd.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"odd\.png cannot be read"):
        load(str(tmp_path))


def test_unknown_names_folders_and_options(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        load("digit")
    with pytest.raises(UsageError, match="did you mean 'levels'"):
        load("digits", level=4)
    with pytest.raises(DataError, match="holds no files that are read"):
        load(str(tmp_path))
    picture_folder(tmp_path, 2)
    with pytest.raises(DataError, match="holds 2 usable files"):
        load(str(tmp_path))
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(DataError, match="sounds and pictures"):
        load(str(tmp_path))
