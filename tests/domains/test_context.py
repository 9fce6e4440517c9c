"""Context equals perturbation, at every output and every input; blind spots are where the theory puts them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.blocks import FINITE, LEAKS, PRESENT, STRUCTURAL, C, T
from helpers.perturbation import dependence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline import zoo
from leadline.domains._context import Context, context
from leadline.domains.dependence.algebra import Paths
from leadline.domains.dependence.flow import Flow
from leadline.domains.dependence.support import support
from leadline.domains.values.pattern import pattern
from leadline.errors import LayoutError, UnknownOp
from leadline.graph import Reading


def mapped(model: nn.Module, inputs: tuple[Tensor, ...], layout: str) -> np.ndarray:
    """Boolean array [output position..., input position...] by one walk backwards for each output position."""
    reading = Reading(model, inputs, layout=layout)
    flow = Flow(reading.graph, pattern(reading.graph).facts, Paths())
    sizes, name = reading.sizes, next(iter(reading.input_axes))
    axes, shape = reading.input_axes[name], tuple(sizes[axis] for axis in reading.layout.positions)
    other = [i for i, axis in enumerate(axes) if axis not in reading.layout.positions]
    seen = np.zeros((*shape, *shape), dtype=bool)
    for place in itertools.product(*map(range, shape)):
        at = dict(zip(reading.layout.positions, place, strict=True))
        chosen = torch.zeros(reading.output_shape, dtype=torch.bool)
        chosen[tuple(at.get(axis, slice(None)) for axis in reading.output_axes)] = True
        behind, _ = support(flow, reading.output, chosen)
        seen[place] = behind[name].any(dim=other).numpy()
    return seen


ZOO = {
    "wavenet": {"layers": 2, "stacks": 2, "length": 9, "classes": 4, "channels": 3, "batch": 4},
    "dilated-stack": {"layers": 3, "kernel": 2, "length": 11, "channels": 2},
    "pixelcnn": {"layers": 1, "first_kernel": 5, "height": 5, "width": 6, "classes": 3, "channels": 4, "inner": 4,
                 "head": 4, "batch": 4},
    "masked-stack": {"layers": 2, "height": 5, "width": 6, "channels": 2},
    "gated-pixelcnn": {"layers": 2, "first_kernel": 3, "height": 5, "width": 5, "classes": 3, "channels": 4, "head": 4,
                       "batch": 4},
    "pixelcnn-plus": {"layers": 1, "height": 4, "width": 4, "classes": 3, "channels": 4, "components": 2, "batch": 4},
    "pixelsnail": {"layers": 1, "blocks": 1, "height": 4, "width": 4, "classes": 3, "channels": 4, "components": 2,
                   "batch": 4},
    "mdrnn": {"layers": 2, "height": 4, "width": 5, "classes": 3, "batch": 4},
    "grid-rnn": {"layers": 2, "height": 4, "width": 5},
    "transformer": {"lag": 1, "length": 6, "heads": 2, "head_channels": 2, "classes": 4},
    "lstm": {"layers": 2, "length": 6, "hidden": 3, "inputs": 2},
    "gru": {"explicit": True, "length": 5, "hidden": 3, "inputs": 2},
    "rnn": {"length": 6, "hidden": 3, "inputs": 2},
}  # fmt: skip


VECTORS = {
    "batchnorm": {"layers": 2, "width": 4},
    "chain": {"layers": 3},
    "mlp": {"layers": 2, "width": 4},
    "residual": {"layers": 2, "width": 4},
}
"""Models of vectors, whose features are read as positions."""


@pytest.mark.parametrize("name", [*ZOO, *VECTORS])
def test_zoo_context_equals_perturbation(name: str) -> None:
    specimen = zoo.build(name, **(ZOO | VECTORS)[name])
    layout = "b k -> b k" if name in VECTORS else specimen.layout
    found = mapped(specimen.model, specimen.inputs, layout)
    np.testing.assert_array_equal(found, dependence(specimen.model, specimen.inputs, layout))


def test_no_model_of_the_zoo_is_left_out() -> None:
    assert {*ZOO, *VECTORS} == {*zoo.ZOO}


# Rounding, choosing and ordering hide small changes: there the map may only hold more than perturbation shows.
HIDDEN = ["round", "sign", "argmax", "sort", "max", "routing", "where", "cummax", "mean_over"]


# Where a finite mask or a zero in a parameter hides a dependence, structure still sees it.
WEAK = {*FINITE, *PRESENT, "leak: zero-initialised centred conv", "leak: attention, a weak mask",
        "leak: attention, a fully masked row"}  # fmt: skip
BLOCKS = [*STRUCTURAL, *FINITE, *PRESENT, *(f"leak: {name}" for name in LEAKS)]


@pytest.mark.parametrize("name", [n if i % 4 == 0 else pytest.param(n, marks=pytest.mark.slow)
                                  for i, n in enumerate(BLOCKS)])  # fmt: skip
def test_block_context_holds_what_perturbation_shows(name: str) -> None:
    leak = name.startswith("leak: ")
    make = LEAKS[name.removeprefix("leak: ")] if leak else {**STRUCTURAL, **FINITE, **PRESENT}[name]
    model = nn.Sequential(nn.Linear(C, C), make(), nn.Linear(C, C)).double().eval()
    inputs = (torch.randn(2, T, C, dtype=torch.float64),)
    found, shown = mapped(model, inputs, "b t c -> b t v"), dependence(model, inputs, "b t c -> b t v")
    assert not (shown & ~found).any()
    exact = not any(word in name for word in HIDDEN) and name not in FINITE and name not in PRESENT
    finite = (
        "leak: attention, a weak mask",
        "leak: attention, a fully masked row",
    )  # no structure, so the map is larger
    if exact and name not in (*finite, "leak: zero-initialised centred conv"):
        np.testing.assert_array_equal(found, shown)


@st.composite
def grids(draw: st.DrawFn) -> nn.Sequential:
    """Draw stacks of two-dimensional convolutions, poolings and transposed convolutions that keep the grid's size."""
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kernel, dilation = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
        groups = draw(st.sampled_from([1, 2]))
        layers.append(nn.Conv2d(2, 2, (kernel, 3), padding=((kernel - 1) // 2 * dilation, dilation), dilation=dilation,
                                groups=groups))  # fmt: skip
        layers.append(
            draw(
                st.sampled_from(
                    [
                        nn.Tanh(),
                        nn.AvgPool2d(3, stride=1, padding=1),
                        nn.Sequential(nn.AvgPool2d(2, stride=2), nn.Upsample(scale_factor=2)),
                        nn.Sequential(nn.Conv2d(2, 2, 2, stride=2), nn.ConvTranspose2d(2, 2, 2, stride=2)),
                        nn.ConvTranspose2d(2, 2, 3, padding=1),
                        nn.Upsample(size=(4, 6), mode="bilinear"),
                        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(8, 8, 1, groups=8), nn.PixelShuffle(2)),
                    ]
                )
            )
        )
    return nn.Sequential(*layers)


