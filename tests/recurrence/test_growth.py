"""Growth laws come out of the zoo's modules as the formulas of the theory, and wrong ones are refused."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
import torch
from torch import nn

from leadline import zoo
from leadline.errors import NotUniform, UsageError
from leadline.recurrence import law
from leadline.results import Status

d, k, H, W, T = (sympy.Symbol(name, integer=True, positive=True) for name in "dkHWT")


def from_zoo(name: str, **names: str) -> Any:
    def build(**sizes: int) -> Any:
        specimen = zoo.build(name, **{names[key]: value for key, value in sizes.items() if key in names})
        return specimen.model, specimen.inputs

    return build


@pytest.mark.slow
def test_wavenet_s_stack() -> None:
    build = from_zoo("dilated-stack", d="layers", k="channels", T="length")
    laws = law(build, layout="b k t -> b m t", d=range(1, 7), k=range(1, 5), T=(64,))
    assert sympy.expand(laws.connections.expression - k**2 * (2 * d * T - (2**d - 1))) == 0
    assert laws.training_steps.expression == d
    assert laws.generation_steps is not None
    assert laws.generation_steps.expression == d * T
    assert laws.context.expression == 2**d
    assert laws.state is not None
    assert sympy.expand(laws.state.expression - k * (2**d - 1)) == 0
    assert {laws.connections.status, laws.generation_steps.status} == {Status.PROVED}


@pytest.mark.slow
def test_pixelcnn_s_stack() -> None:
    build = from_zoo("masked-stack", d="layers", k="channels", H="height", W="width")
    laws = law(build, layout="b k h w -> b m h w", d=range(1, 6), k=range(1, 5), H=(9,), W=(13,))
    first, other = 4 * H * W - 3 * H - 3 * W + 2, 5 * H * W - 3 * H - 3 * W + 2
    assert sympy.expand(laws.connections.expression - k**2 * (first + (d - 1) * other)) == 0
    assert laws.generation_steps is not None
    assert sympy.expand(laws.generation_steps.expression - d * (2 * (H - 1) + W)) == 0
    assert sympy.expand(laws.context.expression - (3 * d**2 + 5 * d) / 2) == 0


@pytest.mark.slow
def test_mdrnn_s_core() -> None:
    build = from_zoo("grid-rnn", d="layers", H="height", W="width")
    laws = law(build, layout="b h w k -> b h w m", d=range(1, 5), H=(6,), W=(6,))
    assert sympy.expand(laws.training_steps.expression - (H + W + d - 2)) == 0
    assert laws.training_steps.status is Status.PROVED
    assert laws.generation_steps is None
    assert laws.context.expression == H * W


def test_a_law_that_does_not_fit_is_refused_and_a_region_is_kept() -> None:
    def build(k: int, T: int) -> Any:
        return nn.Linear(k, k if k < 4 else 1), (torch.zeros(1, T, k),)

    with pytest.raises(NotUniform, match="no formula"):
        law(build, layout="b t c -> b t v", k=range(1, 6), T=(4,))
    fitting = law(
        lambda k, T: (nn.Linear(k, k), (torch.zeros(1, T, k),)), layout="b t c -> b t v", k=range(1, 6), T=(4,)
    )
    assert fitting.connections.at(k=10, T=7) == 700
    with pytest.raises(UsageError, match="from T = 4 on"):
        fitting.context.at(T=3)
