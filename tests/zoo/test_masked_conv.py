"""The cropped masked convolution is the masked full kernel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from leadline.zoo.layers.masked_conv import MaskedConv2d

masks = st.sampled_from(["A", "B"])


def full_kernel(conv: MaskedConv2d, mask: str) -> Tensor:
    """The k × k kernel with zeros at and after the centre (mask A), or after it (mask B)."""
    outputs, inputs, rows, k = conv.weight.shape
    full = torch.cat([conv.weight, conv.weight.new_zeros(outputs, inputs, k - rows, k)], dim=2)
    later = torch.tensor([[i * k + j > k * k // 2 - (mask == "A") for j in range(k)] for i in range(k)])
    return full.masked_fill(later, 0.0)


@given(
    mask=masks, radius=st.integers(1, 4), inputs=st.integers(1, 4), outputs=st.integers(1, 4), bias=st.booleans(),
    batch=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_equals_the_masked_full_kernel_with_gradients(
    mask: str, radius: int, inputs: int, outputs: int, bias: bool, batch: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = MaskedConv2d(inputs, outputs, 2 * radius + 1, mask, bias).double()
    x = torch.randn(batch, inputs, height, width, dtype=torch.float64, requires_grad=True)
    wants = [x, *conv.parameters()]
    cotangent = torch.randn(batch, outputs, height, width, dtype=torch.float64)

    cropped = conv(x)
    full = torch.nn.functional.conv2d(x, full_kernel(conv, mask), conv.bias, padding=radius)
    torch.testing.assert_close(cropped, full, rtol=0, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(cropped, wants, cotangent), torch.autograd.grad(full, wants, cotangent), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@given(mask=masks, k=st.integers(1, 3), height=st.integers(1, 8), width=st.integers(1, 8))
def test_three_by_three_connections_with_borders(mask: str, k: int, height: int, width: int) -> None:
    conv = MaskedConv2d(k, k, 3, mask, bias=False)
    torch.nn.init.ones_(conv.weight)
    taps = conv(torch.ones(1, k, height, width)).sum()  # every edge between units carries a 1
    own = 4 if mask == "A" else 5
    assert taps == k * k * (own * height * width - 3 * height - 3 * width + 2)


@pytest.mark.parametrize(("kernel", "mask"), [(1, "A"), (2, "B"), (4, "A")])
def test_refuses_kernels_that_see_nothing_or_have_no_centre(kernel: int, mask: str) -> None:
    with pytest.raises(ValueError, match=f"got {kernel}"):
        MaskedConv2d(1, 1, kernel, mask)