@settings(max_examples=10)
@given(grids())
def test_grid_context_equals_perturbation(model: nn.Sequential) -> None:
    inputs = (torch.randn(1, 2, 4, 6, dtype=torch.float64),)
    model = model.double()
    np.testing.assert_array_equal(
        mapped(model, inputs, "b c h w -> b v h w"), dependence(model, inputs, "b c h w -> b v h w")
    )


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_blind_spot_of_a_pixelcnn(layers: int) -> None:
    h, w = 8, 12
    specimen = zoo.build("masked-stack", layers=layers, height=h, width=w, channels=2)
    at = (layers + 1, 5)
    seen = context(specimen.model, *specimen.inputs, layout=specimen.layout, position=at)
    assert seen.size == (3 * layers**2 + 5 * layers) // 2
    assert seen.box() == {"h": (1, layers + 1), "w": (5 - layers, 5 + layers)}
    up, right = torch.meshgrid(at[0] - torch.arange(h), torch.arange(w) - at[1], indexing="ij")
    earlier = (up > 0) | ((up == 0) & (right < 0))
    assert torch.equal(seen.blind["x"], earlier & ~seen.map)
    never = seen.always_blind["x"]
    assert never is not None
    assert torch.equal(never, earlier & (up > 0) & (right > up))


def test_an_mdrnn_sees_the_north_west_rectangle() -> None:
    h, w, (i, j) = 5, 6, (3, 2)
    specimen = zoo.build("mdrnn", height=h, width=w, classes=3)
    seen = context(specimen.model, *specimen.inputs, layout=specimen.layout, position=(i, j))
    rectangle = torch.zeros(h, w, dtype=torch.bool)
    rectangle[: i + 1, : j + 1] = True
    rectangle[i, j] = False
    assert torch.equal(seen.map, rectangle)
    (blind,) = seen.blind.values()
    assert int(blind.sum()) == i * (w - 1 - j)
    assert torch.equal(next(iter(seen.always_blind.values())), blind)


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        square = x.mT @ x
        return x + torch.linalg.householder_product(square, square[:, 0]).sum(1, keepdim=True)


