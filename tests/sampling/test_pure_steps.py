"""A step as a pure function is the stream: in torch, as an exported program, and in onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.causal_models import Conv1dNet, convolutions
from helpers.examples import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import leadline
from leadline import zoo
from leadline.errors import NotUniform, UsageError
from leadline.sampling.exported.pure import PureStep

SIGNAL = "b c t -> b v t"
SMALL: dict[str, dict[str, Any]] = {
    "wavenet": {"layers": 3, "stacks": 2, "channels": 4, "skip": 5, "head": 6, "classes": 6, "length": 20},
    "transformer": {"classes": 6, "heads": 2, "head_channels": 4, "layers": 1, "length": 12},
    "rnn": {"hidden": 4},
    "gru": {"hidden": 4},
    "lstm": {"hidden": 4},
    "dilated-stack": {"layers": 3, "channels": 3},
}


class Amplifier(nn.Module):
    """As amplifiers are modelled: dilated, the input mixed in everywhere, a head of its own."""

    def __init__(self, channels: int = 5) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, channels, 1)
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, dilation=2**i, groups=1 + 4 * (i % 2)) for i in range(4)
        )
        self.mixed = nn.ModuleList(nn.Conv1d(1, channels, 1, bias=False) for _ in range(4))
        self.head = nn.Conv1d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, skip = self.start(x), torch.zeros(())
        for conv, mix in zip(self.convs, self.mixed, strict=True):
            z = torch.tanh(conv(F.pad(h, (2 * conv.dilation[0], 0))) + mix(x))
            h, skip = h + z, skip + z
        return self.head(skip)


def stepped(made: leadline.Stream, x: Tensor, sizes: list[int], time: int, length: int | None = None) -> Tensor:
    """Run the pure step over an input."""
    plan = made.plan(made.source.system.sizes[0] if length is None else length)
    step = PureStep(plan, made.interface, batch=len(x))
    states, found, at = list(step.zeros()), [], 0
    with torch.no_grad():
        for size in sizes:
            part = x.narrow(time, at, size)
            output, *rest = step(part, *states)
            found.append(output)
            states, at = rest[-len(states) :], at + size
            assert int(states[0]) == at
    return torch.cat(found, time)


@example(
    [dict.fromkeys(("kernel", "dilation", "groups"), 1) | {"pad": "crop", "normed": False, "shift": False}], [1], 1
)
@given(convolutions(7), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 3))
@settings(max_examples=examples(5, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_convolutions_in_chunks_of_any_size(layers: list[dict[str, Any]], sizes: list[int], batch: int) -> None:
    model, x = Conv1dNet(layers, 4).double().eval(), torch.randn(batch, 4, sum(sizes), dtype=torch.float64)
    made = leadline.stream(model, x, layout=SIGNAL, backend="torch")
    with torch.no_grad():
        torch.testing.assert_close(stepped(made, x, sizes, time=2), model(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_models_of_the_zoo(name: str) -> None:
    specimen = zoo.build(name, batch=2, **SMALL[name])
    inputs = tuple(x.double() if x.is_floating_point() else x for x in specimen.inputs)
    model, time = specimen.model.double().eval(), specimen.layout.split(" -> ")[0].split().index("t")
    made = leadline.stream(model, *inputs, layout=specimen.layout, backend="torch")
    length = inputs[0].shape[time]
    with torch.no_grad():
        got = stepped(made, inputs[0], [1, 3, 1, length - 5], time, length)
        torch.testing.assert_close(got, model(*inputs), rtol=0, atol=1e-10)


def test_what_comes_next_is_returned_where_it_rests_on_what_is_known() -> None:
    specimen = zoo.build("wavenet", **SMALL["wavenet"])
    model, x = specimen.model.double().eval(), specimen.inputs[0][:1]
    made = leadline.stream(model, *specimen.inputs, layout=specimen.layout, backend="torch")
    step = PureStep(made.plan(20), made.interface)
    with torch.no_grad():
        output, following, *_ = step(x[:, :7], *step.zeros())
        wanted = model(x)
    torch.testing.assert_close(output, wanted[:, :7])
    torch.testing.assert_close(following, wanted[:, 7:8])


def _model(name: str) -> tuple[nn.Module, tuple[Tensor, ...], str]:
    if name == "amplifier":
        return Amplifier().eval(), (torch.randn(1, 1, 16),), SIGNAL
    if name == "tcn":
        tcn = pytest.importorskip("pytorch_tcn")
        return tcn.TCN(3, [4, 4], kernel_size=3, causal=True).eval(), (torch.randn(1, 3, 20),), SIGNAL
    specimen = zoo.build(name, **SMALL[name])
    return specimen.model.eval(), specimen.inputs, specimen.layout


@pytest.mark.parametrize(
    "name", ["gru", *(pytest.param(n, marks=pytest.mark.slow) for n in ("amplifier", *SMALL) if n != "gru")]
)
def test_exported_programs_are_the_forward_pass(name: str, tmp_path: Path) -> None:
    model, inputs, layout = _model(name)
    made = leadline.stream(model, *inputs, layout=layout, backend="torch")
    found = made.export(tmp_path / "it.pt2", compare=300)
    assert found.difference is not None
    assert found.difference < 1e-5
    assert (found.positions, found.chunk) == (
        min(300, found.length or 300),
        1 if name in ("rnn", "gru", "lstm") else None,
    )
    module = torch.export.load(tmp_path / "it.pt2").module()
    zeros = PureStep(made.plan(made.source.system.sizes[0]), made.interface).zeros()
    assert len(found.inputs) == 1 + len(zeros)
    time = layout.split(" -> ")[0].split().index("t")
    x = inputs[0].narrow(0, 0, 1).narrow(time, 0, 1)
    with torch.no_grad():
        assert len(module(x, *zeros)) == len(found.outputs)
    assert json.loads((tmp_path / "it.json").read_text()) == found.to_dict()


SLOW_ONNX = ["amplifier", "tcn", *(n for n in SMALL if n != "gru")]


@pytest.mark.parametrize("name", ["gru", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW_ONNX)])
def test_onnxruntime_runs_the_forward_pass(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model, inputs, layout = _model(name)
    made = leadline.stream(model, *inputs, layout=layout, backend="torch")
    found = made.export(tmp_path / "it.onnx", compare=2000)
    assert found.difference is not None
    assert found.difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    assert tuple(x.name for x in session.get_inputs()) == found.inputs
    assert tuple(x.name for x in session.get_outputs()) == found.outputs
    # the recipe that the documentation gives: zeros first, then what came out
    fed = {
        x.name: np.zeros([n if isinstance(n, int) else 1 for n in x.shape], _type(x.type)) for x in session.get_inputs()
    }
    time, rows = layout.split(" -> ")[0].split().index("t"), []
    with torch.no_grad():
        wanted = model(*inputs)[:1].numpy()
    for t in range(inputs[0].shape[time]):
        fed[found.inputs[0]] = inputs[0][:1].narrow(time, t, 1).numpy()
        outputs = dict(zip(found.outputs, session.run(None, fed), strict=True))
        fed |= {name.replace("new_", "past_", 1): x for name, x in outputs.items() if name.startswith("new_")}
        rows.append(outputs[found.outputs[0]])
    out = layout.split(" -> ")[1].split().index("t")
    np.testing.assert_allclose(np.concatenate(rows, out), wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


def _type(said: str) -> Any:
    return np.int64 if "int64" in said else np.float64 if "double" in said else np.float32


def test_a_chunk_of_a_recurrence_is_unrolled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs, layout = _model("gru")
    made = leadline.stream(model, *inputs, layout=layout, backend="torch")
    found = made.export(tmp_path / "it.pt2", compare=30, chunk=4)
    assert (found.positions, found.chunk) == (28, 4)


def test_what_cannot_be_a_graph_is_refused_by_name(tmp_path: Path) -> None:
    picture = zoo.build("pixelcnn", height=4, width=4, layers=1, channels=4, inner=2, classes=3)
    made = leadline.stream(picture.model, *picture.inputs, layout=picture.layout, backend="torch")
    with pytest.raises(NotUniform, match="a step is written for one axis"):
        made.export(tmp_path / "it.pt2")
    half = leadline.stream(nn.Conv1d(1, 1, 1).half(), torch.zeros(1, 1, 4).half(), layout=SIGNAL, backend="torch")
    with pytest.raises(NotUniform, match=r"float32 and float64, and the output is torch\.float16"):
        half.export(tmp_path / "it.pt2")
    plain = leadline.stream(nn.Conv1d(1, 1, 1), torch.zeros(1, 1, 4), layout=SIGNAL, backend="torch")
    with pytest.raises(UsageError, match=r"C takes any number"):
        plain.export(tmp_path / "it.c", chunk=3)
    with pytest.raises(UsageError, match=r"ends in \.c, \.onnx or \.pt2"):
        plain.export(tmp_path / "it.txt")
    assert not list(tmp_path.iterdir())
