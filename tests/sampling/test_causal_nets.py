"""Networks that others wrote stream as they are, or are refused by operation, module and line."""

from __future__ import annotations

import pytest
import torch
from causal_nets import LENGTH, LONGER, NETS
from streamable import double, forward

import leadline
from leadline.errors import NotUniform

BY_NAME = {net.name: net for net in NETS}
QUICK = (
    "OPT",
    "GPT-Neo",
    "GPT-2, eager attention",
    "Mistral",
    "TCN, weight norm",
    "TCN, batch norm, skips, gates",
)
REFUSED = {
    "OpenAI GPT": r"aten\.softmax.* at transformer.h.0.attn \(.*modeling_openai.py:\d+\): .*reads the whole future",
    "Mamba 2": r"aten\..* at backbone.layers.0.mixer \(.*modeling_mamba2.py:\d+\): ",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in BY_NAME if n not in REFUSED]
)
def test_a_network_streams(name: str) -> None:
    torch.manual_seed(0)
    net = BY_NAME[name]
    model, inputs = net.model().double(), double(net.inputs(LENGTH))
    forward(net, model, inputs)  # RWKV scales its own weights when it is first run
    made = leadline.stream(model, layout=net.layout, backend="torch", **inputs)
    # positions past the traced length come after those within it, so that one length says all where time is short
    for given in [double(net.inputs(LONGER)), *([] if name in QUICK else [inputs])]:
        (x,) = (x for key, x in given.items() if net.layout[key] is not None)
        # some of them compute normalisations or scores in float32 whatever their own precision
        assert torch.allclose(made.logits(x), forward(net, model, given), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    [
        "GPT-2",
        "Mistral",
        "Mamba",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("RWKV", "BLOOM", "Gemma 2")),
        "TCN, batch norm, skips, gates",
    ],
)
def test_a_network_streams_through_the_compiled_interpreter(name: str) -> None:
    torch.manual_seed(0)
    net = BY_NAME[name]
    model, inputs = net.model(), net.inputs(LENGTH)
    wanted = forward(net, model, inputs)  # before the stream is made: RWKV's first pass rescales its weights
    made = leadline.stream(model, layout=net.layout, **inputs)
    (x,) = (x for key, x in inputs.items() if net.layout[key] is not None)
    assert float((made.logits(x) - wanted).abs().max()) < 2e-4 * float(wanted.abs().max())


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in REFUSED])
def test_a_network_is_refused_by_operation_module_and_line(name: str) -> None:
    net = BY_NAME[name]
    with pytest.raises(NotUniform, match=REFUSED[name]):
        leadline.stream(net.model(), layout=net.layout, backend="torch", **net.inputs(LENGTH))


@pytest.mark.parametrize("name", ["TCN, weight norm", "TCN, batch norm, skips, gates"])
def test_signals_go_in_and_come_out_in_chunks(name: str) -> None:
    net = BY_NAME[name]
    model, inputs = net.model().double(), double(net.inputs(LENGTH))
    ((key, _),) = inputs.items()
    x = torch.randn(1, 3, 3 * LENGTH, dtype=torch.float64)
    made = leadline.stream(model, layout=net.layout, backend="torch", **inputs)
    made.reset(batch=1)
    parts = [made.step(chunk) for chunk in x.split(7, -1)]
    assert torch.allclose(torch.cat(parts, -1), forward(net, model, {key: x}), rtol=0, atol=1e-10)
