"""Where both levels apply they agree: connections and sequential steps of a system, and of the graph it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from helpers import grid_reference as reference
from helpers.causal_models import AttentionNet, Conv1dNet, MaskedConv2dNet, convolutions
from helpers.element_graph import brute_force
from helpers.forms_of_attention import FORMS as ATTENTIONS
from helpers.forms_of_attention import LAYOUT, WIDTH, Net
from helpers.streamed_forms import FORMS, Parts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import leadline
from leadline.graph import Reading
from leadline.graph.layout import LayoutLike
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.connections import connections, count_at
from leadline.recurrence.analysis.depth import training_chains
from leadline.recurrence.analysis.longest import longest_paths
from leadline.recurrence.ir import System
from leadline.zoo import build
from leadline.zoo.mdrnn import MDRNN

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def derived(reading: Reading) -> tuple[int, int]:
    """Return the connections of one sample, and the steps, that a system has at the sizes it was derived at."""
    found = system_of(reading)
    sizes = dict(zip(found.axes, found.sizes, strict=True))
    return count_at(connections(found), found, sizes), chain(found)


def chain(found: System) -> int:
    steps, floors = training_chains(found)
    begins = {name: floor for name, floor in floors.items() if floor is not None}
    return longest_paths(found, steps, found.sizes, begins=begins).total


def assert_agree(model: nn.Module, *inputs: Tensor, layout: LayoutLike) -> None:
    reading = leadline.read(model.eval(), *inputs, layout=layout)
    assert derived(reading) == (reading.count().connections / len(inputs[0]), reading.span().steps)


QUICK_FORMS = ("gathered", "shift by products", "maps")
QUICK = (
    "shifted channels are joined",
    "the last position is not read",
    "masked taps read",
    "a recurrence that is cropped",
    "attention that starts late",
    "sums of nothing",
    "sums of nothing, grouped",
    "mdrnn",
    "lstm",
)
ZOO: dict[str, dict[str, Any]] = {
    "wavenet": {"layers": 3, "channels": 3, "skip": 2, "head": 2, "length": 11},
    "pixelcnn": {"height": 4, "width": 5, "channels": 4, "layers": 1},
    "gated-pixelcnn": {"height": 4, "width": 5, "layers": 1, "first_kernel": 5, "channels": 4, "positions": True},
    "mdrnn": {"height": 3, "width": 4, "hidden": 3, "embedding": 2, "reach": 1},
    "grid-rnn": {"height": 3, "width": 5, "cell": "lstm", "hidden": 3},
    "rnn": {"layers": 2, "length": 4},
    "gru": {"layers": 2, "length": 4},
    "lstm": {"layers": 2, "length": 4},
    "transformer": {"classes": 8, "length": 7},
}


def quick_first(names: Iterable[str]) -> list[Any]:
    """The others are for `make test-all`."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", quick_first(ZOO))
def test_both_levels_agree_on_the_zoo(name: str) -> None:
    specimen = build(name, batch=2, **ZOO[name])
    assert_agree(specimen.model, *specimen.inputs, layout=specimen.layout)


class Apply(nn.Module):
    """A function of the input and of modules."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


class FutureOff(nn.Conv1d):
    """A convolution whose weights on the present and the future are masked."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 5, padding=2)
        self.register_buffer("mask", torch.tensor([1.0, 1, 0, 0, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(x, self.weight * self.mask, self.bias, padding=2)


def every(channels: int, outputs: int) -> nn.Module:
    """A product at every position."""
    return nn.Conv1d(channels, outputs, 1)


def late(x: Tensor, by: int = 1) -> Tensor:
    return functional.pad(x, (by, -by))


def attended(x: Tensor, qkv: nn.Module) -> Tensor:
    q, k, v = qkv(x.mT).chunk(3, -1)
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).mT


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "shifted channels are joined": lambda: Apply(lambda x, m: m(torch.cat([late(x), x, late(x, 3)], 1)), every(12, 3)),
    "some channels are not read": lambda: Apply(lambda x, m: m(x)[:, 2:], every(4, 5)),
    "the last position is not read": lambda: Apply(lambda x, a, b: late(b(a(x))), every(4, 4), every(4, 2)),
    "the first position is not read": lambda: Apply(
        lambda x, a, b: functional.pad(b(a(x))[..., 2:], (2, 0)), every(4, 4), every(4, 2)
    ),
    "masked taps read": lambda: nn.Sequential(every(4, 4), FutureOff(4), nn.ReLU(), FutureOff(4)),
    "a zero factor": lambda: Apply(lambda x, m: m(x * torch.tanh(late(x, 2))), every(4, 3)),
    "a constant beside it": lambda: Apply(lambda x, m: m(late(x) * 2 + 1), every(4, 3)),
    "a bias beside it": lambda: Apply(lambda x, a, m: m(late(x) + a.bias[:, None]), every(4, 4), every(4, 3)),
    "padded with a number": lambda: Apply(lambda x, m: m(functional.pad(x, (2, -2), value=3.0)), every(4, 3)),
    "normalised together": lambda: Apply(
        lambda x, m: m(torch.cat([late(x), late(x, 2)], 1).unflatten(1, (2, 4)).softmax(2).flatten(1, 2)), every(8, 2)
    ),
    "summed over channels": lambda: Apply(lambda x, m: m(torch.stack([late(x), late(x, 3)], 1).sum(2)), every(2, 2)),
    "running sum": lambda: Apply(lambda x, m: m(late(x, 2).cumsum(-1)), every(4, 2)),
    "a recurrence that is cropped": lambda: Apply(
        lambda x, m: late(m(x.mT)[0].mT[:, :2]), nn.LSTM(4, 3, num_layers=2, batch_first=True)
    ),
    "a recurrence that starts late": lambda: Apply(lambda x, m: m(late(x, 2).mT)[0].mT, nn.GRU(4, 3, batch_first=True)),
    "attention that is cropped": lambda: Apply(lambda x, m: late(attended(x, m)), nn.Linear(4, 9)),
    "attention that starts late": lambda: Apply(lambda x, m: attended(late(x), m), nn.Linear(4, 9)),
    "sums of nothing": lambda: Apply(
        lambda x, a, b, c: c(torch.tanh(b(late(torch.tanh(a(late(x)))))) + x),
        *(nn.Conv1d(4, 4, 1, bias=False) for _ in range(3)),
    ),
    "sums of nothing, grouped": lambda: Apply(
        lambda x, a, b: b(torch.tanh(a(torch.cat([late(x, 2), late(x)], 1)))),
        nn.Conv1d(8, 4, 1, groups=2, bias=False),
        nn.Conv1d(4, 4, 1, bias=False),
    ),
    "grouped": lambda: Apply(lambda x, m: m(torch.cat([x, late(x)], 1)), nn.Conv1d(8, 6, 1, groups=2)),
}


@pytest.mark.parametrize("name", quick_first(BLOCKS))
def test_both_levels_agree_on_borders(name: str) -> None:
    assert_agree(BLOCKS[name](), torch.randn(2, 4, 7), layout="b c t -> b v t")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK_FORMS else pytest.mark.slow) for name in FORMS]
)
def test_both_levels_agree_on_forms(name: str) -> None:
    assert_agree(Parts(FORMS[name], 2), torch.randn(2, 5, 4), layout="b t c -> b t v")


