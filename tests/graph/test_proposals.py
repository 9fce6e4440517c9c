"""Axes that nobody named: the likeliest reading is taken and said, and what is proposed works when it is pasted."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.errors import LayoutError
from leadline.graph.layout import Layout, fitting, infer, resolve
from leadline.graph.proposals import with_likeliest_axes
from leadline.graph.reading import Reading

SHAPES = st.lists(st.sampled_from([1, 2, 3, 4]), max_size=4).map(tuple)


@given(inputs=st.lists(SHAPES, min_size=1, max_size=3), output=SHAPES, integer=st.booleans())
def test_what_fits_can_be_pasted(inputs: list[tuple[int, ...]], output: tuple[int, ...], integer: bool) -> None:
    dtype = torch.int64 if integer else torch.float32
    tensors = {f"x{i}": torch.zeros(shape, dtype=dtype) for i, shape in enumerate(inputs)}
    out = torch.zeros(output)
    found = fitting(tensors, out)
    if not output or not any(inputs):
        assert found is None
        return
    assert found is not None
    again = resolve(str(found), tensors, {"y": out})
    assert [len(axes or ()) for axes in again.inputs.values() if axes] == [
        len(shape) for shape, axes in zip(inputs, again.inputs.values(), strict=True) if axes
    ]
    sizes: dict[str, int] = {}
    for name, axes in {**again.inputs, **again.outputs}.items():
        tensor = tensors.get(name, out)
        for axis, size in zip(axes or (), tensor.shape if axes else (), strict=True):
            assert sizes.setdefault(axis, size) == size  # positions have one size, so that they have an order


@given(shape=SHAPES, output=SHAPES)
def test_what_an_error_proposes_can_be_pasted(shape: tuple[int, ...], output: tuple[int, ...]) -> None:
    tensors, out = {"x": torch.zeros(shape)}, torch.zeros(output)
    try:
        infer(tensors, out)
    except LayoutError as error:
        proposed = re.findall(r"layout='(.*?)'", str(error))
        assert proposed or not (shape and output)
        for text in proposed:
            assert isinstance(resolve(text, tensors, {"y": out}), Layout)


class InFrames(nn.Module):
    """A series that is cut into frames before its first product."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.frames(x.unflatten(1, (-1, 4)))[0].flatten(1)


SQUARE = [
    (nn.Conv1d(6, 6, 3, padding=1), torch.zeros(2, 6, 6), "b c t -> b v t"),
    (nn.Sequential(nn.Linear(6, 6), nn.Tanh()), torch.zeros(2, 6, 6), "b t c -> b t v"),
    (nn.Conv2d(5, 5, 3, padding=1), torch.zeros(1, 5, 5, 5), "b c h w -> b v h w"),
    (nn.Embedding(7, 6), torch.zeros(2, 6, dtype=torch.int64), "b t -> b t v"),
    (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)), torch.zeros(2, 6), "b c -> b v"),
    (InFrames(), torch.zeros(2, 12), "b t -> b t"),
]


@pytest.mark.parametrize(("model", "x", "layout"), SQUARE, ids=lambda value: value if isinstance(value, str) else "")
def test_channels_stand_where_the_products_have_them(model: nn.Module, x: Tensor, layout: str) -> None:
    reading, said = with_likeliest_axes(Reading(model, (x,)))
    assert str(reading.layout) == layout
    assert said.startswith(f"axes taken for '{layout}', the likeliest of ")


def test_what_is_given_or_clear_is_left() -> None:
    reading = Reading(nn.Conv1d(2, 3, 3, padding=1), (torch.zeros(1, 2, 9),))
    assert with_likeliest_axes(reading) == (reading, "")
    with pytest.raises(LayoutError, match="has shape"):
        with_likeliest_axes(Reading(nn.Conv1d(2, 3, 3), (torch.zeros(1, 2, 9),), layout="b t -> b t"))


def test_an_audit_takes_the_likeliest_axes_and_says_so() -> None:
    audit = leadline.check(nn.LSTM(6, 6, batch_first=True), torch.zeros(2, 6, 6), only=["causality"])
    assert audit.layout == "b t c -> b t v"
    assert "the output is [0], of [0], [1][0], [1][1]" in audit.assumed
    assert (audit.verdict, audit.unread) == ("structural", "")
    again = leadline.check(
        nn.LSTM(6, 6, batch_first=True), torch.zeros(2, 6, 6), layout=audit.layout, output="[0]", only=["causality"]
    )
    assert again.causality == audit.causality
    assert not again.assumed


class Loss(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square().mean()


def test_axes_that_nobody_can_read_end_in_one_sentence() -> None:
    audit = leadline.check(Loss(), torch.zeros(2, 6, 6))
    assert audit.unread
    assert str(audit).count("has no axes to name") == 1


def test_beside_conditioning_too_a_convolution_reads_channels_first() -> None:
    class Conditioned(nn.Conv1d):
        def forward(self, sound: Tensor, frames: Tensor) -> Tensor:
            return super().forward(sound) + frames.mean()

    reading = Reading(Conditioned(1, 1, 3, padding=1), (torch.zeros(1, 1, 9), torch.zeros(1, 8, 3)))
    settled, said = with_likeliest_axes(reading)
    assert str(settled.layout) == "b c t, _ -> b v t"  # not a sequence of length one
    assert "'b c t, _ -> b v t'" in said
