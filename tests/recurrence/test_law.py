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


@pytest.mark.parametrize("name", ["transformer", "mdrnn", "wavenet"])
def test_dense_multiply_accumulates_are_those_of_count(name: str) -> None:
    """At sizes that the law has not seen; a causal attention is twice as dense as it is connected."""
    architecture = find_architecture(name, ["d=1..3", "k=1..4"] if name != "wavenet" else ["k=1..4"])
    found = architecture.laws().macs
    assert found is not None
    sizes = {key: values[-1] + 2 for key, values in architecture.sizes.items()}
    made = architecture.make(**sizes)
    assert found.at(**{key: sizes[key] for key in found.fitted}) == count(made.model, *made.inputs).macs


def test_there_is_no_law_of_multiply_accumulates_where_borders_are_cropped() -> None:
    """A product at more places than there are is not the same number at each."""

    def build(k: int, T: int) -> tuple[Any, Any]:
        class Cropped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv1d(1, k, 3, padding=2)

            def forward(self, x: Tensor) -> Tensor:
                return self.conv(x)[..., : x.shape[2]]

        return Cropped(), (torch.zeros(1, 1, T),)

    for sizes in ((7, 9), (6,)):  # at six places the eight of the convolution make four products a place, by chance
        found = law(build, layout="b c t -> b v t", k=range(1, 4), T=sizes)
        assert str(found.connections) == "3·k·(T - 1) for T ≥ 2"
        assert found.macs is None
        assert "where the output is cropped" in found.macs_unknown