def test_an_unknown_operation_is_named_with_its_line_or_depends_on_everything() -> None:
    x = torch.randn(1, 4, 3)
    with pytest.raises(UnknownOp, match=r"householder_product.*test_context.py:\d+"):
        context(Odd(), x, layout="b t c -> b t v")
    seen = context(Odd(), x, layout="b t c -> b t v", on_unknown="top")
    assert seen.size == 4
    assert [gap.op for gap in seen.coverage.gaps] == ["aten.linalg_householder_product.default"]


def test_positions_must_exist() -> None:
    conv, x = nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 9)
    with pytest.raises(LayoutError, match="no place 9"):
        context(conv, x, layout="b c t -> b v t", position=9)
    with pytest.raises(LayoutError, match="not 2 of them"):
        context(conv, x, layout="b c t -> b v t", position=(1, 2))
    assert context(conv, x, layout="b c t -> b v t", position=-1).box() == {"t": (7, 8)}


def test_a_classifier_has_a_map_over_all_its_input() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    seen = context(model, torch.randn(1, 1, 6, 6), layout="b c h w -> b v")
    assert seen.axes == {"input": ("c", "h", "w")}
    assert (seen.size, seen.blind) == (36, {})


def test_a_position_given_as_an_output_is_deprecated_and_still_read() -> None:
    conv, x = nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 9)
    wanted = context(conv, x, layout="b c t -> b v t", position=2).map
    for old in (2, {"output": 2}):
        with pytest.warns(DeprecationWarning, match="position="):
            assert torch.equal(context(conv, x, layout="b c t -> b v t", output=old).map, wanted)
    assert torch.equal(context(conv, x, layout="b c t -> b v t", output="output", position=2).map, wanted)


def padded(kernel: int, dilation: int, causal: bool) -> nn.Module:
    reach = (kernel - 1) * dilation
    sides = (reach, 0) if causal else (reach // 2, reach - reach // 2)
    return nn.Sequential(nn.ConstantPad1d(sides, 0.0), nn.Conv1d(1, 1, kernel, dilation=dilation))


class Windowed(nn.Module):
    """Attention over the last few positions, or within as many on both sides."""

    def __init__(self, width: int, causal: bool, fused: bool) -> None:
        super().__init__()
        self.width, self.causal, self.fused = width, causal, fused

    def forward(self, x: Tensor) -> Tensor:
        x, places = x.mT, torch.arange(x.shape[2])
        ago = places.unsqueeze(1) - places
        shown = (ago < self.width) & (ago >= 0) if self.causal else ago.abs() < self.width
        if self.fused:
            return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=shown).mT
        return ((x @ x.mT).masked_fill(~shown, -torch.inf).softmax(-1) @ x).mT


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    """Draw layers that see a few places around each, or before it."""
    causal = draw(st.booleans())
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            layers.append(padded(draw(st.integers(1, 4)), draw(st.integers(1, 5)), causal))
        else:
            layers.append(Windowed(draw(st.integers(1, 4)), causal, draw(st.booleans())))
    return nn.Sequential(*layers)


