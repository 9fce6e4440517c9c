"""A run on pictures in colour: what is trained, drawn, kept and scored has three symbols a pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.audit.trained import draw, score_run
from leadline.audit.users_runs import open_run, train_named
from leadline.cli.again import asked_of, drawn_again
from leadline.errors import UsageError
from leadline.report.exports import write_samples
from leadline.sampling.compiled.kept import find_kept
from leadline.training import Run, load_run
from leadline.training.jobs import train_by_recipe

QUICK = {"steps": 1, "batch": 3, "validation_examples": 2, "threads": 1, "device": "cpu"}
SMALL = ["layers=1", "channels=6", "inner=6", "head=6", "first_kernel=3", "labels=2"]


def pictures(folder: Path, n: int, colors: int) -> Path:
    rng = np.random.default_rng(n)
    for i in range(n):
        path = folder / ["cat", "dog"][i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (4, 5, 3) if colors == 3 else (4, 5)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    data = pictures(folder / "data", 20, 3)
    train_by_recipe("pixelcnn", SMALL, str(data), folder / "run", training=QUICK, options={"levels": 4})
    return load_run(folder / "run")


def test_the_model_gets_its_colours_from_the_data(run: Run) -> None:
    assert run.specimen.config.colors == 3
    assert run.data["shape"] == [4, 5, 3]
    with pytest.raises(
        UsageError, match=r"2 position axes; .* is image, in colour, which has 3; -d color=grey turns it"
    ):
        train_by_recipe("pixelcnn", [*SMALL, "colors=1"], run.data["name"], run.path, training=QUICK, options={})
    with pytest.raises(UsageError, match=r"pixelcnn reads 2 colours a pixel, and .* has 3"):
        train_by_recipe("pixelcnn", [*SMALL, "colors=2"], run.data["name"], run.path, training=QUICK, options={})


def test_samples_are_derived_kept_and_written_in_colour(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = asked_of(run.path, 3, length=None, label=(1,))
    assert asked is not None
    drawn = draw(run, 3, label=1, seed=2, asked=asked)
    assert (drawn.sampler, tuple(drawn.symbols.shape)) == ("derived", (3, 4, 5, 3))
    assert torch.equal(drawn.symbols, draw(run, 3, label=1, seed=2, naive=True).symbols)
    each = draw(run, 3, label=(0, 1, 0), seed=2).symbols
    assert torch.equal(each, draw(run, 3, label=(0, 1, 0), seed=2, naive=True).symbols)
    kept = find_kept(run.path, asked)
    assert kept is not None
    assert np.array_equal(kept.draw(2, 1.0, None), drawn.symbols.numpy())
    write_samples(drawn, tmp_path / "a.png")
    said = drawn_again(run.path, 3, asked, tmp_path / "b.png", seed=2, temperature=1.0, top_k=None)
    assert said is not None
    one, other = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert np.array_equal(one, other)
    assert np.array_equal(one[1:5, 1:6], drawn.symbols[0].numpy() * 85)


def test_scores_are_of_each_symbol_and_other_pictures_must_be_in_colour(run: Run, tmp_path: Path) -> None:
    assert score_run(run).symbols == 2 * 4 * 5 * 3
    other = score_run(run, data_name=str(pictures(tmp_path / "other", 4, 3)))
    assert (other.examples, other.symbols) == (4, 240)
    assert "3 colours a pixel, 256 values of each colour merged into 4" in other.part
    grey = str(pictures(tmp_path / "grey", 4, 1))
    with pytest.raises(UsageError, match=r"shape \(4, 5\), not \(4, 5, 3\)"):
        score_run(run, data_name=grey)
    assert score_run(run, data_name=grey, options={"color": "rgb"}).symbols == 240


OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes, colors):
        super().__init__()
        self.embed, self.left = nn.Embedding(classes, 4), nn.Conv2d(4 * colors, 8 * colors, (1, 2))
        self.out = nn.Linear(8, classes)

    def forward(self, x):
        z = self.embed(x).flatten(3).permute(0, 3, 1, 2)
        z = self.left(nn.functional.pad(z, (2, 0))[..., :-1]).permute(0, 2, 3, 1)
        return self.out(torch.relu(z.reshape(*x.shape, 8)))


def factory(classes, colors):
    return Net(classes, colors)
"""


def test_a_model_of_ones_own_gets_colours_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    how = {"training": QUICK, "options": {"levels": 4}}
    train_named(f"{tmp_path / 'own.py'}:factory", [], run.data["name"], tmp_path / "run", **how)
    own = open_run(tmp_path / "run", trust=True)
    drawn = draw(own, 2, seed=1)
    assert drawn.sampler == "derived"
    assert torch.equal(drawn.symbols, draw(own, 2, seed=1, naive=True).symbols)
