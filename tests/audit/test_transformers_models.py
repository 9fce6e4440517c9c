"""Architectures of `transformers` by name, configs in folders, and exported programs, as models."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, Qwen3Config

from leadline.audit._check import audit_of
from leadline.audit.named_model import find_model
from leadline.domains import causality, count
from leadline.errors import ModelError, UsageError


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Qwen3", "Qwen3ForCausalLM"),
        ("qwen3", "Qwen3ForCausalLM"),
        ("BertModel", "BertModel"),
        ("gpt2", "GPT2LMHeadModel"),
        ("WhisperForConditionalGeneration", "WhisperForConditionalGeneration"),
        ("ViTForImageClassification", "ViTForImageClassification"),
    ],
)
def test_a_name_is_the_class_and_its_model_is_small_and_runs(name: str, kind: str) -> None:
    found = find_model(f"hf-tiny:{name}")
    assert type(found.model).__name__ == kind
    assert sum(weight.numel() for weight in found.model.parameters()) < 100_000
    found.model(*found.inputs, **found.keywords)


def test_an_encoder_looks_ahead_and_a_language_model_does_not() -> None:
    verdicts = {}
    for name in ("BertModel", "Qwen3", "T5ForConditionalGeneration"):
        found = find_model(f"hf-tiny:{name}", ["length=6"])
        verdicts[name] = causality(found.model, **found.keywords, layout=found.layout).verdict.value
    assert verdicts == {"BertModel": "leak", "Qwen3": "structural", "T5ForConditionalGeneration": "finite-mask"}


def test_settings_reach_the_config_and_the_seed_the_weights() -> None:
    words = ["num_hidden_layers=3", "length=5", "batch=1"]
    first, again, other = (find_model("hf-tiny:Qwen3", [*words, f"seed={seed}"]) for seed in (0, 0, 1))
    assert len(first.model.model.layers) == 3
    assert first.keywords["input_ids"].shape == (1, 5)
    weights = [next(found.model.parameters()) for found in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_drawing_weights_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    find_model("hf-tiny:BertModel")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("word", "settings", "message"),
    [
        ("hf-tiny:Qwn3", [], "no model 'Qwn3'; did you mean 'Qwen3'"),
        ("hf-tiny:BertModl", [], "did you mean 'BertModel'"),
        ("hf-tiny:AutoModel", [], "no model 'AutoModel'"),
        ("hf-tiny:", [], "give a class, as BertModel, or its beginning, as Qwen3"),
        ("hf-tiny:Qwen3", ["num_hiden_layers=2"], "did you mean 'num_hidden_layers'"),
        ("hf-tiny:Qwen3", ["length=0"], "length must be at least 1"),
        ("hf-tiny:Qwen3", ["batch=many"], "batch must be an integer"),
        ("hf:absent", [], "there is no absent/config.json: .* downloads nothing"),
    ],
)
def test_what_is_not_known_is_refused_with_near_misses(word: str, settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_model(word, settings)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else there(name))
    with pytest.raises(UsageError, match=r"pip install 'leadline\[hf\]'"):
        find_model("hf-tiny:Qwen3")


def test_settings_that_do_not_fit_are_an_error_of_the_model() -> None:
    with pytest.raises(ModelError, match=r"Qwen3(ForCausalLM|Config)"):
        find_model("hf-tiny:Qwen3", ["num_attention_heads=3", "num_key_value_heads=2"])


def test_a_large_model_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(ModelError, match=r"parameters even with the usual sizes made small"):
        find_model("hf-tiny:BertModel", ["vocab_size=10000000000"])


def test_a_folder_has_real_sizes_without_weights(tmp_path: Path) -> None:
    config = Qwen3Config(num_hidden_layers=2, architectures=["Qwen3ForCausalLM"])
    config.save_pretrained(tmp_path)
    found = find_model(f"hf:{tmp_path}", ["length=16", "batch=1"])
    assert {weight.device.type for weight in found.model.parameters()} == {"meta"}
    d, heads, kv, width, inner = 4096, 32, 32, 128, 22016
    assert (config.hidden_size, config.num_attention_heads, config.head_dim) == (d, heads, width)
    layer = d * width * (2 * heads + 2 * kv) + 3 * d * inner
    counted = count(found.model, **found.keywords)
    assert counted.macs == 16 * (2 * layer + d * config.vocab_size) + 2 * 2 * 16**2 * heads * width
    audit = audit_of(found.reading())
    assert audit.causality.verdict == "structural"


def test_a_folder_without_architectures_is_the_usual_class_of_its_type(tmp_path: Path) -> None:
    BertConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    assert type(find_model(f"hf:{tmp_path}").model).__name__ == "BertLMHeadModel"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nosuch"}))
    with pytest.raises(ModelError, match=r"config\.json raised"):
        find_model(f"hf:{tmp_path}")
    BertConfig(architectures=[BertModel.__name__]).save_pretrained(tmp_path)
    assert find_model(f"hf:{tmp_path}").layout == {"input_ids": "b t", "last_hidden_state": "b t v"}


def test_a_folder_runs_no_code_and_its_class_is_a_name(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}')
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass")
    with pytest.raises(ModelError, match=r"config\.json raised ValueError"):
        find_model(f"hf:{tmp_path}")
    assert not (tmp_path / "ran").exists()
    config.write_text('{"model_type": "gpt2", "architectures": [5]}')
    with pytest.raises(UsageError, match="transformers has no model '5'"):
        find_model(f"hf:{tmp_path}")


def test_an_exported_program_is_a_model_with_its_inputs(tmp_path: Path) -> None:
    convolution = nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(1, 2, 3)).eval()
    x = torch.randn(2, 1, 9)
    torch.export.save(torch.export.export(convolution, (x,)), tmp_path / "causal.pt2")
    found = find_model(str(tmp_path / "causal.pt2"))
    assert found.name == "causal"
    torch.testing.assert_close(found.model(*found.inputs), convolution(x))
    audit = audit_of(found.reading(layout="b c t -> b v t"))
    assert (audit.causality.verdict, audit.causality.lag) == ("structural", 0)
    assert audit.count.connections == 2 * 2 * (9 + 8 + 7)
    with pytest.raises(UsageError, match="its sizes are those it was exported with"):
        find_model(str(tmp_path / "causal.pt2"), ["length=3"])


def test_files_that_hold_no_program_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_text("hello")
    with pytest.raises(ModelError, match="not an exported program"):
        find_model(str(tmp_path / "bad.pt2"))
    with pytest.raises(UsageError, match="there is no file"):
        find_model(str(tmp_path / "absent.pt2"))
