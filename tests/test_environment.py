"""The command line's exit codes and streams: closed pipes, full outputs, odd encodings, models that print or leave."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from helpers import readers
from helpers.processes import ended

from leadline import cli
from leadline.report.html.vega import scripts

CHAIN = ("check", "chain", "layers=3")
EXTRAS = {"accelerate", "safetensors", "sklearn", "PIL", "soundfile", "vl_convert", "numba", "llvmlite"} | {
    "pyarrow",
    "distributed",
    "lightning",
}


@pytest.fixture(autouse=True, scope="module")
def _warm() -> None:
    """What a command imports is imported here, once, and not in every process that is forked."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), pytest.raises(SystemExit):
        cli.main([*CHAIN])


def test_a_closed_pipe_is_not_a_leak(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [*CHAIN, "--strict", "--json", "result.json"]
    code, _, error = ended(*words, folder=tmp_path, stdout=writing)
    os.close(writing)
    assert (code, error) == (141, "leadline: written: result.json\n".removeprefix("leadline: "))
    assert json.loads((tmp_path / "result.json").read_bytes())["name"] == "chain"  # files come first


def test_help_into_a_closed_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert ended("--help", folder=tmp_path, stdout=writing)[0] == 141
    os.close(writing)


@pytest.mark.parametrize("words", [CHAIN, (*CHAIN, "--json", "-"), (*CHAIN, "--json", "/dev/full"), ("--help",)])
def test_a_full_output_is_a_refused_write(words: tuple[str, ...], tmp_path: Path) -> None:
    code, _, error = ended(*words, folder=tmp_path, stdout="/dev/full")
    assert code == 7
    assert re.fullmatch(r"leadline: .* could not be written: No space left on device\n", error), error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_any_encoding_will_do(encoding: str, tmp_path: Path) -> None:
    code, out, _ = ended("check", "masked-stack", "layers=1", folder=tmp_path, encoding=encoding)
    assert code == 0
    assert "causality" in out
    code, out, _ = ended(*CHAIN, "--json", "-", folder=tmp_path, encoding=encoding)
    assert json.loads(out)["name"] == "chain"
    assert ended("check", "pïxelcnn", folder=tmp_path, encoding=encoding)[0] == 2


FACTORIES = """
from __future__ import annotations
import atexit, os, sys
from dataclasses import dataclass
import torch
from torch import nn
{more}

@dataclass
class Config:
    width: int = 4

def made():
    return nn.GRU(3, Config().width, batch_first=True), torch.zeros(2, 5, 3)
"""


def factory(folder: Path, body: str, more: str = "", name: str = "mine.py") -> str:
    """Write a file with a factory whose body is given; return its name as a model."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    text = FACTORIES.replace("{more}", more) + f"\ndef build():\n{lines}    return made()\n"
    (folder / name).write_text(text)
    return f"{folder / name}:build"


def test_whatever_a_factory_prints_the_json_stays_json(tmp_path: Path) -> None:
    body = """\
print("one")
os.write(1, b"two\\n")
sys.__stdout__.write("three\\n")
os.system("echo four")
atexit.register(lambda: print("five"))"""
    code, out, error = ended("check", factory(tmp_path, body), "--json", "-", folder=tmp_path)
    assert code == 0
    assert json.loads(out)["memory"]["parameters"] == 432  # a build for accelerators lets no fork differentiate
    assert {"one", "two", "three", "four", "five"} <= set(error.split())


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("sys.exit(0)", 3, "raised SystemExit: 0"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("raise GeneratorExit", 3, "raised GeneratorExit"),
        ("class Odd(BaseException): pass\nraise Odd('at sea')", 3, "raised Odd: at sea"),
        ("raise ValueError('\\x1b[31mred\\x9b0m')", 3, "raised ValueError: �\\[31mred�0m"),
        ("torch.set_default_device('meta')", 0, ""),
        ("return nn.Linear(10**9, 10**9), torch.zeros(1)", 3, "allocate"),
    ],
)
def test_what_a_factory_raises_is_its_own(body: str, code: int, said: str, tmp_path: Path) -> None:
    found, out, error = ended("check", factory(tmp_path, body), "--strict", folder=tmp_path)
    assert found == code
    assert re.search(said, error), error
    assert len(error.splitlines()) <= (2 if code == 130 else 1)  # click ends the line of a ^C
    assert bool(out) == (not said)


def test_what_a_factory_does_to_the_process_is_put_back(tmp_path: Path) -> None:
    word = factory(tmp_path, "os.chdir('/')\nsys.path.clear()\nos.umask(0o77)")
    code, _, error = ended("check", word, "--json", "own.json", "--html", "own.html", folder=tmp_path)
    assert (code, error) == (0, "written: own.json\nwritten: own.html\n")
    assert json.loads((tmp_path / "own.json").read_bytes())["memory"]["parameters"] == 432


@pytest.mark.parametrize(("closed", "code"), [("sys.stdout", 0), ("sys.__stdout__", 7), ("sys.stderr", 0)])
def test_a_factory_that_closes_streams_is_no_bug(closed: str, code: int, tmp_path: Path) -> None:
    found, out, error = ended("check", factory(tmp_path, f"{closed}.close()"), folder=tmp_path)
    assert (found, bool(out)) == (code, code == 0), error


HOOKS = {
    "cyclic": ("model = nn.Sequential(nn.Linear(3, 3))\nmodel[0].parent = model\n"
               "return model, torch.zeros(2, 5, 3)", ""),
    "hook": ("def hook(*_): raise ValueError('at sea')\nmodel = nn.Linear(3, 3)\nmodel.register_forward_hook(hook)\n"
             "return model, torch.zeros(2, 5, 3)", "at sea"),
    "leaving hook": ("model = nn.Linear(3, 3)\nmodel.register_forward_pre_hook(lambda *_: sys.exit(0))\n"
                     "return model, torch.zeros(2, 5, 3)", "SystemExit"),
    "parameters": ("class M(nn.Linear):\n    def parameters(self, recurse=True): raise ValueError('none')\n"
                   "return M(3, 3), torch.zeros(2, 5, 3)", "ValueError: none"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOOKS)
def test_odd_modules_are_reported_or_refused(name: str, tmp_path: Path) -> None:
    body, said = HOOKS[name]
    code, _, error = ended("check", factory(tmp_path, body), "--layout", "b t c -> b t v", folder=tmp_path)
    assert code == (3 if said else 0), error
    assert said in error


def test_files_import_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "far.py").write_text("import torch\n")
    (tmp_path / "near.py").write_text("width = 4\n")
    plain = factory(
        tmp_path, "import near\nimport far", f"sys.path.insert(0, {str(tmp_path / 'lib')!r})\nfrom . import near"
    )
    package = tmp_path / "package" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package.parent / "common.py").write_text("width = 4\n")
    inside = factory(package, "", "from ..common import width\nimport package.common")
    rebinding = factory(tmp_path, "", "sys.path = list(sys.path)[1:]", "rebinding.py")
    for word in (plain, inside, rebinding):
        code, out, error = ended("check", word, folder=tmp_path)
        assert (code, error) == (0, ""), word
        assert out


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["train", "wavenet", "--data", "tones", "--steps", "1"], "train"),
        (["train", "pixelcnn", "--data", "digits", "--steps", "1"], "train"),
        (["train", "wavenet", "--data", "sounds", "--steps", "1"], "train"),
        (["train", "pixelcnn", "--data", "pictures", "--steps", "1"], "train"),
        (["check", "chain", "--html", "a.html"], "report"),
        (["check", "masked-stack", "layers=1", "--html", "a.html"], "report"),
        (["sample", "run"], "train"),
        (["score", "run"], "train"),
    ],
)
def test_a_missing_extra_is_named(words: list[str], extra: str, tmp_path: Path) -> None:
    for kind, suffix in (("sounds", "wav"), ("pictures", "png")):
        (tmp_path / kind).mkdir()
        for index in range(3):
            (tmp_path / kind / f"{index}.{suffix}").touch()
    if words[1] == "run":
        (tmp_path / "run").mkdir()
        for name, content in readers.trained()[0].items():
            (tmp_path / "run" / name).write_bytes(content)
    code, _, error = ended(*words, folder=tmp_path, without=EXTRAS, before=scripts.cache_clear)
    assert (code, error.count("\n")) == (2, 1), error
    assert f"pip install 'leadline[{extra}]'" in error


def test_nothing_is_missing_where_no_extra_is_needed(tmp_path: Path) -> None:
    assert ended(*CHAIN, folder=tmp_path, without=EXTRAS)[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        (*CHAIN, "--seed", "-1"),
        (*CHAIN, "--seed", str(2**64)),
        ("check", "chain", f"seed={2**64}"),
        ("check", "wavenet", f"channels={2**62}"),
        ("check", "a" * 300),
        ("check", "a" * 300 + ".py:build"),
        ("sample", "run", "--length", "0"),
        ("sample", "run", "-n", "0"),
        ("sample", "run", "--top-k", "0"),
        ("sample", "run", "--seed", str(2**64)),
        *(
            ("train", "wavenet", "--data", "tones", "-d", word)
            for word in ("levels=0", "limit=-1", "length=1", "clips=0")
        ),
        ("train", "wavenet", "--data", "tones", "--steps", "1", "--seed", "-1"),
        ("train", "wavenet", "--data", "tones", "--steps", "1", "-t", f"seed={2**64}"),
        ("train", "wavenet", "--data", "tones", "--steps", "0"),
        ("train", "wavenet", "--data", "a" * 300, "--steps", "1"),
        ("train", "wavenet", "--data", "tones", "--steps", "1", "--run", ""),
        ("claims", "A1", "--counterexamples", ""),
        ("score", ""),
        ("compare", "chain", ""),
        ("law", "chain", "d=1..1000000000000"),
        (*CHAIN, "--rate", "nan"),
        (*CHAIN, "--rate", "inf"),
        (*CHAIN, "--only", ","),
        (*CHAIN, "--html", "."),
        (*CHAIN, "--html", ""),
        (*CHAIN, "--json", "/"),
    ],
    ids=lambda words: " ".join(word[:20] for word in words),
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    code, _, error = ended(*words, folder=tmp_path)
    assert (code, error.count("\n")) == (2, 1), error


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("train", "wavenet", "--data", "tones", "--steps", "1", "--run", "a" * 300), 7),
        (("sample", "a" * 300), 5),
        (("score", "a" * 300), 5),
        (("check", "a" * 300 + ".pt2"), 2),
        (("check", "hf:" + "a" * 300), 2),
        ((*CHAIN, "--budget", "a" * 300 + ".toml"), 2),
        ((*CHAIN, "--write-test", "a" * 300), 7),
        (("claims", "A4", "--html", "a" * 300), 7),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else " ".join(word[:20] for word in value),
)
def test_names_that_are_too_long_are_one_sentence(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    found, _, error = ended(*words, folder=tmp_path)
    assert (found, error.count("\n")) == (code, 1), error


def test_limits_of_seeds_are_taken(tmp_path: Path) -> None:
    assert ended(*CHAIN, "--seed", str(2**64 - 1), folder=tmp_path)[0] == 0


def test_a_device_as_target_stays_one(tmp_path: Path) -> None:
    code, out, _ = ended(*CHAIN, "--json", "/dev/stdout", folder=tmp_path)
    assert code == 0
    assert '"name": "chain"' in out
    assert ended(*CHAIN, "--json", "/dev/null", "--html", "/dev/null", folder=tmp_path)[0] == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                                         {"PYTHONIOENCODING": "ascii"}])  # fmt: skip
def test_a_process_in_a_pipeline(environment: dict[str, str], tmp_path: Path) -> None:
    """The real thing, in a shell."""
    leadline = f"{sys.executable} -c 'from leadline.cli import main; main()'"
    script = f"{leadline} check masked-stack layers=1 --strict | true; echo ${{PIPESTATUS[0]}}"
    script += f"; {leadline} check chain >&-; echo $?; {leadline} check chain >/dev/full 2>&1; echo $?"
    script += f"; {leadline} check chain | tail -1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["141", "0", "7", "0"], done.stderr
