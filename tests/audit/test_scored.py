"""What is scored is said, is what was asked for, and fits the model; labels are held against its classes."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import contents
from PIL import Image

from leadline.audit.trained import draw, score_run
from leadline.cli import main
from leadline.errors import DataError, UsageError
from leadline.training import Run, load_run, train
from leadline.training.config import TrainConfig
from leadline.training.jobs import train_by_recipe

QUICK = {"steps": 1, "batch": 3, "validation_examples": 2, "threads": 1, "device": "cpu"}


def pictures(folder: Path, n: int, seed: int = 0, size: int = 6) -> Path:
    rng = np.random.default_rng(seed)
    for i in range(n):
        path = folder / ["cat", "dog"][i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A conditional model of small pictures in two sub-folders, read with 16 levels."""
    folder = tmp_path_factory.mktemp("run")
    data = pictures(folder / "data", 20)
    small = ["layers=1", "channels=4", "inner=2", "labels=2"]
    how = {"training": QUICK, "options": {"levels": 16}}
    train_by_recipe("pixelcnn", small, str(data), folder / "run", **how)
    return load_run(folder / "run")


def test_other_files_are_scored_whole_and_read_as_the_runs_own(run: Run, tmp_path: Path) -> None:
    for n in (1, 2, 7):
        other = pictures(tmp_path / f"{n}", n, seed=n)
        scored = score_run(run, data_name=str(other), options={"labels": "folders"})
        assert (scored.examples, scored.symbols) == (n, n * 36)
        assert scored.part == f"all of {other}: not divided, 256 grey values merged into 16"
    divided = score_run(run, "test", str(other))
    assert divided.examples == 1
    assert "8 : 1 : 1 by file" in divided.part
    assert score_run(run, "all", str(other)).nats == pytest.approx(
        sum(score_run(run, part, str(other)).nats for part in ("train", "validation", "test")), rel=1e-5
    )


def test_the_runs_own_data_keeps_its_division(run: Run) -> None:
    own = run.data["name"]
    assert score_run(run, data_name=own) == score_run(run) == score_run(run, "test", own)
    assert score_run(run, "all").examples == 20
    with pytest.raises(UsageError, match="go with other data"):
        score_run(run, options={"seed": 3})


def test_data_that_does_not_fit_is_refused(run: Run, tmp_path: Path) -> None:
    larger = str(pictures(tmp_path / "larger", 4, size=8))
    with pytest.raises(UsageError, match=r"shape \(8, 8\), not \(6, 6\)"):
        score_run(run, data_name=larger)
    assert score_run(run, data_name=larger, options={"size": 6}).examples == 4
    with pytest.raises(UsageError, match="levels 4, not 16"):
        score_run(run, data_name=larger, options={"size": 6, "levels": 4})
    with pytest.raises(UsageError, match="kind audio, not image"):
        score_run(run, data_name="tones")


