"""Tiles of photographs: the same on every call, cut from files of packages, without a pixel in two parts."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from leadline.data import load
from leadline.data.photographs import _SOURCES, _tiles
from leadline.data.transforms import Shift, Turn, Warp
from leadline.errors import UsageError


def test_tiles_are_those_of_the_photographs() -> None:
    data = load("photographs")
    assert (data.shape, data.levels, data.read_as) == ((32, 32, 3), 256, "tiles of 32 × 32, 3 colours a pixel")
    assert data.digest == load("photographs", size=32, seed=5).digest
    china = load_sample_images().images[0]
    assert np.array_equal(data.train.examples[0].numpy(), china[:32, :32])
    assert np.array_equal(data.train.examples[1].numpy(), china[:32, 16:48])
    assert np.array_equal(data.validation.examples[0].numpy(), china[:32, 256:288])
    assert np.array_equal(data.test.examples[0].numpy(), china[:32, 288:320])


@pytest.mark.parametrize("size", [8, 20, 32])
@pytest.mark.parametrize(("height", "width"), [(67, 401), (300, 340), (40, 330)])
def test_no_pixel_is_in_two_parts(size: int, height: int, width: int) -> None:
    places = torch.arange(height * width).reshape(height, width)
    seen: dict[str, set[int]] = {"train": set(), "validation": set(), "test": set()}
    for part, tile in _tiles(places, size):
        assert tile.shape == (size, size)
        seen[part] |= set(tile.flatten().tolist())
    assert all(seen.values())
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))
    whole = sum(map(len, seen.values())) / (height * width)
    assert whole > (height // size) * size * (width // size) * size / (height * width) - 1e-9


def test_options_are_those_of_pictures() -> None:
    assert load("photographs", color="grey", size=16).shape == (16, 16)
    few = load("photographs", levels=8)
    assert few.read_as == "tiles of 32 × 32, 3 colours a pixel, 256 values of each colour merged into 8"
    assert torch.equal(few.test.examples, load("photographs").test.examples // 32)
    for options, said in (
        ({"source": "scikit-learm"}, "did you mean 'scikit-learn'"),
        ({"size": 2}, "at least 8"),
        ({"size": 200}, "no tiles"),
        ({"color": "blue"}, "grey or rgb"),
    ):
        with pytest.raises(UsageError, match=said):
            load("photographs", **options)


def test_another_package_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("skimage") is None:
        with pytest.raises(UsageError, match=r"skimage, which is not installed; run: pip install 'leadline\[photogra"):
            load("photographs", source="scikit-image")
    stand_in = tmp_path / "skimage" / "data"
    stand_in.mkdir(parents=True)
    (stand_in.parent / "__init__.py").write_text("raise ImportError('nothing is loaded')")
    rng = np.random.default_rng(0)
    for name in _SOURCES["scikit-image"].names:
        Image.fromarray(rng.integers(0, 256, (40, 330, 3), dtype=np.uint8)).save(stand_in / name)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = load("photographs", source="scikit-image")
    assert [len(part) for part in data.parts] == [75, 5, 5]
    assert "CC0" in data.licence


@pytest.mark.parametrize("change", [Shift(2), Turn(), Warp()])
def test_augmentations_move_whole_pixels(change: Shift | Turn | Warp) -> None:
    """Colours go together: each is moved as a grey picture of it would be."""
    x = load("photographs").train.examples[:8]
    moved = change(x, torch.Generator().manual_seed(3))
    assert moved.shape == x.shape
    for color in range(3):
        assert torch.equal(moved[..., color], change(x[..., color], torch.Generator().manual_seed(3)))
