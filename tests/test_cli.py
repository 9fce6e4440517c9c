"""The command line: what it prints, what it writes, and how every bad input ends."""

import errno
import json
import re
import shutil
import wave
from pathlib import Path

import pytest

from leadline import cli


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a tiny model, two steps old."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["train", "wavenet", "layers=1", "channels=2", "skip=2", "head=2", "--data", "tones", "--steps", "2"]
    assert run(*words, "-t", "crop=50", "-t", "validation_examples=1", "--run", str(folder)) == 0
    return folder


def test_check_prints_and_writes_the_depths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, record = tmp_path / "a.html", tmp_path / "a.json"
    words = ["check", "masked-stack", "layers=2", "channels=1", "height=4", "width=4"]
    assert run(*words, "--html", str(page), "--json", str(record), "--strict") == 0
    assert "2 steps must follow one another" in capsys.readouterr().out
    record = json.loads(record.read_bytes())
    assert record["span"]["steps"] == 2
    assert record["settings"] == {"layers": 2, "channels": 1, "height": 4, "width": 4}
    assert record["command"].startswith("leadline check masked-stack layers=2")
    assert page.read_bytes().startswith(b"<!doctype html>")


def test_json_to_standard_output_is_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "chain", "layers=3", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "chain"


def test_a_leak_is_an_exit_code_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "leaky.py").write_text(
        "import torch\n\ndef build():\n    return torch.nn.Conv1d(1, 1, 3, padding=1), torch.zeros(2, 1, 8)\n"
    )
    words = ["check", f"{tmp_path / 'leaky.py'}:build", "--layout", "b c t -> b v t", "--position", "3"]
    assert run(*words) == 0
    assert run(*words, "--strict") == 1
    printed = capsys.readouterr().out
    assert "leaks: an output looks 1 position ahead" in re.sub(r"\s+", " ", printed)
    assert "confirmed" in printed
    assert run(*words, "--full") == 0
    assert "confirmed by perturbation" in re.sub(r"\s+", " ", capsys.readouterr().out)