@settings(max_examples=3, deadline=None)
@given(model=stacks(), length=st.integers(5, 12))
def test_the_length_that_is_named_shows_the_whole_map(model: nn.Sequential, length: int) -> None:
    """As a much longer input does; at a place less it is cut."""

    def seen(length: int) -> Context:
        return context(model, torch.zeros(1, 1, length), layout="b c t -> b v t")

    whole = seen(101)
    assert not whole.borders
    box = whole.box()
    assert box is not None
    before, after = 50 - box["t"][0], box["t"][1] - 50
    needed = max(2 * before, 2 * after + 1)
    found = seen(length)
    cut = before > length // 2 or after > length - 1 - length // 2
    assert found.shown == ({"t": needed} if cut else {})
    assert cut or found.size == whole.size
    assert not seen(needed).borders
    assert seen(needed).size == whole.size


class Summed(nn.Module):
    """Each place sees a sum over those before, or the mean over all."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.mean = mean

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean(2, keepdim=True) if self.mean else x.cumsum(2)


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(1, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.mT)[0].mT


class Attended(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.mT
        return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).mT


@pytest.mark.parametrize(
    ("model", "operation"),
    [
        (Summed(mean=True), "aten.mean.dim"),
        (Summed(mean=False), "aten.cumsum.default"),
        (First(), "aten.lstm.input"),
        (Attended(), "aten.scaled_dot_product_attention.default"),
        (nn.InstanceNorm1d(1), "aten."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_spans_any_length_is_named(model: nn.Module, operation: str) -> None:
    found = context(nn.Sequential(padded(3, 1, causal=True), model), torch.zeros(1, 1, 6), layout="b c t -> b v t")
    assert found.shown == {"t": None}
    assert f"no length shows its end, since {operation}" in str(found)
    assert "at least" in str(found)


class Positions(nn.Module):
    """A wide convolution with a learned number for each of eight places, so that it takes no others."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.wide = nn.Parameter(torch.zeros(8)), nn.Conv1d(1, 1, 25, padding=12)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(x + self.places)


class Causal(nn.Module):
    """Attention whose mask shows all that came before, as a wide window would."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.mT
        shown = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=shown).mT


@pytest.mark.parametrize(("model", "tried"), [(Positions(), 8), (Causal(), 32)])
def test_what_is_not_known_of_longer_inputs_is_said(model: nn.Module, tried: int) -> None:
    x = torch.zeros(1, 1, 8)
    found = context(model, x, layout="b c t -> b v t")
    assert found.shown == {"t": None}
    assert f"inputs longer than {tried} may show its end" in str(found)
    assert "longer inputs may show its end" in str(context(model, x, layout="b c t -> b v t", longer=False))


WINDOWS = {
    "difference": lambda n, w: (n[:, None] >= n) & (n[:, None] - n < w),
    "moved": lambda n, w: (n <= n[:, None]) & (n > n[:, None] - w),
    "triangles": lambda n, w: torch.ones(len(n), len(n)).tril().triu(1 - w).bool(),
}


class Latest(nn.Module):
    """Layers of attention to the latest places, as many as the mask says that is made in forward."""

    def __init__(self, way: str, width: int, layers: int) -> None:
        super().__init__()
        self.way, self.width, self.layers = way, width, layers

    def forward(self, x: Tensor) -> Tensor:
        x = x.mT
        shown = WINDOWS[self.way](torch.arange(x.shape[1]), self.width)
        for _ in range(self.layers):
            x = nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=shown)
        return x.mT


@pytest.mark.parametrize(("width", "layers"), [(30, 1), (101, 2), pytest.param(1000, 1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WINDOWS)
def test_the_end_of_a_window_that_a_mask_makes_is_shown_by_its_own_number(way: str, width: int, layers: int) -> None:
    found = context(Latest(way, width, layers), torch.zeros(1, 1, 6), layout="b c t -> b v t")
    assert found.shown == {"t": 2 * layers * (width - 1)}
    assert "at least" in str(found)


def test_an_output_at_a_border_sees_at_least() -> None:
    """What lies beyond it is cut off, whatever the length."""
    found = context(padded(3, 1, causal=False), torch.zeros(1, 1, 9), position=0, layout="b c t -> b v t")
    assert (found.size, found.shown) == (2, {"t": 3})
