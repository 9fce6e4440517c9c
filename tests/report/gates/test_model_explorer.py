"""Node data for Model Explorer: figures by the names of a program's nodes, which sum to what the model's audit says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import validate
from torch import nn
from torch.export import ExportedProgram

import leadline
from leadline import cli
from leadline.audit.by_node import LEAK, exported, measures
from leadline.errors import TraceError, UsageError
from leadline.report.gates.model_explorer import save_for_explorer
from leadline.testing import reading_of

COLOUR = {"type": "string", "pattern": "^#[0-9a-f]{6}$"}
SCHEMA = {  # `GraphNodeData` of Model Explorer 0.1.34
    "type": "object",
    "required": ["name", "results"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "results": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["value"],
                "additionalProperties": False,
                "properties": {"value": {"type": ["number", "string"]}, "bgColor": COLOUR, "textColor": COLOUR},
            },
        },
        "gradient": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "required": ["stop"],
                "properties": {"stop": {"minimum": 0, "maximum": 1}, "bgColor": COLOUR, "textColor": COLOUR},
            },
        },
    },
}


class Smooth(nn.Module):
    """Two convolutions that see what is ahead, or do not, and a sum past them."""

    def __init__(self, ahead: bool) -> None:
        super().__init__()
        self.ahead = ahead
        self.first, self.second = (nn.Conv1d(3, 3, 3, padding=1 if ahead else 2) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in (self.first, self.second):
            y = torch.tanh(layer(y))[..., : x.shape[-1]]
        return x + y


def reading(ahead: bool = False, **how: Any) -> leadline.DepthReading:
    return leadline.read(Smooth(ahead), torch.randn(2, 3, 9), **{"layout": "b c t -> b v t", **how})


def values(of: leadline.DepthReading, program: ExportedProgram) -> dict[str, dict[str, Any]]:
    return {measure.name: dict(measure.values) for measure in measures(of, program)}


SLOW = ["gru", "transformer", "batchnorm", "wavenet", "hf-tiny:gpt2"]


@pytest.mark.parametrize("name", ["masked-stack", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_figures_of_nodes_sum_to_those_of_the_model(name: str) -> None:
    of = reading_of(name)
    program = exported(of)
    found = values(of, program)
    counted = of.count()
    assert sum(found["macs"].values()) == counted.macs > 0
    assert sum(found["connections"].values()) == counted.connections
    assert max(found["depth"].values()) == of.span().steps
    assert of.memory().saved <= sum(found["memory"].values()) <= 1.1 * of.memory().saved
    called = {node.name for node in program.graph.nodes if node.op == "call_function"}
    assert all(set(nodes) <= called for nodes in found.values())


def test_depth_grows_along_the_way_and_what_is_free_has_none_of_its_own() -> None:
    of = reading()
    depth = values(of, exported(of))["depth"]
    assert [depth[name] for name in ("conv1d", "tanh", "conv1d_1", "tanh_1", "add")] == [1, 1, 2, 2, 2]


def test_a_leak_is_shown_where_it_passes_and_a_causal_model_has_its_verdict_everywhere() -> None:
    leaking, causal = reading(ahead=True), reading()
    assert values(leaking, exported(leaking))["causality"] == {"conv1d": LEAK, "conv1d_1": LEAK}
    verdicts = values(causal, exported(causal))["causality"]
    assert set(verdicts.values()) == {"structural"}
    assert verdicts.keys() >= {"conv1d", "conv1d_1", "add"}


def test_files_are_what_model_explorer_reads(tmp_path: Path) -> None:
    written, missing = save_for_explorer(reading(ahead=True), tmp_path / "new" / "folder")
    assert missing == []
    program, *data = written
    assert torch.export.load(program).graph.find_nodes(op="call_function", target=torch.ops.aten.conv1d.default)
    assert {path.name for path in data} == {
        f"{name}.json" for name in ("macs", "connections", "depth", "memory", "causality")
    }
    for path in data:
        found = json.loads(path.read_text())
        validate(found, SCHEMA)
        assert ("gradient" in found) == (path.stem != "causality")
        assert {stop["stop"] for stop in found.get("gradient", [])} in (set(), {0, 1})


def test_without_axes_only_causality_is_missing_and_says_why(tmp_path: Path) -> None:
    of = leadline.read(nn.Linear(3, 3), torch.zeros(4, 3))
    written, (missing,) = save_for_explorer(of, tmp_path)
    assert missing.name == "causality"
    assert "layout" in missing.missing
    assert not (tmp_path / "causality.json").exists()
    assert len(written) == 5


def test_a_program_of_the_users_keeps_its_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "mine.pt2", tmp_path / "nodes"
    torch.export.save(torch.export.export(Smooth(ahead=True), (torch.randn(2, 3, 9),)), file)
    with pytest.raises(SystemExit):
        cli.main(["check", str(file), "--layout", "b c t -> b v t", "--explorer", str(folder), "--only", "causality"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "causality.json", "connections.json", "depth.json", "macs.json", "memory.json",
    ]  # fmt: skip
    names = {node.name for node in torch.export.load(file).graph.nodes}
    assert set(json.loads((folder / "macs.json").read_text())["results"]) == {"conv1d", "conv1d_1"} <= names
    assert (
        f"model-explorer {file} --node_data_paths={folder}/macs.json,{folder}/connections.json"
        in capfd.readouterr().err
    )


def test_a_backward_pass_of_the_model_s_own_is_not_exported() -> None:
    of = reading_of("grid-rnn", "layers=1", "height=3", "width=3")
    (missing,) = (measure for measure in measures(of, exported(of)) if measure.missing)
    assert (missing.name, missing.values) == ("memory", {})
    assert "custom autograd" in missing.missing


def test_a_file_is_no_folder_and_what_torch_cannot_export_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="name a folder"):
        save_for_explorer(reading(), tmp_path / "file")

    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(TraceError, match=r"torch\.export takes no Branching"):
        save_for_explorer(leadline.read(Branching(), torch.zeros(2, 3)), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_its_own_package_finds_the_nodes(tmp_path: Path) -> None:
    """Install it beside: `pip install --no-deps ai-edge-model-explorer`; with what it needs it is 130 MB."""
    pytest.importorskip("model_explorer", reason="Model Explorer is not installed")
    builder = importlib.import_module("model_explorer.node_data_builder")
    adapter = importlib.import_module("model_explorer.pytorch_exported_program_adapter_impl")
    (program, *data), _ = save_for_explorer(reading(ahead=True), tmp_path)
    settings = {"const_element_count_limit": 16}
    drawn = adapter.PytorchExportedProgramAdapterImpl(torch.export.load(program), settings).convert()
    ids = {node.id for graph in drawn["graphs"] for node in graph.nodes}
    for path in data:
        found = json.loads(path.read_text())
        made = builder.GraphNodeData(**found)
        assert json.loads(made.to_json_string())["results"] == found["results"]
        assert set(found["results"]) <= ids
