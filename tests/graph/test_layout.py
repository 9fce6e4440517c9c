from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LayoutError
from leadline.graph import Layout, resolve


def tokens(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int64)


def test_axes_have_roles() -> None:
    layout = Layout.parse("b t c, _, b k -> b t v")
    assert layout.inputs == {"0": ("b", "t", "c"), "1": None, "2": ("b", "k")}
    assert layout.positions == ("t",)
    assert (layout.features("0"), layout.features("2"), layout.channels("0")) == (("c",), ("k",), ("v",))


@pytest.mark.parametrize("text", ["b t", "b t -> b t -> b", " -> b t", "b t t -> b t", "b t, -> b t"])
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(LayoutError):
        Layout.parse(text)


@given(st.permutations(["c", "h", "w"]), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_ranks_are_the_place_in_the_order(order: list[str], c: int, h: int, w: int) -> None:
    sizes = {"c": c, "h": h, "w": w}
    ranks = Layout.parse("b c h w -> b v c h w").ranks(sizes, " ".join(order))
    visited = list(itertools.product(*(range(sizes[axis]) for axis in order)))
    for rank, place in enumerate(visited):
        at = dict(zip(order, place, strict=True))
        assert ranks[at["c"], at["h"], at["w"]] == rank


def test_an_order_may_be_a_tensor() -> None:
    layout, order = Layout.parse("b t -> b t v"), torch.tensor([2, 0, 1])
    assert layout.ranks({"t": 3}, order).tolist() == [2, 0, 1]
    with pytest.raises(LayoutError, match="shape"):
        layout.ranks({"t": 4}, order)
    with pytest.raises(LayoutError, match="did you mean 't'"):
        layout.ranks({"t": 4}, "tt")


@pytest.mark.parametrize(
    ("given_", "made", "layout"),
    [
        (tokens(2, 5), (2, 5, 9), "b t -> b t v"),
        (tokens(2, 5), (2, 9, 5), "b t -> b v t"),
        (tokens(2, 4, 5), (2, 4, 5, 9), "b h w -> b h w v"),
        (tokens(2, 3, 4, 5), (2, 9, 3, 4, 5), "b c h w -> b v c h w"),
        (torch.zeros(2, 5, 3), (2, 5, 7), "b t c -> b t v"),
        (torch.zeros(2, 3, 5), (2, 7, 5), "b c t -> b v t"),
        (torch.zeros(2, 3, 8, 8), (2, 10), "b c h w -> b v"),
    ],
)
def test_one_reading_is_taken(given_: torch.Tensor, made: tuple[int, ...], layout: str) -> None:
    assert str(resolve(None, {"x": given_}, {"y": torch.zeros(made)})) == layout


def test_several_readings_are_shown() -> None:
    with pytest.raises(LayoutError, match=r"layout='b t c -> b t v'; layout='b c t -> b v t'"):
        resolve(None, {"x": torch.zeros(2, 5, 5)}, {"y": torch.zeros(2, 5, 5)})
    with pytest.raises(LayoutError, match="in several ways"):
        resolve(None, {"x": torch.zeros(2, 5)}, {"y": torch.zeros(2, 5)})


def test_no_reading_asks_for_names() -> None:
    with pytest.raises(LayoutError, match="name the axes"):
        resolve(None, {"x": torch.zeros(2, 5), "y": torch.zeros(2, 5)}, {"z": torch.zeros(2, 5)})


def test_dicts_name_inputs_and_the_output() -> None:
    inputs, outputs = (
        {"input_ids": tokens(2, 5), "mask": tokens(2, 5)},
        {"logits": torch.zeros(2, 5, 9), "loss": torch.zeros(())},
    )
    full = resolve({"input_ids": "b t", "mask": None, "logits": "b t v"}, inputs, outputs)
    assert (dict(full.inputs), dict(full.outputs)) == (
        {"input_ids": ("b", "t"), "mask": None},
        {"logits": ("b", "t", "v")},
    )
    assert resolve({"input_ids": "b t", "mask": None}, inputs, outputs, output="logits") == full
    with pytest.raises(LayoutError, match="mask"):
        resolve({"input_ids": "b t"}, inputs, outputs, output="logits")
    with pytest.raises(LayoutError, match="did you mean 'input_ids'"):
        resolve({"input_id": "b t"}, inputs, outputs, output="logits")
    with pytest.raises(LayoutError, match="several outputs"):
        resolve("b t, _ -> b t v", inputs, outputs)


def test_axes_must_fit() -> None:
    with pytest.raises(LayoutError, match=r"x has shape \(2, 5\) \(2 axes\)"):
        resolve("b t c -> b t v", {"x": torch.zeros(2, 5)}, {"y": torch.zeros(2, 5, 3)})
    with pytest.raises(LayoutError, match="describes 2 inputs"):
        resolve("b t, _ -> b t v", {"x": torch.zeros(2, 5)}, {"y": torch.zeros(2, 5, 3)})


@given(ndim=st.integers(2, 4), channels=st.integers(0, 2))
def test_an_output_may_be_called_as_an_input_is(ndim: int, channels: int) -> None:
    read, written = ["b", "h", "w", "d"][:ndim], [*["b", "h", "w", "d"][:ndim], *"vu"[:channels]]
    sizes = {"b": 2, "h": 3, "w": 4, "d": 5, "v": 7, "u": 8}
    x, y = tokens(*map(sizes.get, read)), torch.zeros(*map(sizes.get, written))
    found = resolve(f"{' '.join(read)} -> {' '.join(written)}", {"sample": x}, {"sample": y})
    assert (found.inputs, found.outputs) == ({"sample": tuple(read)}, {"sample": tuple(written)})


def test_a_dict_tells_the_axes_of_the_input_where_an_output_has_its_name() -> None:
    for x, axes, y, read in (
        (tokens(2, 5), "b t", torch.zeros(2, 5, 9), ("b", "t", "v")),
        (torch.zeros(2, 3, 8, 9), "b c h w", torch.zeros(2, 4, 8, 9), ("b", "v", "h", "w")),
    ):
        found = resolve({"sample": axes, "step": None}, {"sample": x, "step": torch.zeros(1)}, {"sample": y})
        assert (found.inputs["sample"], found.outputs["sample"]) == (tuple(axes.split()), read)
