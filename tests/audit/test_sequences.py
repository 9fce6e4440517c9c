"""A Transformer over flattened pictures, sounds in pieces and text, from training to drawing."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import leadline
from leadline import zoo
from leadline.audit.trained import draw, score_run
from leadline.cli.again import asked_of, drawn_again
from leadline.data import Batch, TrainingBatches, load
from leadline.data.transforms import Turn
from leadline.errors import UsageError
from leadline.likelihoods import Categorical
from leadline.training import load_run
from leadline.training.jobs import train_by_recipe
from leadline.training.scoring import symbol_nats

QUICK = {"steps": 2, "batch": 3, "validation_examples": 2, "threads": 1, "device": "cpu", "crop": 30}
SMALL = ["layers=1", "heads=2", "head_channels=4"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_flattened_pictures_are_the_pictures_and_are_turned_as_they_are() -> None:
    plain, flat = load("digits"), load("digits", flatten=True)
    for ours, theirs in zip(flat.parts, plain.parts, strict=True):
        assert torch.equal(ours.examples.unflatten(1, (8, 8)), theirs.examples)
    assert flat.describe()["picture"] == [8, 8]
    assert load("digits", **flat.options).digest == flat.digest != plain.digest
    for step in range(3):
        two, one = (TrainingBatches(d, size=5, seed=1, augmentations=(Turn(0.9),)).at(step) for d in (plain, flat))
        assert torch.equal(one.x.unflatten(1, (8, 8)), two.x)
    with pytest.raises(UsageError, match="'flatten'"):
        load("tones", flatten=True)


def test_a_transformer_draws_and_scores_flattened_pictures(tmp_path: Path) -> None:
    how = {"training": QUICK, "options": {"flatten": True, "levels": 4}}
    train_by_recipe("transformer", [*SMALL, "labels=10"], "digits", tmp_path / "run", **how)
    run = load_run(tmp_path / "run")
    assert run.specimen.layout == "b t, _ -> b t v"
    assert run.specimen.inputs[0].shape == (2, 64)
    labels = (3, 3, 7)
    asked = asked_of(run.path, 2, length=None, label=(3,))
    derived, naive = (draw(run, 3, label=labels, naive=naive) for naive in (False, True))
    assert (derived.sampler, naive.sampler) == ("derived", "naive")
    assert torch.equal(derived.symbols, naive.symbols)
    assert derived.symbols.shape == (3, 8, 8)
    assert torch.equal(draw(run, 2, label=3, asked=asked).symbols, derived.symbols[:2])
    said = drawn_again(run.path, 2, asked, tmp_path / "a.npy", seed=0, temperature=1.0, top_k=None)
    assert said is not None
    assert np.array_equal(np.load(tmp_path / "a.npy"), derived.symbols[:2].numpy())
    assert draw(run, 1, label=3, length=2).symbols.shape == (1, 2, 8)  # rows
    assert score_run(run, data_name="digits").symbols == 447 * 64
    with pytest.raises(UsageError, match="flatten=true: one, row after row"):
        train_by_recipe("wavenet", [], "digits", tmp_path / "other", training=QUICK, options={})


@pytest.mark.parametrize("length", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_whole_pictures_are_drawn_by_a_model_of_another_length(length: int, tmp_path: Path) -> None:
    words = ["layers=1", "channels=2", "skip=2", "head=2", f"length={length}"]
    options = {"flatten": True, "levels": 4}
    train_by_recipe("wavenet", words, "digits", tmp_path / "run", training=QUICK, options=options)
    run = load_run(tmp_path / "run")
    assert run.specimen.inputs[0].shape[1] == length
    asked = asked_of(run.path, 2, length=None, label=None)
    derived, naive = (draw(run, 2, naive=naive, asked=asked) for naive in (False, True))
    assert derived.symbols.shape == (2, 8, 8)
    assert torch.equal(derived.symbols, naive.symbols)
    assert drawn_again(run.path, 2, asked or "", tmp_path / "a.npy", seed=0, temperature=1.0, top_k=None)
    assert np.array_equal(np.load(tmp_path / "a.npy"), derived.symbols.numpy())


def test_a_transformer_takes_sounds_in_pieces(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at most 64 symbols, and tones has .* of \d+: cut .* \(-d piece=64\)"):
        train_by_recipe("transformer", [*SMALL, "length=64"], "tones", tmp_path / "a", training=QUICK, options={})
    assert not os.path.exists(tmp_path / "a")
    options = {"piece": 30, "levels": 16}
    train_by_recipe("transformer", SMALL, "tones", tmp_path / "b", training=QUICK, options=options)
    run = load_run(tmp_path / "b")
    assert (run.settings["length"], run.settings["lag"]) == (30, 1)  # a density, though nobody asked for one
    assert score_run(run).symbols == load("tones", **options).test.symbols
    derived, naive = (draw(run, 2, naive=naive) for naive in (False, True))
    assert (derived.sampler, naive.sampler) == ("derived", "naive")
    assert torch.equal(derived.symbols, naive.symbols)


def test_twenty_thousand_draws_of_text_follow_the_density(tmp_path: Path) -> None:
    """Characters as they occur, drawn by the sampler of a trained run."""
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text("abba cab " * 20)
    how = {"training": {**QUICK, "crop": 4}, "options": {"symbols": "characters", "piece": 4}}
    train_by_recipe("transformer", SMALL, str(tmp_path), tmp_path / "run", **how)
    run = load_run(tmp_path / "run")
    levels = run.data["levels"]
    assert (levels, run.data["alphabet"]) == (4, " abc")
    every = torch.tensor(list(itertools.product(range(4), repeat=4)))
    nats = symbol_nats(run.specimen.model, Batch(every, None, None, tuple(range(256))), Categorical(4))
    wanted = 20_000 * (-nats.double().sum(1)).exp()
    assert wanted.sum().item() == pytest.approx(20_000, rel=1e-5)
    drawn = draw(run, 20_000)
    assert drawn.sampler == "derived"
    counts = (drawn.symbols @ 4 ** torch.arange(3, -1, -1)).bincount(minlength=256)
    assert ((counts - wanted).square() / wanted).sum().item() < 345.9  # 99.99 % of a chi-square of 255 degrees
    assert drawn.texts()[0] == "".join(" abc"[symbol] for symbol in drawn.symbols[0])


@pytest.mark.slow
def test_twenty_thousand_draws_of_sixteen_bits_follow_the_density() -> None:
    """Of 65,536 classes, counted in 64 parts of which the second symbol rests on the first."""
    small = {"layers": 1, "length": 2, "batch": 1, "channels": 2, "skip": 2, "head": 2}
    specimen = zoo.build("wavenet", classes=65536, **small)
    model, (x,) = specimen.model.eval(), specimen.inputs
    with torch.no_grad():
        (weights,) = [p for name, p in model.named_parameters() if name == "logits.weight"]
        weights.mul_(torch.linspace(0, 8, 65536).view(-1, *[1] * (weights.ndim - 1)))  # far from even
        first = model(x)[0, 0].double().softmax(-1)
    drawn = leadline.stream(model, x, layout=specimen.layout, likelihood=Categorical(65536)).generate(20_000)
    parts = first.view(64, -1).sum(1)
    counts = (drawn[:, 0] // 1024).bincount(minlength=64)
    assert ((counts - 20_000 * parts).square() / (20_000 * parts)).sum().item() < 111.1
    drawn = drawn[:2000]  # of the second by its own distribution: where it falls in that is uniform
    with torch.no_grad():
        below = torch.cat([_place(model(pair)[:, 1], pair[:, 1]) for pair in drawn.split(100)])
    counts = (below * 16).long().clamp(max=15).bincount(minlength=16)
    assert ((counts - 125.0) ** 2 / 125).sum().item() < 44.3  # 99.99 % of a chi-square of 15 degrees


def _place(logits: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Return a point of each drawn symbol's own step of its cumulative distribution, taken at random."""
    p = logits.double().softmax(-1)
    own = p.gather(-1, drawn[:, None]).squeeze(-1)
    return p.cumsum(-1).gather(-1, drawn[:, None]).squeeze(-1) - own * torch.rand(len(drawn), dtype=torch.float64)
