"""Runs on spectrograms, from training to drawing: scores say what was given, samples sound like what they are given."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.audit.conditioning import heard_in
from leadline.audit.trained import draw, score_run
from leadline.audit.users_runs import open_run, train_named
from leadline.cli import main
from leadline.data import Batch, load
from leadline.data.audio import read_sound
from leadline.data.companding import inverse_mu_law, mu_law
from leadline.data.spectrogram import Spectrogram
from leadline.errors import UsageError
from leadline.likelihoods import Categorical
from leadline.training import Run, load_run
from leadline.training.jobs import train_by_recipe
from leadline.training.scoring import symbol_nats

QUICK = {"steps": 2, "batch": 3, "validation_examples": 2, "threads": 1, "device": "cpu", "crop": 50}
SMALL = ["layers=2", "channels=4", "skip=4", "head=4"]
HEARD = {"spectrogram": 4, "hop": 20, "length": 120, "levels": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "run"
    train_by_recipe("wavenet", SMALL, "tones", folder, training=QUICK, options=HEARD)
    return load_run(folder)


def test_a_score_is_of_symbols_given_the_frames(run: Run) -> None:
    assert run.result is not None
    tones, total = load("tones", **HEARD), 0.0
    assert tones.spectrogram is not None
    for clip in tones.test.examples:
        batch = Batch(clip.long()[None], None, None, (0,), tones.spectrogram.of(clip)[None])
        total += float(symbol_nats(run.specimen.model, batch, Categorical(16)).double().sum().detach())
    assert run.result.test.nats == pytest.approx(total, rel=1e-5)
    assert "given its log mel spectrogram, 4 channels at each 20 samples" in str(run.result.test)
    assert score_run(run).nats == pytest.approx(total, rel=1e-5)
    with pytest.raises(UsageError, match="levels 256, not 16"):
        score_run(run, data_name="tones", options={"levels": 256})


def test_data_and_model_hear_the_same(tmp_path: Path) -> None:
    how = {"training": QUICK, "options": HEARD}
    with pytest.raises(UsageError, match="wavenet hears no spectrogram; tones gives its log mel spectrogram"):
        train_by_recipe("wavenet", [*SMALL, "conditions=0"], "tones", tmp_path / "a", **how)
    with pytest.raises(UsageError, match=r"hears 4 channels .* of frames of 80 samples .*; tones gives none"):
        train_by_recipe("wavenet", [*SMALL, "conditions=4"], "tones", tmp_path / "b", training=QUICK, options={})
    with pytest.raises(UsageError, match="transformer hears no spectrogram"):
        train_by_recipe("transformer", ["length=120"], "tones", tmp_path / "c", **how)


def test_both_samplers_draw_by_the_frames_of_each_sample(run: Run) -> None:
    frames = heard_in(run, None, 2)
    derived, naive = (draw(run, 2, frames=frames, naive=naive) for naive in (False, True))
    assert (derived.sampler, naive.sampler) == ("derived", "naive")
    assert torch.equal(derived.symbols, naive.symbols)
    assert derived.symbols.shape == (2, frames.shape[1] * 20)
    alone = draw(run, 3, frames=frames[:1], length=33).symbols  # one sound for all of them
    assert torch.equal(alone[0], derived.symbols[0, :33])
    for wrong, message in [
        ({}, "say which frames"),
        ({"frames": frames[..., :3]}, "2 samples need those of 1 sound, or of 2, with 4 channels"),
        ({"frames": frames, "length": 1000}, "last for"),
    ]:
        with pytest.raises(UsageError, match=message):
            draw(run, 2, **wrong)


def test_from_words_to_a_sound_like_another(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = load("tones", **HEARD).test.examples[0]
    for name, rate in (("a.wav", 8000), ("b.wav", 16000)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes((inverse_mu_law(clip, 16) * 32767).astype("<i2").tobytes())
    spectrogram = load("tones", **HEARD).spectrogram
    assert spectrogram is not None
    torch.testing.assert_close(heard_in(run, tmp_path / "a.wav"), spectrogram.of(clip)[None])
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out.npy"
    with pytest.raises(SystemExit, match="0"):
        main(["sample", str(run.path), "-n", "2", "--like", "a.wav", "--length", "40", "--out", str(out)])
    wanted = draw(run, 2, frames=spectrogram.of(clip)[None], length=40)
    np.testing.assert_array_equal(np.load(out), wanted.symbols.numpy())
    with pytest.raises(SystemExit, match="2"):
        main(["sample", str(run.path), "--like", "b.wav"])
    assert "16000 samples a second" in capsys.readouterr().err


def test_a_sound_is_heard_in_as_many_classes_as_the_data_has(tmp_path: Path) -> None:
    """Also where nobody said in how many."""
    options = {name: value for name, value in HEARD.items() if name != "levels"}
    train_by_recipe("wavenet", SMALL, "tones", tmp_path / "run", training=QUICK, options=options)
    signal, file = np.sin(np.arange(120)) / 2, tmp_path / "a.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes((signal * 32768).astype("<i2").tobytes())
    wanted = Spectrogram(channels=4, hop=20, rate=8000, levels=256).of(mu_law(read_sound(file)[0]))
    torch.testing.assert_close(heard_in(load_run(tmp_path / "run"), file), wanted[None])


OWN = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, classes, conditions, hop):
        super().__init__()
        self.embed, self.hop = nn.Embedding(classes, 4), hop
        self.out = nn.Linear(4 + conditions, classes)

    def forward(self, x, frames):
        z = torch.cat([torch.zeros_like(self.embed(x)[:, :1]), self.embed(x)[:, :-1]], 1)
        return self.out(torch.cat([z, frames.repeat_interleave(self.hop, 1)[:, : x.shape[1]]], -1))


def factory(classes, conditions, hop):
    return Own(classes, conditions, hop), (torch.zeros(2, 60, dtype=torch.long), torch.zeros(2, 3, conditions))
"""


def test_a_model_of_the_users_hears_the_frames_too(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    word, folder = f"{tmp_path / 'own.py'}:factory", tmp_path / "run"
    train_named(word, [], "tones", folder, training=QUICK, options=HEARD)
    run = open_run(folder, trust=True)
    assert run.settings == {"classes": 16, "conditions": 4, "hop": 20}
    assert run.specimen.frames == (4, 20)
    frames = heard_in(run, None, 1)
    derived, naive = (draw(run, 1, frames=frames, naive=naive).symbols for naive in (False, True))
    assert torch.equal(derived, naive)
