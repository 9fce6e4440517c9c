"""What torch streams the compiled path streams: every operation of the table at one position."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.feature_operations import C, Call, calls
from torch import Tensor, nn

from leadline.errors import LeadlineError
from leadline.graph.table import OPERATIONS
from leadline.sampling import Stream, stream

CALLS = calls()
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-5}


class Made(nn.Module):
    """The results of calls, side by side."""

    def __init__(self, chosen: list[Call]) -> None:
        super().__init__()
        self.chosen = chosen

    def forward(self, x: Tensor) -> Tensor:
        rows = [call(x) for call in self.chosen]
        return torch.cat([r if r.ndim == 3 else r.unsqueeze(-1) for r in rows], -1)


def rows(dtype: torch.dtype, length: int = 5) -> Tensor:
    """Return numbers on both sides of zero, some of them whole or equal."""
    x = torch.randn(2, length, C, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
    x[0, 1, :3], x[1, 2] = torch.tensor([2.0, -1.0, 0.0]).double(), x[1, 2].round()
    return x.to(dtype)


def streamed(chosen: list[Call], backend: Any, dtype: torch.dtype = torch.float64) -> Stream:
    return stream(Made(chosen), rows(dtype), layout="b t c -> b t v", backend=backend)


def native(name: str) -> bool:
    """Say whether the table gives an operation an instruction, or a recipe for these literals may."""
    facts = (OPERATIONS.get(f"aten.{name}") or OPERATIONS[f"aten.{name.partition('.')[0]}"]).pointwise
    return facts is not None and (facts.opcode.__name__, facts.recipe.__name__) != ("unknown", "unknown")


@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)])
def test_what_has_an_instruction_or_a_recipe_equals_the_forward_pass(dtype: torch.dtype) -> None:
    chosen = {name: call for name, call in CALLS.items() if native(name)}
    assert len(chosen) > 90
    made, model = streamed(list(chosen.values()), "numba", dtype), Made(list(chosen.values()))
    x = rows(dtype, 7)
    wanted, found = model(x), made.logits(x)
    torch.testing.assert_close(found, wanted, rtol=CLOSE[dtype], atol=CLOSE[dtype], equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_both_backends_stream_each_operation_or_neither_does(name: str) -> None:
    x, call = rows(torch.float64, 7), CALLS[name]
    try:
        first = streamed([call], "torch")
        torch.testing.assert_close(first.logits(x), Made([call])(x), rtol=1e-10, atol=1e-10, equal_nan=True)
    except (LeadlineError, AssertionError) as error:
        pytest.skip(f"torch does not: {error}")
    for dtype, close in CLOSE.items():
        made, x = streamed([call], "numba", dtype), rows(dtype, 7)
        torch.testing.assert_close(made.logits(x), Made([call])(x), rtol=close, atol=close, equal_nan=True)
