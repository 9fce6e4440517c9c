"""A WaveNet that is given frames: who sees which, the density that it is, and its streams."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.perturbation import dependence, expected

import leadline
from leadline import zoo
from leadline.data import Batch
from leadline.errors import UsageError
from leadline.likelihoods import Categorical
from leadline.sampling import FrameStream, Stream, naive_sample
from leadline.training.scoring import symbol_nats

SMALL = {"classes": 5, "channels": 6, "skip": 6, "head": 6, "layers": 2, "conditions": 3, "hop": 4, "length": 16}


def seen_by_frame(specimen: zoo.Specimen) -> np.ndarray:
    """Which outputs change with which frame, by perturbation."""
    model = specimen.model.double().eval()
    x, *labels, frames = specimen.inputs
    frames = frames.double()
    before, seen = model(x, *labels, frames), []
    for place in range(frames.shape[1]):
        other = frames.clone()
        other[:, place] += torch.randn_like(other[:, place])
        seen.append((model(x, *labels, other) != before).any(-1).any(0).numpy())
    return np.stack(seen, 1)


@pytest.mark.parametrize(
    ("layers", "stacks", "kernel", "labels"), [(1, 1, 2, 0), (3, 1, 2, 0), (2, 2, 2, 3), (2, 1, 3, 0)]
)
def test_outputs_see_their_own_frame_and_those_within_reach_of_the_later_blocks(
    layers: int, stacks: int, kernel: int, labels: int
) -> None:
    specimen = zoo.build("wavenet", **SMALL | {"layers": layers, "stacks": stacks, "kernel": kernel, "labels": labels})
    reach = stacks * (kernel - 1) * (2**layers - 1) - (kernel - 1)  # all but the first convolution
    wanted = np.zeros((16, 4), dtype=bool)
    for t, back in itertools.product(range(16), range(reach + 1)):
        if t - back >= 0:
            wanted[t, (t - back) // 4] = True
    np.testing.assert_array_equal(seen_by_frame(specimen), wanted)


def test_frames_do_not_change_which_symbols_are_seen() -> None:
    specimen = zoo.build("wavenet", **SMALL)
    seen = dependence(specimen.model, specimen.inputs, specimen.layout)
    np.testing.assert_array_equal(seen, expected((16,), lambda back: 1 <= back <= 4))
    found = leadline.causality(specimen.model.float(), *specimen.inputs, layout=specimen.layout)
    assert (found.verdict, found.lag) == ("structural", 1)


@pytest.mark.parametrize("labels", [0, 2])
def test_all_probabilities_sum_to_one_whatever_the_frames(labels: int) -> None:
    specimen = zoo.build("wavenet", **SMALL | {"classes": 3, "length": 5, "hop": 2, "labels": labels, "batch": 1})
    x = torch.tensor(list(itertools.product(range(3), repeat=5)))
    _, *label, frames = (t.expand(len(x), *t.shape[1:]) for t in specimen.inputs)
    batch = Batch(x, None, label[0] if label else None, tuple(range(len(x))), frames.double())
    nats = symbol_nats(specimen.model.double().eval(), batch, Categorical(3), conditional=bool(labels))
    assert (-nats.sum(1)).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("naive", [False, True])
def test_twenty_thousand_draws_follow_the_density(naive: bool) -> None:
    specimen = zoo.build("wavenet", **SMALL | {"classes": 2, "length": 6, "hop": 4, "batch": 1})
    model, (x, frames) = specimen.model.eval(), specimen.inputs
    frames = 3 * frames  # which tell
    every = torch.tensor(list(itertools.product(range(2), repeat=6)))
    batch = Batch(every, None, None, tuple(range(64)), frames.expand(64, -1, -1))
    wanted = 20_000 * (-symbol_nats(model, batch, Categorical(2)).double().sum(1)).exp()
    how = {"layout": specimen.layout, "likelihood": Categorical(2)}
    if naive:
        drawn = naive_sample(model, x, frames, n=20_000, **how)
    else:
        drawn = leadline.stream(model, x, frames, **how).generate(20_000)
    counts = (drawn @ (2 ** torch.arange(5, -1, -1))).bincount(minlength=64)
    assert ((counts - wanted).square() / wanted).sum().item() < 111.1  # 99.99 % of a chi-square of 63 degrees


def test_a_stream_by_one_sound_and_one_that_hears_frames_as_they_come_are_the_forward_pass() -> None:
    specimen = zoo.build("wavenet", **SMALL | {"batch": 1})
    model, (x, frames) = specimen.model.double().eval(), specimen.inputs
    frames = frames.double()
    fixed = leadline.stream(model, x, frames, layout=specimen.layout, backend="torch")
    assert isinstance(fixed, Stream)
    wanted = model(x, frames)
    torch.testing.assert_close(fixed.logits(x), wanted, atol=1e-12, rtol=0)
    layout = {"x": "b t", "frames": "b t c", "output": "b t v"}
    live = leadline.stream(model, x, frames=frames, layout=layout, backend="torch")
    assert isinstance(live, FrameStream)
    assert (live.frame, live.lag, live.ahead) == (4, 0, 0)
    other, heard = torch.randint(5, (3, 40)), torch.randn(3, 10, 3, dtype=torch.float64)  # longer than traced
    wanted = model(other, heard)
    torch.testing.assert_close(live.logits(other, frames=heard), wanted, atol=1e-12, rtol=0)
    live.reset(batch=3)
    parts = [live.step(other[:, at : at + 8], frames=heard[:, at // 4 : at // 4 + 2]) for at in range(0, 40, 8)]
    torch.testing.assert_close(torch.cat(parts, 1), wanted, atol=1e-12, rtol=0)


def test_frames_begin_as_repetition_and_are_counted() -> None:
    specimen = zoo.build("wavenet", **SMALL)
    frames = torch.randn(2, 3, 3)
    repeated = specimen.model.frames(frames, 10)
    torch.testing.assert_close(repeated, frames.mT.repeat_interleave(4, -1)[..., :10])
    with pytest.raises(UsageError, match="16 symbols have 4 frames, one for each 4; got 3"):
        specimen.model(specimen.inputs[0], frames)
    with pytest.raises(UsageError, match="takes frames"):
        specimen.model(specimen.inputs[0])
