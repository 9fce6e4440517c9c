"""Bent images: what no distortion leaves, discs that stay discs, blank borders, and images left as they were."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from leadline.data import load
from leadline.data.bending import Bend

DIGITS = load("digits").train.examples[:200].long()
STILL = Bend(top=16, turn=0, slant=0, stretch=0, move=0, field=0, thickness=0)
SIZE = 24


def drawn_disc(row: float, column: float, radius: float, top: int, slant: float = 0.0) -> Tensor:
    """Count, of 8 × 8 points in each pixel, those in a disc, which slides sideways by `slant` a row."""
    fine = (torch.arange(8 * SIZE) + 0.5) / 8
    y, x = fine[:, None] - row, fine - column
    inside = ((x + slant * y) ** 2 + y**2 < radius**2).double()
    return (top * inside.unflatten(1, (SIZE, 8)).unflatten(0, (SIZE, 8)).mean((1, 3))).round().long()


def center(image: Tensor) -> tuple[float, float]:
    """Return where the mean of the ink is, in pixels."""
    places = torch.arange(SIZE) + 0.5
    share = image.double() / image.sum()
    return float((share.sum(1) * places).sum()), float((share.sum(0) * places).sum())


def test_without_distortions_images_stay_nearly_as_they_are() -> None:
    bent = STILL(DIGITS, torch.Generator())
    assert (bent - DIGITS).abs().double().mean() < 0.03 * 16
    black, white = torch.zeros(1, 8, 8, dtype=torch.int64), torch.full((1, 8, 8), 16)
    assert torch.equal(STILL(black, torch.Generator()), black)
    assert torch.equal(STILL(white, torch.Generator())[:, 1:-1, 1:-1], white[:, 1:-1, 1:-1])


@given(st.integers(0, 1000), st.floats(4, 6), st.sampled_from([16, 255]))
def test_a_disc_is_moved_and_remains_one(seed: int, radius: float, top: int) -> None:
    disc = drawn_disc(SIZE / 2, SIZE / 2, radius, top)
    mover = dataclasses.replace(STILL, top=top, move=0.25)
    moved = mover(disc[None], torch.Generator().manual_seed(seed))[0]
    row, column = center(moved)
    assert max(abs(row - SIZE / 2), abs(column - SIZE / 2)) < 0.25 * SIZE / 2 + 0.05
    assert (moved - drawn_disc(row, column, radius, top)).abs().double().mean() < 0.01 * top


@given(st.integers(0, 1000))
def test_what_turns_leaves_a_disc_and_what_slants_makes_an_ellipse(seed: int) -> None:
    disc = drawn_disc(SIZE / 2, SIZE / 2, 6.0, 255)
    turned = dataclasses.replace(STILL, top=255, turn=1.0)(disc[None], torch.Generator().manual_seed(seed))[0]
    assert (turned - disc).abs().double().mean() < 0.01 * 255
    slanted = dataclasses.replace(STILL, top=255, slant=0.5)(disc[None], torch.Generator().manual_seed(seed))[0]
    places = torch.arange(SIZE) + 0.5 - SIZE / 2
    slide = -(slanted * places[:, None] * places).sum() / (slanted * places[:, None] ** 2).sum()
    assert abs(slide) < 0.55
    ellipse = drawn_disc(SIZE / 2, SIZE / 2, 6.0, 255, float(slide))
    assert (slanted - ellipse).abs().double().mean() < 0.01 * 255


@pytest.mark.parametrize("shape", [(40, 8, 8), (40, 5, 9), (40, 6, 7, 3)])
def test_values_stay_in_their_range_and_chance_and_strength_choose_images(shape: tuple[int, ...]) -> None:
    x = torch.randint(17, shape, generator=torch.Generator().manual_seed(0))
    bent = Bend(16)(x, torch.Generator().manual_seed(1))
    assert bent.shape == x.shape
    assert bent.dtype == x.dtype
    assert bent.min() >= 0
    assert bent.max() <= 16
    assert torch.equal(bent, Bend(16)(x, torch.Generator().manual_seed(1)))
    shares = [
        float((Bend(16, chance)(x, torch.Generator().manual_seed(2), strength) != x).flatten(1).any(1).double().mean())
        for chance, strength in ((1.0, 1.0), (1.0, 0.5), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0))
    ]
    assert shares[0] == 1.0
    assert 0.2 < shares[1] < 0.8
    assert 0.05 < shares[2] < 0.5
    assert shares[3:] == [0.0, 0.0]