@given(
    convolutions(4),
    st.integers(2, 12),
)
@pytest.mark.slow
@FEW
def test_both_levels_agree_on_convolutions(layers: list[dict[str, Any]], length: int) -> None:
    assert_agree(Conv1dNet(layers, 4), torch.randn(2, 4, length), layout="b c t -> b v t")


@given(
    st.lists(st.tuples(st.sampled_from([3, 5]), st.sampled_from([3, 5, 7])), min_size=1, max_size=3),
    st.integers(2, 6),
    st.integers(2, 6),
)
@pytest.mark.slow
@FEW
def test_both_levels_agree_on_masked_convolutions(kernels: list[Any], height: int, width: int) -> None:
    assert_agree(MaskedConv2dNet(kernels, 3), torch.randint(4, (2, height, width)), layout="b h w -> b h w v")


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 3])
def test_both_levels_agree_on_attention(window: int | None) -> None:
    assert_agree(AttentionNet(window, 4, 16), torch.randint(5, (2, 7)), layout="b t -> b t v")


EVEN = (
    "alibi",
    "retention",
    "squared",
    "sigmoid",
    "capped_in_a_window",
    "cosine",
    "rotary",
    "one_more_axis",
    "linear",
    "memories",
    "sinks",
    "averaged",
    "forgetting",
    "gqa",
    "renormalised",
)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "retention" else pytest.mark.slow) for n in EVEN])
def test_both_levels_agree_on_forms_of_attention(name: str) -> None:
    assert_agree(Net(ATTENTIONS[name], heads=2), torch.randn(2, 5, WIDTH), layout=LAYOUT)


class CellByCell(nn.Module):
    """An MDRNN whose recurrence is a loop, after its embedding, which the oracle cannot differentiate."""

    def __init__(self, model: MDRNN) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(dict(model.core.named_parameters()))
        self.hidden, self.logits = model.hidden, model.logits

    def forward(self, z: Tensor) -> Tensor:
        west, north = functional.pad(z, (0, 0, 1, -1)), functional.pad(z, (0, 0, 0, 0, 1, -1))
        z = torch.cat([west, north], -1)
        out: Tensor = self.logits(torch.tanh(self.hidden(torch.cat([reference.grid_rnn(z, **self.weights), z], -1))))
        return out


def edges_of_mdrnn(height: int, width: int, k: int, layers: int, embedding: int, head: int, classes: int) -> int:
    """Count edge by edge: every cell is a unit, neighbours and pixels outside the grid are not."""
    edges = 0
    for i in range(height):
        for j in range(width):
            earlier = (i > 0) + (j > 0)
            edges += earlier * embedding * k  # the first layer's input
            edges += (layers - 1) * k * k + layers * earlier * k * k
            edges += (k + earlier * embedding) * head + head * classes
    return edges


@pytest.mark.parametrize(("height", "width"), [(1, 3), (3, 1), pytest.param(2, 3, marks=pytest.mark.slow)])
def test_the_mdrnn_s_laws_equal_the_element_graph(height: int, width: int) -> None:
    """Zeros joined to channels are no units: the first cell rests on nothing, and no chain begins there."""
    sizes = {"layers": 2, "embedding": 2, "head": 3, "classes": 2}
    specimen = build("mdrnn", height=height, width=width, hidden=2, cell="tanh", batch=1, **sizes)
    found = derived(leadline.read(specimen.model.eval(), *specimen.inputs, layout=specimen.layout))
    steps = brute_force(CellByCell(specimen.model), torch.zeros(1, height, width, 2)).steps
    assert found == (edges_of_mdrnn(height, width, k=2, **sizes), steps)
