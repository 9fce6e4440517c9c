"""Grids of one row or one column stream too: every neighbour on the thin axis is padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.causal_models import MaskedConv2dNet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.likelihoods import Categorical
from leadline.sampling._stream import stream
from leadline.sampling.naive import naive_sample
from leadline.zoo import build

QUICK = settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LAYOUT = "b h w -> b h w v"


def assert_streams(model: nn.Module, x: Tensor, classes: int, **how: Any) -> None:
    """Logits are the forward pass's, samples the naive sampler's, one symbol to a front."""
    model = model.double().eval()
    naive = naive_sample(model, x, layout=LAYOUT, likelihood=Categorical(classes), n=2, seed=3)
    first = stream(model, x, layout=LAYOUT, backend="torch", **how)
    for made in (first, first.using("numba")):
        assert torch.allclose(made.logits(x), model(x), rtol=0, atol=1e-10)
        assert torch.equal(made.generate(2, seed=3), naive)
        assert made.schedule.length == x.shape[1] * x.shape[2]


@given(
    st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([3, 5, 7])), min_size=1, max_size=3),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
)
@QUICK
def test_masked_convolutions_on_a_line(kernels: list[Any], length: int, row: bool, wavefront: bool) -> None:
    x = torch.randint(4, (2, 1, length) if row else (2, length, 1))
    assert_streams(MaskedConv2dNet(kernels, 3), x, 4, wavefront=wavefront)


@pytest.mark.parametrize(("height", "width"), [(1, 4), (4, 1), (1, 1)])
def test_a_grid_recurrence_on_a_line(height: int, width: int) -> None:
    made = build("mdrnn", height=height, width=width, batch=2, classes=3, hidden=3, embedding=2, head=3, reach=1)
    assert_streams(made.model, *made.inputs, 3)
