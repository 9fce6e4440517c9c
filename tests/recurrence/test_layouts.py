"""Layouts that nobody names: the only one that all sizes allow, or that gives equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline import law, system
from leadline.errors import LayoutError


class Causal(nn.Module):
    """Sees two places before each, along one axis of a tensor, and mixes the other."""

    def __init__(self, k: int, channels_first: bool) -> None:
        super().__init__()
        self.conv, self.channels_first = nn.Conv1d(k, k, 3), channels_first

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.channels_first else x.mT
        y = self.conv(nn.functional.pad(y, (2, 0)))
        return y if self.channels_first else y.mT


@given(k=st.integers(1, 5), t=st.integers(3, 5), channels_first=st.booleans())
@settings(max_examples=6, deadline=None)
def test_one_reading_alone_gives_a_system(k: int, t: int, channels_first: bool) -> None:
    """Of channels and places that have the same sizes before and after."""
    model, x = Causal(k, channels_first), torch.zeros((1, k, t) if channels_first else (1, t, k))
    found = system(model, x)
    wanted = system(model, x, layout="b c t -> b v t" if channels_first else "b t c -> b t v")
    assert (found.axes, found.sizes, len(found.variables)) == (wanted.axes, wanted.sizes, len(wanted.variables))


def test_several_systems_are_asked_about() -> None:
    """Each number by itself may be a place or a channel."""
    with pytest.raises(LayoutError, match="in several ways"):
        system(nn.Tanh(), torch.zeros(1, 4, 4))


@pytest.mark.parametrize("channels_first", [True, False])
def test_the_sizes_of_a_law_tell_the_axes(channels_first: bool) -> None:
    """At some sizes alone, as k = T, several readings fit; over all of them one does."""

    def build(k: int, T: int) -> tuple[Any, Any]:
        return Causal(k, channels_first), (torch.zeros((1, k, T) if channels_first else (1, T, k)),)

    found = law(build, k=range(3, 8), T=(4, 5))
    assert str(found.connections.expression) == "3*T*k**2 - 3*k**2"


class Embedded(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(4, k), nn.Linear(k, k)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.table(x))


def test_a_size_at_which_two_readings_fit_does_not_end_a_law() -> None:
    def build(k: int, T: int) -> tuple[Any, Any]:
        return Embedded(k), (torch.zeros(1, T, dtype=torch.long),)

    assert str(law(build, k=range(4, 9), T=(4, 5)).connections) == "T·k²"
