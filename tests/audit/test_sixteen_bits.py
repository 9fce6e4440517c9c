"""Sound of 16 bits from files to a run and back to a file: every sample keeps its value on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from leadline import data
from leadline.audit.trained import draw, score_run
from leadline.cli import main
from leadline.report.exports import write_samples
from leadline.training import load_run
from leadline.training.jobs import train_by_recipe

QUICK = {"steps": 2, "batch": 2, "crop": 40, "validation_examples": 1, "threads": 1, "device": "cpu"}
OPTIONS = {"levels": 65536, "encoding": "linear", "piece": 40}
SMALL = {
    "wavenet": ["layers=3", "channels=4", "skip=4", "head=4"],
    "transformer": ["layers=1", "heads=2", "head_channels=4"],
}


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Ten files of random samples, the extremes among them."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        wave = (3000 * rng.standard_normal(90)).clip(-32768, 32767).astype(np.int16)
        wave[:2] = -32768, 32767
        soundfile.write(folder / f"{number}.{'flac' if number % 2 else 'wav'}", wave, 8000)
    return folder


@pytest.mark.parametrize("model", ["wavenet", pytest.param("transformer", marks=pytest.mark.slow)])
def test_sound_of_sixteen_bits_is_trained_scored_drawn_and_written(
    model: str, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    train_by_recipe(model, SMALL[model], str(sounds), folder, training=QUICK, options=OPTIONS)
    run = load_run(folder)
    assert (run.specimen.likelihood, run.specimen.config.components) == ("logistics", 10)
    assert sum(p.numel() for p in run.specimen.model.parameters()) < 5000  # no table of 65,536 rows
    assert 0 < score_run(run).bits_per_dim < 40
    drawn, again = draw(run, 2, seed=4, length=12), draw(run, 2, seed=4, length=12, naive=True)
    assert (drawn.sampler, again.sampler) == ("derived", "naive")
    assert torch.equal(drawn.symbols, again.symbols)
    held = draw(run, 1, length=40)
    write_samples(held, tmp_path / "one.wav")
    wave, rate = soundfile.read(tmp_path / "one.wav", dtype="int16")
    assert rate == 8000
    assert np.array_equal(wave[:40].astype(int) + 32768, held.symbols[0].numpy())


@pytest.mark.slow
def test_the_command_line_draws_the_same_symbols_again(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept beside a run holds logits for classes alone: a mixture is derived again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    train_by_recipe("wavenet", SMALL["wavenet"], str(sounds), folder, training=QUICK, options=OPTIONS)
    for name in ("a.wav", "b.wav"):
        with pytest.raises(SystemExit) as ended:
            main(["sample", str(folder), "-n", "2", "--length", "12", "--out", str(tmp_path / name)])
        assert ended.value.code == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_files_become_the_classes_of_their_samples(sounds: Path) -> None:
    dataset = data.load(str(sounds), levels=65536, encoding="linear")
    waves = {tuple(soundfile.read(path, dtype="int16")[0].astype(int) + 32768) for path in sounds.iterdir()}
    parts = (dataset.train, dataset.validation, dataset.test)
    assert {tuple(example.tolist()) for part in parts for example in part.examples} == waves
