"""The sampler that a run keeps draws what the derived one draws, for its maker alone, and of the run as it is."""

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.audit.trained import draw, keep_usual
from leadline.cli import main
from leadline.cli.again import asked_of, drawn_again
from leadline.sampling import uniforms
from leadline.sampling.compiled.kept import NAME, USUAL, find_kept
from leadline.sampling.uniform_rows import uniform_rows
from leadline.training import Run, load_run
from leadline.training.jobs import train_by_recipe

QUICK = {"steps": 1, "batch": 3, "validation_examples": 2, "threads": 1, "device": "cpu"}
SMALL = {
    "pixelcnn": (["layers=1", "channels=4", "inner=2", "labels=10"], "digits", {}),
    "mdrnn": (["hidden=4"], "digits", {}),
    "wavenet": (["layers=2", "channels=2"], "tones", {"crop": 50}),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def trained(model: str, folder: Path) -> Run:
    words, data, training = SMALL[model]
    train_by_recipe(model, words, data, folder, training={**QUICK, **training}, options={})
    return load_run(folder)


@pytest.mark.parametrize("model", SMALL)
def test_what_is_kept_draws_what_was_derived(model: str, tmp_path: Path) -> None:
    run = trained(model, tmp_path / "run")
    label, length = ((4,) if model == "pixelcnn" else None), (30 if model == "wavenet" else None)
    asked = asked_of(run.path, 3, length=length, label=label)
    assert asked is not None
    assert find_kept(run.path, asked) is None
    first = draw(run, 3, label=label, length=length, asked=asked)
    assert first.sampler == "derived"
    for how in ({"seed": 0}, {"seed": 5, "temperature": 0.7, "top_k": 3}):
        kept = find_kept(run.path, asked)
        assert kept is not None
        drawn = kept.draw(**{"temperature": 1.0, "top_k": None, **how})
        assert torch.equal(torch.from_numpy(drawn.copy()), draw(run, 3, label=label, length=length, **how).symbols)
    for other in ((4, length, label), (3, 31, label), (3, length, (7,))):
        different = asked_of(run.path, other[0], length=other[1], label=other[2])
        assert different is not None
        assert find_kept(run.path, different) is None
    said = drawn_again(run.path, 3, asked, None, seed=1, temperature=1.0, top_k=None)
    assert said is not None
    assert "kept sampler, seed 1" in said


def test_a_sampler_of_others_or_of_another_state_is_not_read(tmp_path: Path) -> None:
    run = trained("mdrnn", tmp_path / "run")
    asked = asked_of(run.path, 2, length=None, label=None)
    assert asked is not None
    draw(run, 2, asked=asked)
    file = run.path / NAME
    whole = file.read_bytes()
    assert find_kept(run.path, asked) is not None
    rng = np.random.default_rng(0)
    for place in [0, 31, 32, 40, len(whole) - 1, *rng.integers(0, len(whole), 40).tolist()]:
        spoilt = bytearray(whole)
        spoilt[place] ^= 1
        file.write_bytes(bytes(spoilt))
        assert find_kept(run.path, asked) is None
    for content in (b"", whole[:-1], whole + b"\0", os.urandom(100)):
        file.write_bytes(content)
        assert find_kept(run.path, asked) is None
    file.write_bytes(whole)
    key = tmp_path / "cache" / "leadline" / "seal" / "key"
    assert key.parent.stat().st_mode & 0o077 == 0
    mine = key.read_bytes()
    key.write_bytes(bytes(32))  # what another user has
    assert find_kept(run.path, asked) is None
    key.write_bytes(mine)
    assert find_kept(run.path, asked) is not None
    key.parent.chmod(0o755)  # others might have put a key of theirs there
    assert find_kept(run.path, asked) is None
    key.parent.chmod(0o700)
    checkpoint = run.path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")
    assert asked_of(run.path, 2, length=None, label=None) != asked
    checkpoint.unlink()
    assert asked_of(run.path, 2, length=None, label=None) is None


def test_a_picture_is_drawn_again_without_torch(tmp_path: Path) -> None:
    run = trained("mdrnn", tmp_path / "run")
    asked = asked_of(run.path, 16, length=None, label=None)
    drawn = draw(run, 16, asked=asked)
    code = (
        "import sys; from leadline.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    words = [sys.executable, "-c", code, "sample", str(run.path), "--out", str(tmp_path / "a.png")]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"kept sampler" in done.stdout
    from leadline.report.exports import write_samples

    assert (tmp_path / "a.png").read_bytes() == write_samples(drawn, tmp_path / "b.png").read_bytes()


def test_uniforms_are_the_same_with_and_without_torch() -> None:
    assert np.array_equal(uniforms(3, 4, 9, first=2).numpy(), uniform_rows(3, 4, 9, first=2))
    assert uniforms(3, 0, 9).shape == (0, 9)


def test_the_command_that_trains_leaves_a_sampler_for_the_first_drawing(tmp_path: Path) -> None:
    words = ["train", "mdrnn", "hidden=4", "--data", "digits", "--steps", "1", "--run", str(tmp_path / "run")]
    quick = [word for name in ("batch=3", "validation_examples=2", "threads=1", "device=cpu") for word in ("-t", name)]
    with pytest.raises(SystemExit, match="0"):
        main([*words, *quick])
    asked = asked_of(tmp_path / "run", USUAL, length=None, label=None)
    assert asked is not None
    kept = find_kept(tmp_path / "run", asked)
    assert kept is not None
    drawn = kept.draw(seed=2, temperature=1.0, top_k=None)
    assert torch.equal(torch.from_numpy(drawn.copy()), draw(load_run(tmp_path / "run"), USUAL, seed=2).symbols)
    keep_usual(tmp_path / "none")  # what has no sampler keeps none, and says nothing
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_the_first_picture_takes_no_more_than_one_and_a_half_times_loading_torch(tmp_path: Path) -> None:
    """In CPU seconds, taken in turns; those of the drawing itself, a few tenths here, count with the rest."""
    words = ["train", "pixelcnn", "layers=2", "channels=16", "inner=8", "--data", "digits", "--steps", "1"]
    leadline = (sys.executable, "-m", "leadline")
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([*leadline, *words, "--run", str(tmp_path / "run")], env=where, check=True, capture_output=True)
    spent: dict[str, list[float]] = {"torch": [], "sample": []}
    for turn in range(5):
        out = ("--out", str(tmp_path / f"{turn}.png"))
        for name, call in (
            ("torch", [sys.executable, "-c", "import torch"]),
            ("sample", [*leadline, "sample", str(tmp_path / "run"), *out]),
        ):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(call, env=where, check=True, capture_output=True, text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "kept sampler" in done.stdout
    assert statistics.median(spent["sample"]) < 1.5 * statistics.median(spent["torch"]), spent