def test_classes_are_known_by_name(run: Run, tmp_path: Path) -> None:
    both = pictures(tmp_path / "both", 4, seed=3)
    only = tmp_path / "only"
    (only / "x").mkdir(parents=True)
    (both / "dog").rename(only / "dog")  # alone it would be class 0
    (only / "x").rmdir()
    dogs = score_run(run, data_name=str(only), options={"labels": "folders"})
    model, total = run.specimen.model, 0.0
    for path in sorted(only.rglob("*.png")):
        x = torch.from_numpy(np.asarray(Image.open(path)).astype(np.int64) // 16)[None]
        logits = model(x, torch.tensor([1])).detach().log_softmax(-1)
        total -= float(logits.gather(-1, x[..., None]).sum())
    assert dogs.nats == pytest.approx(total, rel=1e-5)
    (only / "dog").rename(only / "bird")
    with pytest.raises(DataError, match=r"'bird' is none of those .*: cat, dog"):
        score_run(run, data_name=str(only), options={"labels": "folders"})


def test_each_sample_has_its_own_label_in_both_samplers(run: Run) -> None:
    labels = (1, 0, 1, 1)
    derived, naive = (draw(run, 4, label=labels, naive=naive) for naive in (False, True))
    assert (derived.sampler, naive.sampler) == ("derived", "naive")
    assert torch.equal(derived.symbols, naive.symbols)
    one = draw(run, 4, label=1).symbols
    assert torch.equal(derived.symbols[[0, 2, 3]], one[[0, 2, 3]])
    for label, message in [
        (2, "no class 2: .* classes 0 to 1"),
        ((0, 1), "2 classes .* 4 samples"),
        (None, "say which"),
    ]:
        with pytest.raises(UsageError, match=message):
            draw(run, 4, label=label)


def test_more_classes_than_the_model_has_are_refused(tmp_path: Path) -> None:
    how = {"training": QUICK, "options": {}}
    with pytest.raises(UsageError, match="conditioned on 3 classes, and digits has 10"):
        train_by_recipe("pixelcnn", ["labels=3"], "digits", tmp_path / "a", **how)
    with pytest.raises(UsageError, match="has no labels"):
        train_by_recipe("wavenet", ["labels=3"], "tones", tmp_path / "b", **how)
    assert not list(tmp_path.iterdir())


def test_another_rate_is_refused(tmp_path: Path) -> None:
    def folder(name: str, rate: int) -> str:
        (tmp_path / name).mkdir()
        for i in range(3):
            with wave.open(str(tmp_path / name / f"{i}.wav"), "wb") as file:
                file.setparams((1, 1, rate, 0, "NONE", ""))
                file.writeframes(np.random.default_rng(i).integers(0, 256, 40).astype(np.uint8).tobytes())
        return str(tmp_path / name)

    how = {"training": {**QUICK, "crop": 20}, "options": {"encoding": "linear"}}
    train_by_recipe("wavenet", ["layers=1", "channels=2"], folder("a", 8000), tmp_path / "run", **how)
    trained = load_run(tmp_path / "run")
    other = score_run(trained, data_name=folder("b", 8000))
    assert "256 linear classes" in other.part
    with pytest.raises(UsageError, match="samples a second 16000, not 8000"):
        score_run(trained, data_name=folder("c", 16000))


def test_text_is_trained_scored_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book, path = tmp_path / "book.txt", tmp_path / "run"
    book.write_text("to be or not to be " * 20)
    words = [
        "transformer",
        "layers=1",
        "head_channels=2",
        "--data",
        str(book),
        "-d",
        "symbols=characters",
        "-d",
        "piece=16",
    ]
    assert command("train", *words, "--steps", "1", "-t", "batch=2", "-t", "threads=1", "--run", str(path)) == 0
    assert load_run(path).data["alphabet"] == " benort"
    assert load_run(path).lag == 1
    assert command("sample", str(path), "-n", "2") == 0
    text = (path / "samples-0.txt").read_text()
    assert len(text) == 2 * 16 + 2
    assert set(text) <= set(" benort\n")
    (tmp_path / "note.md").write_text("not to be")
    capsys.readouterr()
    assert command("score", str(path), "--data", str(tmp_path / "note.md")) == 0
    assert "all of" in (said := capsys.readouterr().out)
    assert "9 symbols" in said
    (tmp_path / "note.md").write_text("zzz")
    assert command("score", str(path), "--data", str(tmp_path / "note.md")) == 4


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


def test_samples_stand_beside_earlier_ones(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(run.path)
    for words in (["--label", "0"], ["--label", "0,1"], ["--label", "0"], ["--label", "1", "-n", "1"]):
        assert command("sample", folder, *words) == 0
    names = sorted(path.name for path in run.path.glob("samples-*"))
    assert names == ["samples-0-2.png", "samples-0-3.png", "samples-0.png"]  # the third call drew what stood there
    contents = [(run.path / name).read_bytes() for name in names]
    assert len(set(contents)) == 3
    assert command("sample", folder, "--label", "11") == 2
    assert "there is no class 11: this model has the classes 0 to 1" in capsys.readouterr().err
    assert command("sample", folder, "--label", "x") == 2


def test_more_steps_extend_a_run(tmp_path: Path) -> None:
    from helpers.densities import build_tiny

    from leadline.data import load

    config = TrainConfig(**{**QUICK, "steps": 4}, checkpoint_every=2, validate_every=2)
    data, how = load("digits"), {"build": build_tiny, "resume": True}
    first = train("tiny", {"width": 4}, data, config, tmp_path / "a", **how)
    longer = config.replace(steps=7)
    with pytest.raises(UsageError, match="already holds a run"):
        train("tiny", {"width": 4}, data, longer, tmp_path / "a", build=build_tiny)
    result = train("tiny", {"width": 4}, data, longer, tmp_path / "a", **how)
    assert (first.steps, result.steps, result.planned) == (4, 7, 7)
    steps = [line["step"] for line in contents(tmp_path / "a")["metrics.jsonl"]]
    assert steps == [2, 4, 6, 7]
    assert contents(tmp_path / "a")["run.json"]["extensions"] == [{"step": 4, "steps": 7}]
    assert train("tiny", {"width": 4}, data, longer, tmp_path / "a", **how) == result
    with pytest.raises(UsageError, match="its steps is 7, not 4"):
        train("tiny", {"width": 4}, data, config, tmp_path / "a", **how)