def test_a_run_is_sampled_scored_and_resumed(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("sample", str(trained), "-n", "1", "--length", "20", "--out", str(tmp_path / "a.wav")) == 0
    assert (tmp_path / "a.wav").stat().st_size > 40
    assert run("score", str(trained), "--part", "validation") == 0
    assert "bits/dim" in capsys.readouterr().out


BAD_WORDS = [
    (["nosuch"], 2, "No such command 'nosuch'"),
    (["check"], 2, "Missing argument 'MODEL'"),
    (["check", "pixelcn"], 2, "did you mean 'pixelcnn'"),
    (["check", "pixelcnn", "layrs=3"], 2, "did you mean 'layers'"),
    (["check", "pixelcnn", "layers=none"], 2, "layers must be an integer"),
    (["check", "chain", "--position", "x"], 2, "'x' is not a position"),
    (["check", "absent.py:build"], 2, "there is no file absent.py"),
    (["train", "pixelcnn", "--data", "digts"], 2, "did you mean 'digits'"),
    (["train", "pixelcnn", "--data", "digits", "--recipe", "dmo"], 2, "did you mean 'demo'"),
    (["train", "pixelcnn", "--data", "digits", "--steps", "1", "-t", "lrr=3"], 2, "did you mean 'lr'"),
    (["train", "pixelcnn", "--data", "digits", "--steps", "1", "-d", "binarse=fixed"], 2, "did you mean 'binarise'"),
    (["train", "pixelcnn", "--data", "digits", "--steps", "1", "-t", "lr=high"], 2, "lr must be a number, got 'high'"),
    (["train", "pixelcnn", "--data", "digits", "--steps", "1", "-t", "device=tpu"], 2, "got 'tpu'"),
    (["train", "pixelcnn", "--data", "digits", "--steps", "1", "-d", "levels=x"], 2, "an integer or None, got 'x'"),
    (["train", "pixelcnn", "--data", "digits", "--steps", "1", "-d", "seed=-1"], 2, "from 0 to 2.64 - 1, got -1"),
    (["train", "chain", "--data", "digits", "--steps", "1"], 2, "choose a density model"),
    (["train", "pixelcnn", "--data", "tones", "--steps", "1"], 2, "2 position axes; tones is audio, which has 1"),
    (["check", "dilated-stack", "layers=1", "--position", "99"], 3, "there is no place 99 along 't'"),
    (["check", "dilated-stack", "layers=1", "--layout", "b t"], 3, "needs exactly one '->'"),
    (["sample", "absent"], 5, "is not a run folder"),
    (["score", "absent"], 5, "is not a run folder"),
]


@pytest.mark.parametrize(
    ("words", "code", "message"), BAD_WORDS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_words_end_in_one_sentence(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "train":
        words = [*words, "--run", str(tmp_path / "run")]
    assert run(*words) == code
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert "Traceback" not in error


FACTORIES = """
import torch

def boom():
    raise ValueError("at sea")

def misfit():
    return torch.nn.Linear(3, 4), torch.zeros(2, 5)

def three():
    return 3

def leaving():
    raise SystemExit(0)

class Loud(torch.nn.Linear):
    def forward(self, x):
        print("looking at", x)
        return super().forward(x)

class Leaving(torch.nn.Linear):
    def forward(self, x):
        raise SystemExit(0)

class Interrupted(torch.nn.Linear):
    def forward(self, x):
        raise KeyboardInterrupt

def loud():
    print("making a model")
    return Loud(3, 4), torch.zeros(2, 5, 3)

def left():
    return Leaving(3, 4), torch.zeros(2, 5, 3)

def interrupted():
    return Interrupted(3, 4), torch.zeros(2, 5, 3)

def good(width=4):
    return torch.nn.GRU(3, width, batch_first=True), torch.zeros(2, 5, 3)
"""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["boom"], 3, r"raised ValueError: at sea \(.*factories.py:5\)"),
        (["misfit"], 3, r"Linear raised RuntimeError on inputs of shape \[\(2, 5\)\]"),
        (["leaving"], 3, r"raised SystemExit: 0 \(.*factories.py:14\)"),
        (["left"], 3, r"Leaving raised SystemExit on inputs of shape \[\(2, 5, 3\)\]"),
        (["three"], 3, "returned int; a factory returns the model and its example inputs"),
        (["god"], 2, "has no function 'god'; did you mean 'good'"),
        (["good", "widht=3"], 2, "has no setting 'widht'; did you mean 'width'"),
        (["boom", "width=3"], 2, "has no setting 'width'; it takes none"),
    ],
)
def test_factories_that_fail_end_in_one_sentence(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "factories.py").write_text(FACTORIES)
    assert run("check", f"{tmp_path / 'factories.py'}:{words[0]}", *words[1:]) == code
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1


def test_an_interruption_within_a_model_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "factories.py").write_text(FACTORIES)
    assert run("check", f"{tmp_path / 'factories.py'}:interrupted") == 130
    assert capsys.readouterr().err.strip() == "leadline: interrupted"


@pytest.mark.parametrize("words", [["check"], ["law", "width=1..2"]])
def test_what_a_model_prints_is_not_the_report(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "factories.py").write_text(FACTORIES.replace("def loud()", "def loud(width=1)"))
    command, *sizes = words
    run(command, f"{tmp_path / 'factories.py'}:loud", *sizes, "--layout", "b t c -> b t v", "--json", "-")
    printed = capsys.readouterr()
    assert json.loads(printed.out)
    assert "making a model" in printed.err
    assert "looking at" in printed.err


@pytest.mark.parametrize(
    ("frames", "message"), [(b"", "is empty"), (bytes(1600), "is silent"), (None, "cannot be read")]
)
def test_wavs_without_sound_are_named(
    frames: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(3):
        path = tmp_path / f"{index}.wav"
        path.write_bytes(b"RIFF")
        if frames is not None:
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(frames)
    assert run("train", "wavenet", "--data", str(tmp_path), "--steps", "1", "--run", str(tmp_path / "run")) == 4
    assert re.search(f"0.wav {message}", capsys.readouterr().err)


def test_an_empty_folder_of_wavs_is_a_data_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "wavenet", "--data", str(tmp_path), "--steps", "1", "--run", str(tmp_path / "run")) == 4
    assert "holds no files that are read: sounds, pictures or texts" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "pickle", "foreign"])
