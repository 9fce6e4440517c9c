"""The example scripts run as they stand, and print what they promise."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_an_own_density_is_certified_and_sampled(monkeypatch, capsys):
    printed = run("own_density.py", "--steps", "2", monkeypatch=monkeypatch, capsys=capsys)
    assert "causality: structural, lag 1" in printed
    assert "bits a pixel" in printed
    assert "fronts draw 64 pixels" in printed


def test_sound_streams_block_by_block(monkeypatch, capsys):
    assert "25 blocks of 160 samples" in run("live_sound.py", monkeypatch=monkeypatch, capsys=capsys)


def test_a_decoder_is_causal_and_an_encoder_is_not(monkeypatch, capsys):
    printed = run("audit_decoder.py", monkeypatch=monkeypatch, capsys=capsys)
    assert "LlamaModel: structural, lag 0" in printed
    assert "BertModel: leak" in printed
    assert "confirmed by perturbation" in printed
