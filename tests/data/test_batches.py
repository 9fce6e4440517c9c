"""Batches: functions of seed and step, every example of an epoch once, every symbol of an evaluation once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import Split, TrainingBatches, evaluation_batches, load
from leadline.data.transforms import Shift, Turn, Warp
from leadline.errors import UsageError

DIGITS = load("digits")
TONES = load("tones", clips=30, length=90)


@given(st.integers(0, 1000), st.integers(0, 5), st.integers(1, 50))
def test_a_batch_depends_on_seed_and_step_alone(step: int, seed: int, size: int) -> None:
    batches = TrainingBatches(DIGITS, size, seed, (Shift(1),))
    first = batches.at(step)
    batches.at(step + 1)
    torch.rand(3)
    again = TrainingBatches(DIGITS, size, seed, (Shift(1),)).at(step)
    assert torch.equal(first.x, again.x)
    assert first.index == again.index


@settings(max_examples=20)
@given(st.integers(0, 3), st.integers(0, 5), st.sampled_from([30, 100, 250]))
def test_an_epoch_shows_every_image_at_most_once_and_epochs_differ(epoch: int, seed: int, size: int) -> None:
    batches = TrainingBatches(DIGITS, size, seed)
    n = batches.per_epoch
    seen = [i for step in range(epoch * n, (epoch + 1) * n) for i in batches.at(step).index]
    assert len(set(seen)) == len(seen) == n * size
    assert batches.at(epoch * n).index != batches.at((epoch + 1) * n).index
    batch = batches.at(epoch * n)
    assert torch.equal(batch.x, DIGITS.train.examples[list(batch.index)].long())
    assert torch.equal(batch.labels, DIGITS.train.labels[list(batch.index)])


@given(st.integers(0, 100), st.sampled_from([20, 60, 200]), st.sampled_from([0, 5]))
def test_crops_are_pieces_of_their_clips(step: int, crop: int, burn_in: int) -> None:
    batch = TrainingBatches(TONES, 6, 0, crop=crop, burn_in=burn_in).at(step)
    for x, mask, i in zip(batch.x, batch.mask, batch.index, strict=True):
        clip = TONES.train.examples[i].long()
        length = min(crop, len(clip))
        starts = [s for s in range(len(clip) - length + 1) if torch.equal(clip[s : s + length], x[:length])]
        assert starts
        assert (x[length:] == 0).all()
        context = 0 if mask[0] else burn_in
        assert mask[:context].sum() == 0
        assert mask[context:length].all()
        assert not mask[length:].any()
        if context:
            assert max(starts) > 0  # a crop that begins with its clip scores every symbol


def test_crops_reach_all_of_a_clip() -> None:
    batches = TrainingBatches(TONES, 16, 0, crop=30)
    clips = TONES.train.examples
    covered = {i: np.zeros(len(clip), bool) for i, clip in enumerate(clips)}
    for step in range(60):
        batch = batches.at(step)
        for x, i in zip(batch.x, batch.index, strict=True):
            starts = [s for s in range(len(clips[i]) - 29) if torch.equal(clips[i][s : s + 30].long(), x)]
            for s in starts:
                covered[i][s : s + 30] = True
    assert all(places.all() for places in covered.values())


@given(st.integers(1, 40), st.integers(50, 2000), st.lists(st.integers(1, 80), min_size=1, max_size=30))
def test_evaluation_shows_every_symbol_exactly_once(size: int, most: int, lengths: list[int]) -> None:
    clips = tuple(torch.arange(length) + 1000 * i for i, length in enumerate(lengths))
    seen: dict[int, torch.Tensor] = {}
    for batch in evaluation_batches(Split(clips), size, most):
        assert len(batch.index) == 1 or batch.x.numel() <= most
        assert len(batch.index) <= size
        assert not set(batch.index) & seen.keys()
        seen |= {i: x[mask] for i, x, mask in zip(batch.index, batch.x, batch.mask, strict=True)}
    assert all(torch.equal(seen[i], clip) for i, clip in enumerate(clips))


def test_evaluation_of_images_is_the_whole_part() -> None:
    parts = list(evaluation_batches(DIGITS.test, 128))
    assert torch.equal(torch.cat([batch.x for batch in parts]), DIGITS.test.examples.long())
    assert sum(batch.symbols for batch in parts) == DIGITS.test.symbols == 447 * 64


def test_dynamic_binarisation_draws_anew_in_every_epoch() -> None:
    data = load("digits", binarise="dynamic")
    batches = TrainingBatches(data, 1000, 0)
    one, two = batches.at(0), batches.at(1)
    assert one.x.max() == 1
    one_sorted, two_sorted = one.x[np.argsort(one.index)], two.x[np.argsort(two.index)]
    assert 0.01 < (one_sorted != two_sorted).double().mean() < 0.3


@given(st.integers(0, 50), st.integers(1, 3))
def test_a_shift_moves_images_and_fills_with_zero(seed: int, pixels: int) -> None:
    x = DIGITS.train.examples[:5].long()
    shifted = Shift(pixels)(x, torch.Generator().manual_seed(seed))
    padded = torch.nn.functional.pad(x, (pixels,) * 4)
    moves = range(2 * pixels + 1)
    for i in range(5):
        windows = [padded[i, r : r + 8, c : c + 8] for r in moves for c in moves]
        assert any(torch.equal(window, shifted[i]) for window in windows)
    assert torch.equal(Shift(pixels, chance=0.0)(x, torch.Generator()), x)


@given(st.integers(0, 50))
def test_a_turn_is_one_of_eight_forms_and_all_of_them_occur(seed: int) -> None:
    x = DIGITS.train.examples[:200].long()
    turned = Turn()(x, torch.Generator().manual_seed(seed))
    seen = set()
    for before, after in zip(x, turned, strict=True):
        forms = [torch.rot90(y, quarter) for y in (before, before.flip(1)) for quarter in range(4)]
        found = [i for i, form in enumerate(forms) if torch.equal(form, after)]
        assert found
        seen |= set(found[:1])
    assert len(seen) == 8


def test_only_square_images_are_turned() -> None:
    with pytest.raises(UsageError, match="5 × 4"):
        Turn()(torch.zeros(1, 5, 4, dtype=torch.int64), torch.Generator())


def test_a_warp_moves_pixels_and_invents_none() -> None:
    x = 1 + torch.arange(64).reshape(1, 8, 8).expand(300, 8, 8)
    warped = Warp()(x, torch.Generator().manual_seed(0))
    assert set(warped.unique().tolist()) <= set(range(65))
    rows, columns = (warped - 1) // 8, (warped - 1) % 8
    inside = warped > 0
    for places in (rows, columns):  # no pixel travels far, and neighbours stay neighbours
        own = torch.arange(8)[:, None] if places is rows else torch.arange(8)
        assert ((places - own).abs()[inside] <= 4).all()
    steps = (rows[:, 1:] - rows[:, :-1])[inside[:, 1:] & inside[:, :-1]]
    assert set(steps.unique().tolist()) <= {-1, 0, 1, 2, 3}
    changed = (warped != x).flatten(1).any(1).double().mean()
    assert changed > 0.7
    assert torch.equal(Warp(chance=0.0)(x, torch.Generator()), x)


def test_augmentation_fades_out() -> None:
    batches = TrainingBatches(DIGITS, 500, 0, (Turn(), Shift(2)))
    changed = []
    for step in range(14):
        batch = batches.at(step, max(0.0, 1 - step / 10))
        changed.append((batch.x != DIGITS.train.examples[list(batch.index)]).flatten(1).any(1).double().mean().item())
    assert changed[0] > 0.9
    assert changed == sorted(changed, reverse=True) or np.polyfit(range(14), changed, 1)[0] < -0.05
    assert changed[10:] == [0.0] * 4
