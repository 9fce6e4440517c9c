"""Convolutions by Fourier transforms: causal where the signals are, whichever way the spectra are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, fft, nn
from torch.nn.functional import pad

import leadline

T, C = 5, 2
Way = Callable[[Tensor, Tensor, int], Tensor]
"""From a sequence ``[b, t, c]``, a kernel ``[k, c]`` and a length to a sequence."""


def half(x: Tensor, k: Tensor, n: int, product: Callable[[Tensor, Tensor], Tensor] = torch.mul) -> Tensor:
    return fft.irfft(product(fft.rfft(x, n, 1), fft.rfft(k, n, 0)), n, 1)


def wide(product: Callable[[Tensor, Tensor], Tensor]) -> Way:
    return lambda x, k, n: half(x, k, n, product)


def channels_first(x: Tensor, k: Tensor, n: int) -> Tensor:
    spectra = fft.rfft(x.mT, n), fft.rfft(k.mT.unsqueeze(0), n)
    return fft.irfft(torch.einsum("bhl,chl->bchl", *spectra), n).flatten(1, 2).mT


def padded(x: Tensor, k: Tensor, n: int) -> Tensor:
    x, k = pad(x, (0, 0, 0, n - T)), pad(k, (0, 0, 0, n - len(k)))
    return fft.irfft(fft.rfft(x, dim=1) * fft.rfft(k, dim=0), n, dim=1)


def whole(x: Tensor, k: Tensor, n: int) -> Tensor:
    return fft.ifft(fft.fft(x, n, 1) * fft.fft(k, n, 0), dim=1).real


def backwards(x: Tensor, k: Tensor, n: int) -> Tensor:
    return fft.irfft(fft.rfft(x, n, 1) * fft.rfft(k.flip(0), n, 0).conj(), n, 1).roll(len(k) - 1, 1)


WAYS: dict[str, Way] = {
    "half spectra": half,
    "whole spectra": whole,
    "padded": padded,
    "channels first": channels_first,
    "conjugate": backwards,
    "scaled": wide(lambda a, b: 2 * a * b / 3),
    "skipped": wide(lambda a, b: a * (b + 1) - a),
    "mixed": wide(lambda a, b: (a * b) @ torch.ones(C, C, dtype=a.real.dtype).to(a)),
    "summed": wide(lambda a, b: (a * b).sum(-1, keepdim=True)),
    "heads": wide(lambda a, b: (a.unsqueeze(2) * b.unsqueeze(1)).squeeze(2)),
    "one channel": wide(lambda a, b: (a * b)[..., :1]),
    "orthonormal": lambda x, k, n: fft.irfft(fft.rfft(x, n, 1, "ortho") * fft.rfft(k, n, 0, "ortho"), n, 1, "ortho"),
    "gated": lambda x, k, n: fft.irfft(fft.rfft(x, n, 1) * fft.rfft(pad(k, (0, 0, 0, T - len(k))) * x, n, 1), n, 1),
}
LEFT: dict[str, Way] = {
    "moduli": wide(lambda a, b: a.abs() * b),
    "a filter": wide(lambda a, b: a * torch.linspace(0, 1, b.shape[0], dtype=b.real.dtype).unsqueeze(1) * b),
    "twisted": wide(lambda a, b: a * b * 1j),
    "another length": lambda x, k, n: fft.irfft(fft.rfft(x, n, 1) * fft.rfft(k, n, 0), n + 1 - 2 * (n % 2), 1),
}


class Filtered(nn.Module):
    """A sequence convolved with a kernel, and cropped."""

    def __init__(self, way: Way, taps: int, count: int) -> None:
        super().__init__()
        self.way, self.count = way, count
        self.kernel = nn.Parameter(torch.randn(taps, C))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.way(x, self.kernel, self.count)[:, :T]
        return found


def judged(way: Way, taps: int, count: int, seed: int = 0) -> tuple[leadline.domains.Causality, Tensor, Tensor]:
    """Return the verdict, the map that is read and the one that a perturbation shows."""
    torch.manual_seed(seed)
    model, x = Filtered(way, taps, count).double().eval(), torch.randn(2, T, C, dtype=torch.float64)
    reading = leadline.read(model, x, layout="b t c -> b t v")
    seen = torch.stack([reading.context(t).map for t in range(T)])
    shown, before = torch.zeros(T, T, dtype=torch.bool), model(x)
    for place in range(T):
        for _ in range(2):
            changed = x.clone()
            changed[:, place] = torch.randn(2, C, dtype=torch.float64)
            shown[:, place] |= (model(changed) - before).abs().amax((0, 2)) > 1e-9
    return reading.causality(), seen, shown


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.reuse, Phase.generate])
@given(st.sampled_from(sorted(WAYS)), st.integers(1, T), st.integers(T, 2 * T + 1), st.integers(0, 99))
def test_products_of_spectra_see_what_circular_convolutions_do(way: str, taps: int, count: int, seed: int) -> None:
    found, seen, shown = judged(WAYS[way], taps, count, seed)
    assert torch.equal(seen, shown)
    wraps = count < T + taps - 1
    assert found.causal is not wraps
    assert found.cross_batch is None


@pytest.mark.parametrize("way", sorted(WAYS))
def test_each_way_is_causal(way: str) -> None:
    found = leadline.causality(Filtered(WAYS[way], T, 2 * T), torch.zeros(2, T, C), layout="b t c -> b t v")
    assert (found.verdict, found.lag) == (leadline.domains.Verdict.STRUCTURAL, 0)


@pytest.mark.parametrize("way", sorted(LEFT))
def test_what_is_no_product_of_spectra_is_not_taken_for_one(way: str) -> None:
    found, seen, shown = judged(LEFT[way], T, 2 * T)
    assert not found.causal
    assert bool((seen | ~shown).all())
    assert bool(shown.triu(1).any())
