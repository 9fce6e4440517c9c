"""Counts of the zoo's cores against the closed forms of theory B1, B2 and B4."""

from __future__ import annotations

import pytest

from leadline.domains._count import count
from leadline.zoo import build


@pytest.mark.parametrize(("layers", "length"), [(1, 1), (3, 4), (3, 11), (4, 5)])
def test_wavenet_stack(layers: int, length: int) -> None:
    """B1: k² Σ_l (T + max(0, T - 2^l)), which is k²(2dT - (2^d - 1)) once T ≥ 2^(d-1)."""
    k = 3
    specimen = build("dilated-stack", layers=layers, length=length, channels=k, batch=1)
    law = k**2 * sum(length + max(0, length - 2**layer) for layer in range(layers))
    if length >= 2 ** (layers - 1):
        assert law == k**2 * (2 * layers * length - (2**layers - 1))
    assert count(specimen.model, *specimen.inputs).connections == law


@pytest.mark.parametrize("first", ["A", "B"])
@pytest.mark.parametrize(("height", "width", "layers"), [(3, 3, 1), (4, 6, 2), (7, 5, 3)])
def test_pixelcnn_stack(height: int, width: int, layers: int, first: str) -> None:
    """B2: k²(4HW - 3H - 3W + 2) with mask A, k²HW more with mask B; cropped rows are no units."""
    k = 2
    specimen = build("masked-stack", layers=layers, height=height, width=width, channels=k, first=first, batch=1)
    a = k**2 * (4 * height * width - 3 * height - 3 * width + 2)
    b = a + k**2 * height * width
    law = (a if first == "A" else b) + (layers - 1) * b
    assert count(specimen.model, *specimen.inputs).connections == law


@pytest.mark.parametrize(("height", "width", "layers"), [(1, 1, 1), (3, 4, 1), (5, 2, 3)])
def test_mdrnn(height: int, width: int, layers: int) -> None:
    """B4: k²(3HW - H - W) a layer, neighbours outside the grid not counted; the code's 3k² a cell are its macs."""
    k = 3
    specimen = build("grid-rnn", height=height, width=width, layers=layers, hidden=k, inputs=k, batch=1)
    found = count(specimen.model, *specimen.inputs)
    assert found.connections == layers * k**2 * (3 * height * width - height - width)
    assert found.macs == layers * k**2 * 3 * height * width


def test_a_dead_product_is_no_connection() -> None:
    """B1: blocks of 5k² + ks a step, but for the last block's residual product, which nothing reads."""
    shallow, deep = (
        build("wavenet", layers=layers, length=64, lag=0, channels=6, skip=5, batch=1) for layers in (2, 3)
    )
    k, s = 6, 5
    added = count(deep.model, *deep.inputs).connections - count(shallow.model, *shallow.inputs).connections
    # two gates read 64 positions and the 60 that have one 4 back; a skip; the residual of the block before
    assert added == 2 * k * k * (64 + 60) + k * s * 64 + k * k * 64
