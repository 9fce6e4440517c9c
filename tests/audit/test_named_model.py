"""A MODEL word becomes a model, or one clear sentence about why it does not."""

from pathlib import Path

import pytest
import torch

from leadline.audit.named_model import find_model
from leadline.errors import ModelError, UsageError

FACTORY = """
import torch
from neighbour import WIDTH

def tokens(length=4):
    return torch.nn.Embedding(7, WIDTH), (torch.zeros(1, length, dtype=torch.int64),)

def keywords():
    return torch.nn.Linear(3, 3), {"input": torch.ones(2, 3)}

def broken():
    raise RuntimeError("the weights are at sea")

def nothing():
    return 3

constant = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    path = tmp_path / "mine.py"
    path.write_text(FACTORY)
    return path


def test_a_factory_is_called_with_its_settings_and_finds_its_neighbours(file: Path) -> None:
    subject = find_model(f"{file}:tokens", ["length=6"])
    assert subject.model(*subject.inputs).shape == (1, 6, 5)


def test_keyword_inputs(file: Path) -> None:
    subject = find_model(f"{file}:keywords")
    assert subject.model(*subject.inputs, **subject.keywords).shape == (2, 3)


def test_a_module_path_works_too() -> None:
    assert find_model("leadline.zoo.chain:chain").layout == find_model("chain").layout


@pytest.mark.parametrize(
    ("word", "settings", "error", "message"),
    [
        ("{file}:broken", [], ModelError, r"RuntimeError: the weights are at sea .*mine\.py:12"),
        ("{file}:nothing", [], ModelError, "returned int; a factory returns the model and its example inputs"),
        ("{file}:tokns", [], UsageError, "no function 'tokns'; did you mean 'tokens'"),
        ("{file}:constant", [], UsageError, "no function 'constant'"),
        ("{file}:tokens", ["length"], UsageError, "'length' is not a setting; write key=value"),
        ("{file}:tokens", ["depth=3"], UsageError, "has no setting 'depth'; known: 'length'"),
        ("absent.py:f", [], UsageError, r"there is no file absent\.py"),
        ("no.such.module:f", [], UsageError, "no module 'no.such.module'"),
        ("pixelcn", [], UsageError, "did you mean 'pixelcnn'"),
    ],
)
def test_bad_words_end_in_one_sentence(
    file: Path, word: str, settings: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_model(word.format(file=file), settings)


def test_a_syntax_error_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def f(:\n")
    with pytest.raises(ModelError, match=r"importing .*wrong\.py raised SyntaxError"):
        find_model(f"{path}:f")


def test_a_specimen_keeps_its_axes() -> None:
    subject = find_model("pixelcnn")
    assert subject.layout is not None
    assert not torch.is_floating_point(subject.inputs[0])
