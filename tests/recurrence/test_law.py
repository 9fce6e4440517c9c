"""Growth laws are refused where they do not fit, and outside their region."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leadline.audit.architecture import find_architecture
from leadline.domains import count
from leadline.errors import NotUniform, UsageError
from leadline.recurrence import law


def test_a_law_that_does_not_fit_is_refused() -> None:
    def build(k: int, T: int) -> Any:
        return nn.Linear(k, k if k < 4 else 1), (torch.zeros(1, T, k),)

    with pytest.raises(NotUniform, match="no formula"):
        law(build, layout="b t c -> b t v", k=range(1, 6), T=(4,))


def test_a_law_is_refused_outside_its_region() -> None:
    """The region is a formula too: what was fitted at small depths says where it holds at large ones."""

    def build(d: int, T: int) -> Any:
        layers = [nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(1, 1, 3)) for _ in range(d)]
        return nn.Sequential(*layers), (torch.zeros(1, 1, T),)

    found = law(build, layout="b c t -> b v t", d=range(1, 5), T=(6, 9))
    assert found.connections.at(d=10, T=7) == 10 * (7 + 6 + 5)
    assert str(found.context) == "2d + 1 for T ≥ 2d + 1"
    assert found.context.at(d=10, T=21) == 21
    with pytest.raises(UsageError, match="from T = 21 on, not at 20"):
        found.context.at(d=10, T=20)
    with pytest.raises(UsageError, match="needs the sizes d"):
        found.context.at(T=20)


@pytest.mark.parametrize(
    "name", ["wavenet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("transformer", "mdrnn"))]
)
def test_dense_multiply_accumulates_are_those_of_count(name: str) -> None:
    """At sizes that the law has not seen; a causal attention is twice as dense as it is connected."""
    _as_counted(name, ["d=1..3", "k=1..4"] if name != "wavenet" else ["k=1..4"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pixelcnn", "gated-pixelcnn"])
def test_dense_multiply_accumulates_of_masked_windows(name: str) -> None:
    """They are computed over more rows and columns than there are, and cropped."""
    _as_counted(name, ["d=1..5", "k=1..4"])


def _as_counted(name: str, words: list[str]) -> None:
    architecture = find_architecture(name, words)
    found = architecture.laws().macs
    assert found is not None
    sizes = {key: values[-1] + 2 for key, values in architecture.sizes.items()}
    made = architecture.make(**sizes)
    assert found.at(**{key: sizes[key] for key in found.fitted}) == count(made.model, *made.inputs).macs


class Cropped(nn.Module):
    """Convolutions over a grid, padded on both sides, whose results are cropped; the last taps may be masked."""

    def __init__(self, pads: list[int], k: int, masked: bool, early: bool) -> None:
        super().__init__()
        self.pads, self.early = pads, early
        kernels = [tuple(pad + 1 for pad in pads), (1, 2 * pads[-1] + 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(n, k, kernel, padding=tuple(pads) if kernel[0] > 1 else (0, pads[-1]))
            for n, kernel in zip((1, k), kernels, strict=True)
        )
        mask = torch.ones(kernels[0])
        mask[-1, -1] = not masked
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.convs
        found = torch.conv2d(x, first.weight * self.mask, first.bias, padding=self.pads)
        if self.early:
            found = found[..., : x.shape[2], : x.shape[3]]
        return second(found.tanh())[..., : x.shape[2], : x.shape[3]]


_SLOWLY = [pytest.param(*case, marks=pytest.mark.slow) for case in (([0, 2], False, True), ([1, 1], True, True))]


@pytest.mark.parametrize(("pads", "masked", "early"), [([2, 1], True, False), *_SLOWLY])
def test_products_at_places_that_are_cropped_are_in_the_law(pads: list[int], masked: bool, early: bool) -> None:
    """At sizes that it has not seen, of a grid with sides of their own; masked taps are multiplied too."""

    def build(k: int, H: int, W: int) -> Any:
        return Cropped(pads, k, masked, early), (torch.zeros(1, 1, H, W),)

    found = law(build, layout="b c h w -> b v h w", k=range(1, 5), H=(5, 6), W=(7, 9)).macs
    assert found is not None
    for sizes in ({"k": 5, "H": 7, "W": 8}, {"k": 2, "H": 11, "W": 9}):
        model, inputs = build(**sizes)
        assert found.at(**sizes) == count(model, *inputs).macs


def test_there_is_no_law_of_multiply_accumulates_that_places_share() -> None:
    """A weight that is made of two others is multiplied once for all places."""

    def build(k: int, T: int) -> Any:
        class Shared(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.left, self.right = nn.Parameter(torch.ones(k, 1)), nn.Parameter(torch.ones(1, k))

            def forward(self, x: Tensor) -> Tensor:
                return x @ (self.left @ self.right)

        return Shared(), (torch.zeros(1, T, k),)

    found = law(build, layout="b t c -> b t v", k=range(1, 5), T=(6, 7, 9))
    assert str(found.connections) == "T·k²"
    assert found.macs is None
    assert "shared by places" in found.macs_unknown
