"""A run is a transaction: one process at a time, its folder whole whatever stops it, no change under it unnoticed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import readers
from helpers.densities import build_tiny
from helpers.folders import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.cli import main
from leadline.data import Dataset, Split, load
from leadline.errors import CheckpointError, DataError, Diverged, InUse, ModelError, UsageError
from leadline.files.temporary import replacing
from leadline.training import RunFolder, RunResult, TrainConfig, load_checkpoint, load_run, train
from leadline.training.session import Session
from leadline.zoo import Specimen

DIGITS = load("digits")
FEW = {
    name: Split(part.examples[:12], part.labels[:12])
    for name in ("validation", "test")
    if (part := getattr(DIGITS, name))
}
DATA = dataclasses.replace(DIGITS, **FEW)
CONFIG = TrainConfig(steps=8, batch=4, warmup=2, validate_every=3, checkpoint_every=4, threads=1, device="cpu")


def run(path: Path, config: TrainConfig = CONFIG, data: Dataset = DATA, **how: object) -> RunResult:
    how = {"resume": True, "build": build_tiny, **how}
    return train("tiny", {"width": 4}, data, config, path, **how)


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it."""


def killed_at(path: Path, step: int, config: TrainConfig = CONFIG) -> None:
    real = Session.step

    def fatal(self: Session) -> None:
        if self.state.step == step:
            raise Killed
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "step", fatal)
        with pytest.raises(Killed):
            run(path, config)


@settings(max_examples=5)
@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(0, 7), min_size=1, max_size=3).map(sorted))
def test_the_whole_folder_is_that_of_a_run_never_stopped(
    tmp_path_factory: pytest.TempPathFactory, validate: int, save: int, stops: list[int]
) -> None:
    folder, config = tmp_path_factory.mktemp("t"), CONFIG.replace(validate_every=validate, checkpoint_every=save)
    run(folder / "whole", config)
    for step in stops:
        killed_at(folder / "broken", step, config)
    run(folder / "broken", config)
    assert contents(folder / "whole") == contents(folder / "broken")
    steps = [line["step"] for line in contents(folder / "broken")["metrics.jsonl"]]
    assert steps == sorted({*range(validate, 9, validate), 8})


@pytest.mark.parametrize("torn", [b'{"step": 3, "tra', b"\0" * 40, b'{"step": 3}\n{"step": 3}\n', None])
def test_no_line_of_the_log_makes_a_run_unresumable(torn: bytes | None, tmp_path: Path) -> None:
    run(tmp_path / "whole")
    killed_at(tmp_path / "r", 5)
    log = tmp_path / "r" / "metrics.jsonl"
    log.unlink() if torn is None else log.write_bytes(log.read_bytes() + torn)
    run(tmp_path / "r")
    assert contents(tmp_path / "whole") == contents(tmp_path / "r")


@pytest.mark.parametrize("resume", [False, True])
def test_of_two_runs_in_one_folder_the_second_is_refused(
    resume: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r"
    if resume:
        killed_at(path, 5)
    before = contents(path)
    with RunFolder(path).held():
        with pytest.raises(InUse, match="another process is training in it"):
            run(path, resume=resume)
        with pytest.raises(SystemExit) as stop:
            main(["train", "chain", "--data", "digits", "--steps", "1", "--run", str(path), *["--resume"] * resume])
        assert stop.value.code == 8
        assert capsys.readouterr().err.count("\n") == 1
    assert contents(path) == before
    run(path)


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    acquire = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
    script = acquire + "print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script, str(tmp_path / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(InUse):
            run(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert run(tmp_path).steps == 8


def test_samples_are_drawn_beside_a_run_that_goes_on(tmp_path: Path) -> None:
    path, left = readers.folder_of_run(tmp_path / "r"), f".leadline-{'a' * 16}.tmp"
    with RunFolder(path).held(), replacing(path / "other") as (_, written):
        (path / left).write_bytes(b"half a picture")
        with pytest.raises(SystemExit) as stop:
            main(["sample", str(path), "-n", "1", "--length", "3", "--naive"])
        assert not stop.value.code
        assert written.exists()
    names = {file.name for file in path.iterdir()}
    assert "samples-0.wav" in names
    assert left not in names


@pytest.mark.slow
def test_a_run_is_read_beside_its_training(tmp_path: Path) -> None:
    """Whoever reads while checkpoints are replaced as fast as they can be gets a whole one, newer and newer."""
    code = "import sys; from pathlib import Path; from test_transaction import CONFIG, run; "
    code += "run(Path(sys.argv[1]), CONFIG.replace(steps=200, checkpoint_every=1, validate_every=50))"
    words, steps = [sys.executable, "-c", code, str(tmp_path / "r")], []
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}) as training:
        while training.poll() is None:
            if (tmp_path / "r" / "checkpoint.safetensors").exists():
                load_run(tmp_path / "r", build=build_tiny)
                steps.append(load_checkpoint(tmp_path / "r" / "checkpoint.safetensors")[1]["step"])
    assert training.returncode == 0
    assert steps == sorted(steps)
    assert len(set(steps)) > 20


def changed(data: Dataset) -> Dataset:
    examples = data.train.examples.clone()
    examples[-1, -1, -1] ^= 1
    return dataclasses.replace(data, train=Split(examples, data.train.labels))


