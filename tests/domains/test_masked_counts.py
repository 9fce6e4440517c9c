"""Both conventions of multiply-accumulates against pairs that are counted one by one."""

from __future__ import annotations

import pytest
import torch
from helpers.countable import MaskedConv2d
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from leadline.domains._count import Backward, count

HEADS, WIDTH = 2, 3
WRITTEN = ("bool", "inf", "finite", "fill", "fill finite", "where", "times", "no softmax")


class Attention(nn.Module):
    """Self-attention with a known mask, joined in one of several ways; perhaps all but the first row dropped then."""

    def __init__(self, shown: Tensor, how: str, cropped: bool) -> None:
        super().__init__()
        self.project, self.last = nn.Linear(HEADS * WIDTH, 3 * HEADS * WIDTH), nn.Linear(HEADS * WIDTH, 2)
        self.register_buffer("shown", shown)
        self.how, self.cropped = how, cropped

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.project(x).view(batch, length, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        mixed = self.mixed(q, k, v).transpose(1, 2).reshape(batch, length, -1)
        return self.last(mixed[:, 0] if self.cropped else mixed)

    def mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.how == "bool":
            return scaled_dot_product_attention(q, k, v, attn_mask=self.shown)
        low = torch.zeros(self.shown.shape).masked_fill(~self.shown, -torch.inf if self.how == "inf" else -1e9)
        if self.how in ("inf", "finite"):
            return scaled_dot_product_attention(q, k, v, attn_mask=low)
        scores = q @ k.transpose(-1, -2)
        if self.how == "fill":
            return scores.masked_fill(~self.shown, -torch.inf).softmax(-1) @ v
        if self.how == "fill finite":
            return scores.masked_fill(~self.shown, torch.finfo(scores.dtype).min).softmax(-1) @ v
        if self.how == "where":
            return torch.where(self.shown, scores / 2, low).softmax(-1) @ v
        if self.how == "times":
            return (scores.softmax(-1) * self.shown) @ v
        return (scores * self.shown) @ v


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    """Draw a causal mask, a window, blocks, none, or any that leaves each query a key."""
    n = draw(st.integers(1, 7))
    query, key = torch.arange(n).unsqueeze(1), torch.arange(n)
    width = draw(st.integers(1, 4))
    anything = torch.tensor(draw(st.lists(st.booleans(), min_size=n * n, max_size=n * n))).reshape(n, n)
    return draw(
        st.sampled_from(
            [
                key <= query,
                (key <= query) & (key > query - width),
                (key - query).abs() < width,
                key // width == query // width,
                torch.ones(n, n, dtype=torch.bool),
                anything | torch.eye(n, dtype=torch.bool),
            ]
        )
    )


@given(shown=masks(), how=st.sampled_from(WRITTEN), cropped=st.booleans(), batch=st.integers(1, 2))
@settings(max_examples=12, deadline=None)
def test_pairs_that_masks_let_through(shown: Tensor, how: str, cropped: bool, batch: int) -> None:
    """Masks before a softmax hide scores too; one behind it hides products with the values alone, if a softmax mixes
    all scores of a row.
    """
    n = shown.shape[0]
    found = count(Attention(shown, how, cropped), torch.zeros(batch, n, HEADS * WIDTH), backward=True)
    rows = batch if cropped else batch * n
    project, last = 3 * batch * n * (HEADS * WIDTH) ** 2, rows * HEADS * WIDTH * 2
    every, let = (batch * HEADS * WIDTH * pairs for pairs in (n * n, int(shown.sum())))
    scores = every if how == "times" else let
    assert (found.macs, found.macs_masked) == (project + last + 2 * every, project + last + scores + let)
    assert found.backward is not None
    assert found.backward.macs == project + 2 * last + 4 * every
    assert found.backward.macs_masked == project + 2 * last + 2 * scores + 2 * let


def test_a_fused_causal_attention_is_half() -> None:
    """n (n + 1) / 2 pairs of n²; heads that share keys and values count as queries have them."""

    class Fused(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    q, k, v = torch.zeros(2, 4, 6, 3), torch.zeros(2, 2, 6, 3), torch.zeros(2, 2, 6, 5)
    found = count(Fused(), q, k, v, backward=True)
    assert (found.macs, found.macs_masked) == (2 * 4 * 36 * 8, 2 * 4 * 21 * 8)
    assert found.backward == Backward()
    asked = count(Fused(), q, k, v.requires_grad_(), backward=True).backward
    assert asked == Backward(2 * 4 * 36 * 5, 2 * 4 * 21 * 5, 2 * 4 * 36 * 3)


class Lower(nn.Module):
    def forward(self, a: Tensor, v: Tensor) -> Tensor:
        return a.tril() @ v


def test_a_lower_triangle() -> None:
    found = count(Lower(), torch.zeros(1, 6, 6), torch.zeros(1, 6, 4))
    assert (found.macs, found.macs_masked, found.connections) == (144, 84, 84)


class ClassToken(nn.Module):
    """Reads one row only, of which the layers before know nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[:, 0])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (ClassToken(), (2, 5, 4)),
        (nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.ReLU()), (2, 2, 5)),
        (MaskedConv2d(2, 3, 3), (1, 2, 4, 4)),
        (nn.LSTM(3, 2), (4, 1, 3)),
    ],
)
def test_what_no_mask_hides_counts_in_both(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Rows that are dropped, padding, and masked taps, which no kernel leaves out."""
    found = count(model, torch.zeros(shape))
    assert found.macs_masked == found.macs >= found.connections
