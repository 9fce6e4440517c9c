"""Models that write into their inputs, and such as compute parts again: as without, and the inputs stay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import leadline
from leadline.errors import NotUniform


class Block(nn.Module):
    def __init__(self, again: bool | None) -> None:
        super().__init__()
        self.layers, self.again = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), again

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) if self.again is None else checkpoint(self.layers, x, use_reentrant=self.again)


def blocks(again: bool | None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), *[Block(again) for _ in range(8)])


@pytest.mark.parametrize("again", [True, False])
def test_checkpoints_change_no_derivative(again: bool) -> None:
    x = torch.randn(2, 6, 4)
    without, model = (leadline.gradient(blocks(how), x) for how in (None, again))
    assert [s.gradient.value for s in model.stages] == pytest.approx([s.gradient.value for s in without.stages])
    values = [leadline.spectrum(blocks(how), x[:1, 0], k=2).values for how in (None, again)]
    torch.testing.assert_close(*values)


def first_in_place() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4))


def first_beside() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


class Writing(nn.Module):
    def __init__(self, write: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.write, self.linear = write, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.write(x)
        return self.linear(x)


MODELS = {
    "relu": first_in_place,
    "mul_": lambda: Writing(lambda x: x.mul_(2.0)),
    "add_ of positions": lambda: Writing(lambda x: x.add_(torch.arange(6.0)[None, :, None])),
    "assignment": lambda: Writing(lambda x: x.__setitem__((slice(None), 0), 0.0)),
    "through a view": lambda: Writing(lambda x: x[:, 1:].add_(1.0)),
    "clamp_": lambda: Writing(lambda x: x.clamp_(-0.5, 0.5)),
}
QUESTIONS: dict[str, Callable[[leadline.DepthReading], object]] = {
    "count": lambda reading: reading.count(),
    "causality": lambda reading: reading.causality(),
    "span": lambda reading: reading.span(),
    "memory": lambda reading: reading.memory(),
    "spectrum": lambda reading: reading.spectrum(k=2),
    "stream": lambda reading: reading.stream(backend="torch"),
}


@pytest.mark.parametrize("name", MODELS)
def test_inputs_stay_as_they_were(name: str) -> None:
    x = torch.randn(2, 6, 4)
    given = x.clone()
    reading = leadline.read(MODELS[name](), given, layout="b t c -> b t v")
    for question, ask in QUESTIONS.items():
        with suppress(NotUniform):
            ask(reading)
        assert torch.equal(given, x), question


def test_the_same_as_without_writing() -> None:
    x = torch.randn(2, 6, 4)
    for ask in (
        lambda m: [stage.gradient.value for stage in leadline.gradient(m, x, probes=4).stages],
        lambda m: leadline.spectrum(m, x, k=3).values.tolist(),
        lambda m: leadline.count(m, x).connections,
    ):
        assert ask(first_in_place()) == pytest.approx(ask(first_beside()))


def test_a_residual_added_outside_its_step_belongs_to_it() -> None:
    torch.manual_seed(0)
    steps, width = 5, 4

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(steps):
                x = x + self.step(x) / 4
            return x

    model, x = Tied().double(), torch.randn(1, width, dtype=torch.float64)
    found = leadline.gradient(model, x, probes=256)
    expected, total, state = [], torch.eye(width, dtype=torch.float64), x
    jacobians = []
    for _ in range(steps):
        once = lambda a: a + model.step(a) / 4  # noqa: E731
        jacobians.append(torch.autograd.functional.jacobian(once, state).reshape(width, width))
        state = once(state).detach()
    for step in reversed(jacobians):
        total = total @ step
        expected.append(float(total.norm()))
    assert [stage.gradient.value for stage in found.stages] == pytest.approx(expected[::-1], rel=0.15)
