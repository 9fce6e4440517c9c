"""Compact tensors stand for the dense ones that they broadcast to, cost what varies, and refuse what does not fit."""

from __future__ import annotations

from collections import Counter
from math import prod
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.domains.compact import Pool, axis_groups, memory_limit, reshaped, shrunk
from leadline.domains.dependence import flow, rules, support
from leadline.errors import TooLarge

SIZES = st.lists(st.integers(1, 4), max_size=4)


@st.composite
def compact_tensors(draw: st.DrawFn) -> tuple[Tensor, tuple[int, ...]]:
    """Draw a tensor that varies along some axes, and the shape that it stands for."""
    shape = tuple(draw(SIZES))
    kept = [n if draw(st.booleans()) else 1 for n in shape]
    return torch.randint(3, kept, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))), shape


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    """Draw a compact tensor and two shapes of as many elements, whose axes split and merge each other."""
    x, old = draw(compact_tensors())
    new: list[int] = []
    for size in old:
        divisor = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        new += [divisor, size // divisor]
    while len(new) > 1 and draw(st.booleans()):
        at = draw(st.integers(0, len(new) - 2))
        new[at : at + 2] = [new[at] * new[at + 1]]
    return x, old, tuple(new)


@given(compact_tensors())
def test_shrinking_keeps_what_a_tensor_stands_for(case: tuple[Tensor, tuple[int, ...]]) -> None:
    x, shape = case
    small = shrunk(x.expand(shape))
    assert torch.equal(small.expand(shape), x.expand(shape))
    for axis, size in enumerate(small.shape):
        assert size == 1 or not torch.equal(small, small.narrow(axis, 0, 1).expand_as(small))


@given(reshapes())
def test_a_compact_tensor_is_reshaped_as_the_dense_one_is(
    case: tuple[Tensor, tuple[int, ...], tuple[int, ...]],
) -> None:
    x, old, new = case
    found = reshaped(x, old, new)
    assert torch.equal(found.expand(new), x.expand(old).reshape(new))
    assert all(size in (1, full) for size, full in zip(found.shape, new, strict=True))


@given(reshapes())
def test_groups_of_axes_are_of_equal_size_and_hold_every_axis_once(
    case: tuple[Tensor, tuple[int, ...], tuple[int, ...]],
) -> None:
    _, old, new = case
    groups = axis_groups(old, new)
    assert [axis for before, _ in groups for axis in before] == list(range(len(old)))
    assert [axis for _, after in groups for axis in after] == list(range(len(new)))
    assert all(prod(old[i] for i in before) == prod(new[j] for j in after) for before, after in groups)


def test_a_pool_tells_dtypes_shapes_and_contents_apart() -> None:
    pool, x = Pool(), torch.tensor([[1.0, 2.0]])
    assert pool.one(x.clone()) is pool.one(x.clone())
    others = [x.double(), x[0], x.T, x + 1, x.to(torch.bfloat16)]
    assert len({id(pool.one(other)) for other in [x, *others]}) == 6


def test_zeros_of_either_sign_are_not_alike() -> None:
    assert shrunk(torch.tensor([0.0, -0.0, 0.0])).shape == (3,)
    assert shrunk(torch.tensor([-0.0, -0.0])).shape == (1,)


class Pairs(nn.Module):
    """Compares every position with every other."""

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        return x + (places.unsqueeze(0) > 3 * places.unsqueeze(1)).sum(0)


def test_what_does_not_fit_is_refused_before_it_is_allocated_with_the_operation_and_the_size() -> None:
    x = torch.zeros(1, 10_000, device="meta")
    with (
        memory_limit(1 << 26),
        pytest.raises(TooLarge, match=r"aten\.gt\.Tensor at .*test_compact\.py:\d+.* 800\.0 MB"),
    ):
        leadline.causality(Pairs(), x, layout="b t -> b t")
    assert leadline.causality(Pairs(), torch.zeros(1, 100), layout="b t -> b t").causal


def transfers_of(layers: int) -> Counter[str]:
    """Count the rules that run while a stack of equal blocks is counted and its context mapped."""
    found: Counter[str] = Counter()
    blocks = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(layers)]
    reading = leadline.read(nn.Sequential(*blocks), torch.zeros(2, 40, 8), layout="b t c -> b t v")

    def counted(*args: object) -> object:
        found["rules"] += 1
        return flow.applied(*args)  # type: ignore[arg-type] # the arguments are passed on

    with patch.object(rules, "applied", counted), patch.object(support, "applied", counted):
        for ask in (reading.count, reading.context):
            ask()
    return found


def test_many_equal_layers_cost_what_few_do() -> None:
    few, many = transfers_of(3), transfers_of(12)
    assert 0 < many["rules"] <= few["rules"] + 3


@pytest.mark.parametrize("width", [16, 160_000])
def test_values_do_not_grow_with_what_they_do_not_vary_along(width: int) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, width))
        tokens = torch.zeros(64, 2048, dtype=torch.long)
    with memory_limit(1 << 25):
        reading = leadline.read(model, tokens, layout="b t -> b t v")
        assert reading.count().connections == 64 * 2048 * 8 * width
        assert (reading.span().steps, reading.causality().lag, reading.context().size) == (1, 0, 1)
