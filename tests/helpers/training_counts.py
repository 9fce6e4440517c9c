"""Multiply-accumulates of a training step by torch's own counter, over a real forward and backward pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from leadline.domains._count import count


def counted_by_torch(model: nn.Module, *inputs: Any) -> tuple[int, int]:
    """Run both passes; the counter takes two operations for a multiply-accumulate.

    It knows no fused attention of the CPU, so that this one comes apart; nor the CPU's fused LSTM of batches first.
    """
    counter = FlopCounterMode(display=False)
    # it follows modules by hooks, which fail where views are made without gradients
    counter.mod_tracker = SimpleNamespace(parents={"Global"}, __enter__=lambda: None, __exit__=lambda *_: None)
    with sdpa_kernel(SDPBackend.MATH), counter:
        found = model(*inputs)
        forward = counter.get_total_flops()
        asking = [out.sum() for out in tree_leaves(found) if out.requires_grad]
        if asking:
            torch.stack(asking).sum().backward()
    return forward // 2, (counter.get_total_flops() - forward) // 2


def assert_as_torch(model: nn.Module, *inputs: Any, more: int = 0) -> None:
    """Compare; `more` is what torch counts too much backwards."""
    found = count(model, *inputs, backward=True)
    assert found.backward is not None
    assert (found.macs, found.backward.macs + more) == counted_by_torch(model, *inputs)