def test_changed_data_is_refused(tmp_path: Path) -> None:
    killed_at(tmp_path / "r", 5)
    before = contents(tmp_path / "r")
    with pytest.raises(DataError, match=r"the content of digits is not what .* was trained on: its digest is"):
        run(tmp_path / "r", data=changed(DATA))
    assert contents(tmp_path / "r") == before
    with pytest.raises(DataError, match="the content of digits"):
        load_run(tmp_path / "r", build=build_tiny).dataset()  # the whole set, not the few that were trained on


@settings(max_examples=30)
@given(st.data())
def test_a_digest_tells_every_symbol_and_label(drawn: st.DataObject) -> None:
    clip = st.lists(st.integers(0, 3), min_size=1, max_size=5)
    clips = st.lists(clip, min_size=1, max_size=3)
    parts, other = (drawn.draw(st.tuples(clips, clips, clips)) for _ in range(2))
    labels = drawn.draw(st.sampled_from([None, 0, 1]))

    def dataset(parts: tuple[list[list[int]], ...], label: int | None) -> Dataset:
        tensors = [tuple(map(torch.tensor, part)) for part in parts]
        splits = [Split(part, None if label is None else torch.full((len(part),), label)) for part in tensors]
        return Dataset("made", "audio", *splits, levels=4, licence="none", division="as given")

    assert (dataset(parts, labels).digest == dataset(other, labels).digest) == (parts == other)
    assert (dataset(parts, labels).digest == dataset(parts, 1).digest) == (labels == 1)


def test_another_torch_is_refused_unless_allowed_and_then_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(tmp_path / "r", 5)
    before = contents(tmp_path / "r")
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    with pytest.raises(UsageError, match=r"its torch was \S+ and is 2\.99\.0; .*--allow-changes"):
        run(tmp_path / "r")
    assert contents(tmp_path / "r") == before
    run(tmp_path / "r", allow_changes=True)
    stays = json.loads((tmp_path / "r" / "run.json").read_text())["environments"]
    assert [(stay["step"], stay["environment"]["torch"]) for stay in stays][1:] == [(4, "2.99.0")]


def test_a_run_keeps_the_number_of_threads_that_it_began_with(tmp_path: Path) -> None:
    config, number = dataclasses.replace(CONFIG, threads=None), torch.get_num_threads()
    run(tmp_path / "whole", config)
    killed_at(tmp_path / "r", 5, config)
    torch.set_num_threads(number + 1)
    try:
        run(tmp_path / "r", config)
        assert torch.get_num_threads() == number + 1
    finally:
        torch.set_num_threads(number)
    assert contents(tmp_path / "whole") == contents(tmp_path / "r")
    with pytest.raises(UsageError, match="its threads is None, not 2"):
        run(tmp_path / "r", dataclasses.replace(config, threads=2))
    with pytest.raises(UsageError, match="threads must be at most 1024"):
        CONFIG.replace(threads=100_000)


def not_finite(name: str, **settings: object) -> Specimen:
    specimen = build_tiny(name, **settings)
    torch.nn.init.constant_(specimen.model.out.bias, float("nan"))
    return specimen


def misshapen(name: str, **settings: object) -> Specimen:
    specimen = build_tiny(name, **settings)
    specimen.model.register_forward_hook(lambda _, __, logits: logits[..., :-1])
    return specimen


def broken(name: str, **settings: object) -> Specimen:
    raise ZeroDivisionError(name, settings)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"minutes": 1e-6, "steps": None}, UsageError),
        ({"turn": 1.0, "steps": 8}, UsageError),
        ({"build": not_finite}, Diverged),
        ({"build": misshapen}, ModelError),
        ({"build": broken}, ZeroDivisionError),
    ],
)
def test_a_refused_run_leaves_the_folder_as_it_was(
    change: dict, error: type[Exception], there: bool, tmp_path: Path
) -> None:
    outer = tmp_path / "runs"
    if there:
        (outer / "r").mkdir(parents=True)
    oblong = dataclasses.replace(DATA, train=Split(DATA.train.examples[:, :4]), shape=(4, 8))  # cannot be turned
    how = {"build": change["build"]} if "build" in change else {}
    config = CONFIG if how else dataclasses.replace(CONFIG, **change)
    with pytest.raises(error):
        run(outer / "r", config, oblong if "turn" in change else DATA, resume=False, **how)
    assert outer.exists() == there
    assert not there or list((outer / "r").iterdir()) == []
    run(outer / "r", resume=False)  # nothing blocks the next one


def test_parts_of_other_runs_are_refused(tmp_path: Path) -> None:
    killed_at(tmp_path / "r", 5)
    killed_at(tmp_path / "other", 5, dataclasses.replace(CONFIG, seed=1))
    checkpoint, own = ((tmp_path / name / "checkpoint.safetensors") for name in ("other", "r"))
    own.write_bytes(checkpoint.read_bytes())
    with pytest.raises(CheckpointError, match="belongs to another run"):
        run(tmp_path / "r")
    for name in ("checkpoint.safetensors", "metrics.jsonl", "result.json"):
        lone = tmp_path / name.split(".")[0]
        lone.mkdir()
        (lone / name).write_bytes(b"")
        with pytest.raises(CheckpointError, match=rf"holds {name} of a run, but no run\.json"):
            run(lone)
        assert [file.name for file in lone.iterdir()] == [name]
