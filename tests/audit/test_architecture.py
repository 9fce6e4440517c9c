"""`leadline law`: which sizes vary, what is printed and written, and how bad words end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leadline import cli
from leadline.audit.architecture import find_architecture
from leadline.errors import UsageError


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_letters_stand_for_the_settings_of_the_zoo() -> None:
    architecture = find_architecture("grid-rnn", ["k=1..3", "layers=2"])
    assert architecture.sizes == {"k": (1, 2, 3), "H": (8, 11), "W": (8, 11)}
    config = architecture.make(k=3, H=5, W=4).model.config
    assert (config.inputs, config.hidden, config.layers, config.height, config.width) == (3, 3, 2, 5, 4)
    assert set(find_architecture("wavenet").sizes) == {"d", "k", "T"}
    assert find_architecture("wavenet", ["s=1,2,4", "T=30"]).sizes == {"s": (1, 2, 4)}


@pytest.mark.parametrize(
    ("word", "words", "message"),
    [
        ("pixelcn", [], "pixelcnn"),
        ("pixelcnn", ["d"], "write name=1..5"),
        ("pixelcnn", ["depth=1..3"], "no size 'depth'"),
        ("pixelcnn", ["d=4..4"], "fewer than two numbers"),
        ("pixelcnn", ["d=1..3", "layers=2"], "layers is given twice"),
        ("pixelcnn", ["d=1..3", "layers=2..4"], "layers is given twice"),
        ("pixelcnn", ["channels=0..3"], "of at least 1"),
        ("nowhere.py:make", [], "say which sizes"),
        ("nowhere.py:make", ["depth=1..3"], "no file"),
    ],
)
def test_bad_words_end_in_one_sentence(word: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_architecture(word, words).laws()


def test_laws_are_printed_with_order_status_and_region(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("law", "grid-rnn", "d=1..4", "k=2") == 0
    printed = capsys.readouterr().out
    assert "H + W + d - 2" in printed
    assert "Θ(H + W + d)" in printed
    assert "verified at d = 4, H = 11, W = 11" in " ".join(printed.split())


FACTORY = """
import torch

def make(depth, width):
    layers = [torch.nn.Linear(width, width) for _ in range(depth)]
    return torch.nn.Sequential(*layers), torch.zeros(1, 6, width)

def bent(depth):
    return make(depth, 2 if depth < 4 else 3)
"""


def test_a_factory_of_the_user_s_takes_its_sizes_as_keywords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    words = ["--layout", "b t c -> b t v", "--json", "-"]
    assert run("law", f"{tmp_path / 'mine.py'}:make", "depth=1..4", "width=1..4", *words) == 0
    record = json.loads(capsys.readouterr().out)
    found = record["laws"]["connections"]
    assert (found["formula"], found["growth"], found["status"]) == ("T·depth·width²", "Θ(T·depth·width²)", "fitted")
    assert (record["sizes"], found["checked"]) == (
        {"depth": [1, 2, 3, 4], "width": [1, 2, 3, 4]},
        [{"depth": 4, "width": 4}],
    )
    assert run("law", f"{tmp_path / 'mine.py'}:bent", "depth=1..4", *words) == 3
    assert "connections: no formula; 4·T·depth fits the small sizes, but" in capsys.readouterr().err