def test_a_damaged_checkpoint_is_refused(
    damage: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    checkpoint = folder / "checkpoint.safetensors"
    contents = {"truncated": checkpoint.read_bytes()[:-7], "pickle": b"\x80\x02}q\x00.", "foreign": b"{}"}
    checkpoint.write_bytes(contents[damage])
    assert run("score", str(folder)) == 5
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_result_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    (folder / "result.json").write_text("{}")
    assert run("score", str(folder)) == 5
    assert "result.json is damaged" in capsys.readouterr().err


def test_counterexamples_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("leadline.files.writing.os.fsync", full)
    assert run("claims", "A4", "--counterexamples", str(tmp_path)) == 7
    assert "could not be written: No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_bug_is_reported_with_a_file_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("leadline.audit.named_model.find_model", None)
    assert run("check", "chain") == 70
    error = capsys.readouterr().err
    (path,) = re.findall(r"with (\S+\.txt)", error)
    assert "TypeError: 'NoneType' object is not callable" in Path(path).read_text(encoding="utf-8")
    Path(path).unlink()


def test_a_layout_error_is_said_once_and_what_it_proposes_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "strided.py").write_text(
        "import torch\n\ndef build():\n    return torch.nn.Conv1d(3, 5, 3, stride=2), torch.zeros(2, 3, 9)\n"
    )
    words = ["check", f"{tmp_path / 'strided.py'}:build", "--only", "causality,context,span"]
    assert run(*words) == 3
    printed = re.sub(r"\s+", " ", re.sub(r"unknown\s*\n", "\n", capsys.readouterr().out))
    assert printed.count("have no usual reading") == 1
    (proposed,) = re.findall(r"--layout '(.*?)'", printed)
    assert run(*words, "--layout", proposed) == 0
    assert run(*words, "--quiet") == 3
    said = capsys.readouterr()
    assert (said.err.count("\n"), f"--layout '{proposed}'" in said.err) == (1, True)


def test_only_and_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "chain", "layers=2", "--only", "memory", "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert run("check", "chain", "layers=2", "--only", "memory, span") == 0
    printed = capsys.readouterr().out
    assert "kept for the backward pass" in printed
    assert "causality" not in printed
    assert run("check", "chain", "--only", "memry") == 2
    assert run("check", "chain", "--rate", "0") == 2


SOUND = """
import torch
from leadline.zoo import build

def wavenet(layers=2):
    return build("wavenet", layers=layers, channels=3, skip=3, head=3, classes=8, length=40)

def words():
    return build("wavenet", layers=2, channels=3, skip=3, head=3, classes=8, length=40, lag=0)

def amplifier():
    return torch.nn.Conv1d(1, 1, 1), torch.zeros(1, 1, 9)
"""


def test_sound_is_drawn_from_a_model_of_the_user_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(SOUND)
    for factory in ("wavenet", "words"):
        out = tmp_path / f"{factory}.wav"
        words = ["sample", f"{tmp_path / 'mine.py'}:{factory}", "-n", "1", "--length", "30", "--backend", "torch"]
        assert run(*words, "--wav", str(out), "--rate", "8000") == 0
        with wave.open(str(out)) as sound:
            assert (sound.getframerate(), sound.getnframes()) == (8000, 30)
        assert "wav: 1 sample in" in capsys.readouterr().out
    mine = f"{tmp_path / 'mine.py'}:"
    for words, says in (
        ([mine + "wavenet"], "say where the sound goes"),
        ([mine + "wavenet", "--wav", "a.wav", "--keep", "0.5"], "are for runs"),
        ([mine + "amplifier", "--wav", str(tmp_path / "a.wav"), "--layout", "b c t -> b v t"], "reads classes"),
        ([mine + "wavenet", "--wav", str(tmp_path / "a.png")], "go to .wav or .flac or .npy files"),
    ):
        assert run("sample", *words) == 2
        assert says in capsys.readouterr().err
