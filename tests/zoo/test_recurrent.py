"""Explicit cells compute what torch.nn's fused recurrences do."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.zoo.recurrent import Recurrent, RecurrentConfig

configs = st.builds(
    RecurrentConfig, inputs=st.integers(1, 5), hidden=st.integers(1, 6), layers=st.integers(1, 3), bias=st.booleans()
)


@settings(max_examples=40)
@given(cell=st.sampled_from(["rnn", "gru", "lstm"]), config=configs, batch=st.integers(1, 3), length=st.integers(1, 8))
def test_explicit_cells_equal_the_fused_module(cell: str, config: RecurrentConfig, batch: int, length: int) -> None:
    fused = Recurrent(cell, config).double()
    explicit = Recurrent(cell, replace(config, explicit=True)).double()
    explicit.load_state_dict(fused.state_dict())
    x = torch.randn(batch, length, config.inputs, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(batch, length, config.hidden, dtype=torch.float64)

    torch.testing.assert_close(explicit(x), fused(x), rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(m(x), [x, *m.parameters()], cotangent) for m in (explicit, fused)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_both_forms_draw_the_same_weights_from_a_seed() -> None:
    from leadline import zoo

    fused, explicit = (zoo.build("lstm", seed=3, explicit=explicit).model for explicit in (False, True))
    for name, value in fused.state_dict().items():
        assert torch.equal(value, explicit.state_dict()[name])
