"""Verdicts follow the consequence: the factor at the depth at hand and at twice it, whatever the dtype."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline import gradient
from leadline.jacobian.chains.judging import Sampled, stages_between
from leadline.jacobian.chains.judging import judged as judged_stages
from leadline.jacobian.laws.growth import FORMATS, fit_law
from leadline.jacobian.laws.verdicts import MUCH, Path, kind_of
from leadline.zoo import ZOO, build

NEAR = 0.05 * MUCH
"""What measures differ by, where they may fall on either side of a limit."""


def rotations(gains, dtype=torch.float64, width=4):
    """Return a chain whose stages turn and stretch, by a gain each."""
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(width, width, bias=False, dtype=dtype) for _ in gains]
    for layer, gain in zip(layers, gains, strict=True):
        turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q
        layer.weight = nn.Parameter((gain * turn).to(dtype))
    return nn.Sequential(*layers)


def path(growth):
    return Path([str(stage) for stage in range(len(growth))], np.asarray(growth))


@pytest.mark.parametrize(
    ("growth", "kind"),
    [
        (np.full(48, math.log(0.5) / 48), "stable"),  # a half in total, and a quarter at twice the depth
        (np.full(12, math.log(1.11)), "stable"),  # 3.5 and 12
        (0.9 * np.diff(np.log(np.arange(13) + 0.5)), "stable"),  # a power: 1.9 × more at twice the depth
        (np.full(12, math.log(1.3)), "exploding"),  # 23, but 540 at twice the depth
        (np.full(12, math.log(0.75)), "vanishing"),
        (np.full(24, math.log(1.3)), "exploding"),
        (np.zeros(3), "stable"),
        ([0.3, -0.2, 0.1], "stable"),  # few, but none does much
        ([1.5], "stable"),
        ([3.0], "unknown"),
    ],
)
def test_words_follow_the_consequence(growth, kind):
    growth = np.asarray(growth, dtype=np.float64)
    assert kind_of(fit_law(growth), path(growth), growth) == kind


@given(
    rate=st.floats(-0.6, 0.6),
    noise=st.floats(0.0, 0.5),
    stages=st.integers(2, 40),
    seed=st.integers(0, 1000),
    end=st.floats(-3.0, 3.0),
)
@settings(max_examples=80)
def test_kind_law_and_limits_of_formats_do_not_contradict_each_other(rate, noise, stages, seed, end):
    growth = rate + noise * np.random.default_rng(seed).standard_normal(stages)
    growth[-1] += end  # a head that is unlike the rest
    found = judged(growth)
    total, lost = found.total.value, [depth for depth in found.underflow_depth.values() if depth is not None]
    assert total == pytest.approx(growth.sum(), abs=1e-9)
    if found.kind == "stable":
        assert max(abs(total), abs(found.twice)) < MUCH
        assert not lost or min(lost) > 2 * stages
    if found.kind in ("vanishing", "exploding"):
        sign = 1 if found.kind == "exploding" else -1
        assert max(sign * total, sign * found.twice) >= MUCH
        assert not lost or min(lost) <= stages or sign * found.law.parameter > 0
        assert sign * found.twice > 0 or abs(total) >= MUCH
    if found.kind == "unknown":
        assert not lost
        assert not found.sure
    said = [f"over {times * stages:,}" in found.verdict for times in (2, 10)]
    assert said == [found.kind in ("stable", "vanishing", "exploding")] * 2
    assert ("go on so" in found.verdict) == (said[0] and not found.sure)


def judged(growth, resolution=1e-12):
    """Return what `gradient` says of stages with this growth, measured without an error."""
    below = np.append(np.exp(-2 * np.cumsum(growth)[::1]), 0)  # squares at each boundary, from the input on
    squares = np.concatenate([[1.0], below[:-1]])[None]
    sampled = Sampled(0, resolution, exact=True)
    stages = stages_between(tuple(map(str, range(len(growth)))), squares, None, sampled)
    usable = np.ones(len(growth) + 1, dtype=bool)
    return judged_stages(stages, squares, usable, sampled, torch.float64)


@given(rate=st.floats(-0.5, 0.5), noise=st.floats(0.0, 0.3), stages=st.integers(4, 20), seed=st.integers(0, 1000))
@settings(max_examples=80)
def test_one_model_has_one_verdict_whatever_its_dtype(rate, noise, stages, seed):
    """The same growth, measured with the rounding of each format."""
    draw = np.random.default_rng(seed)
    growth = rate + noise * draw.standard_normal(stages)
    found = []
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        resolution = 8 * torch.finfo(dtype).eps
        found.append(judged(growth + resolution / 8 * draw.standard_normal(stages), resolution))
    ends = [abs(end) for each in found for end in (each.total.value, each.twice) if end is not None]
    clear = all(abs(end - MUCH) > NEAR for end in ends)
    if clear and len({each.law.kind for each in found}) == 1:
        assert len({each.kind for each in found}) == 1


@pytest.mark.parametrize(("gain", "kind"), [(0.8, "vanishing"), (0.97, "stable"), (1.25, "exploding")])
def test_a_chain_has_one_verdict_in_all_dtypes(gain, kind):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        assert gradient(rotations([gain] * 12, dtype), torch.randn(1, 4).to(dtype)).kind == kind


@pytest.mark.parametrize("name", FORMATS)
def test_a_stable_chain_of_a_tiny_rate_is_the_same_in_all_dtypes(name):
    """Double precision sees a rate of 1e-9, of which no depth makes anything."""
    gains = [math.exp(1e-9)] * 12
    fine, coarse = (
        gradient(rotations(gains, dtype), torch.randn(1, 4).to(dtype)) for dtype in (torch.float64, FORMATS[name])
    )
    assert fine.kind == coarse.kind == "stable"
    assert fine.law.kind == "stable"


def test_parts_before_and_after_the_repeated_ones_do_not_spoil_the_law():
    torch.manual_seed(0)
    turns = rotations([0.9] * 8, width=6)
    wide, head = nn.Linear(2, 6, bias=False), nn.Linear(6, 1, bias=False)
    found = gradient(nn.Sequential(wide, *turns, head).double(), torch.randn(5, 2, dtype=torch.float64))
    assert len(found.stages) == 10
    assert found.law.kind == "exponential"
    assert found.rate.value == pytest.approx(math.log(0.9), abs=1e-9)


def test_fronts_of_a_grid_are_stages():
    specimen = build("grid-rnn", layers=1, height=4, width=5, inputs=3, hidden=6, cell="tanh")
    model, x = specimen.model.double(), specimen.inputs[0].double()
    found = gradient(model, x, probes=60)
    assert [stage.name for stage in found.stages] == [f"[front {front}]" for front in range(8)]
    J = torch.autograd.functional.jacobian(lambda x: model(x)[:, -1, -1], x)  # samples, out, samples, h, w, in
    squares = J.square().sum((0, 1, 2, 5))
    fronts = torch.arange(4)[:, None] + torch.arange(5)
    for front, stage in enumerate(found.stages):
        dense = float(squares[fronts == front].sum().sqrt())
        assert abs(stage.gradient.value - dense) <= 5 * stage.gradient.sem + 1e-12


def test_a_model_around_a_grid_has_its_fronts_too():
    specimen = build("mdrnn", height=4, width=4, hidden=6, embedding=4, head=6)
    found = gradient(specimen.model, *specimen.inputs)
    assert [stage.name for stage in found.stages] == [f"core[front {front}]" for front in range(7)]
    assert found.kind != "unknown"


QUICK = ("chain", "mlp", "rnn")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(ZOO)])
def test_no_architecture_of_the_zoo_is_left_without_a_verdict(name):
    specimen = build(name)
    found = gradient(specimen.model, *specimen.inputs)
    assert found.kind != "unknown", found.verdict


class Part(nn.Module):
    """One part of a generated chain, on (b, t, c), of some gain."""

    def __init__(self, kind: str, gain: float, width: int, bends: bool) -> None:
        super().__init__()
        self.kind, self.gain, self.bends = kind, gain, bends
        self.linear = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.linear.weight, std=width**-0.5)
        self.conv = nn.Conv1d(width, width, 3, padding=1, bias=False)
        nn.init.normal_(self.conv.weight, std=(3 * width) ** -0.5)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "conv":
            y = self.gain * self.conv(x.mT).mT
        elif self.kind == "norm":
            y = self.gain * self.linear(self.norm(x))
        elif self.kind == "residual":
            y = x + 0.3 * self.gain * self.linear(x)
        else:
            y = self.gain * self.linear(x)
        return torch.tanh(y) if self.bends else y


def generated(seed: int) -> tuple[nn.Module, Tensor, str]:
    """Return a chain of 6 to 24 parts, with gains between 0.5 and 2, its input, and what it is made of."""
    draw = np.random.default_rng(seed)
    kind = ("linear", "conv", "residual", "norm", "recurrent", "mixed")[seed % 6]
    depth, gain, bends = int(draw.integers(6, 25)), float(2.0 ** draw.uniform(-1, 1)), bool(draw.integers(2))
    torch.manual_seed(seed)
    width = 6
    if kind == "recurrent":
        layer = nn.RNN(3, width, batch_first=True).double()
        nn.init.normal_(layer.weight_hh_l0, std=gain * width**-0.5)
        return layer, torch.randn(1, depth, 3, dtype=torch.float64), kind
    kinds = [
        str(draw.choice(["linear", "conv", "residual", "norm"])) if kind == "mixed" else kind for _ in range(depth)
    ]
    gains = gain * 2.0 ** draw.uniform(-0.2, 0.2, depth)
    parts = [Part(each, float(g), width, bends) for each, g in zip(kinds, gains, strict=True)]
    return nn.Sequential(*parts).double(), torch.randn(1, 4, width, dtype=torch.float64), kind


def steps_of(model: nn.Module, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each stage's dense Jacobian, and the state after it."""
    if isinstance(model, nn.RNN):
        h = torch.zeros(1, model.hidden_size, dtype=x.dtype)
        for t in range(x.shape[1]):
            cell = lambda h, t=t: model(x[:, t : t + 1], h[None])[1][0]  # noqa: E731
            yield torch.autograd.functional.jacobian(cell, h).reshape(h.numel(), h.numel()), (h := cell(h).detach())
        return
    for part in model:
        yield torch.autograd.functional.jacobian(part, x).reshape(x.numel(), x.numel()), (x := part(x).detach())


def dense_growth(model: nn.Module, x: Tensor) -> list[float]:
    """Return the log growth of the gradient from the end back to before each stage, the last one first."""
    stages = [J for J, _ in steps_of(model, x)]
    product, found = torch.eye(len(stages[-1]), dtype=torch.float64), []
    for J in reversed(stages):
        product = product @ J
        found.append(math.log(float(product.norm())) - 0.5 * math.log(len(J)))
    return found


def by_dense_product(growth: list[float]) -> str:
    """Say what a dense product does: by its total, and by what as much again would make of it."""
    total = growth[-1]
    if abs(2 * total) >= MUCH:
        return "exploding" if total > 0 else "vanishing"
    return "turning" if max(map(abs, growth)) >= MUCH else "stable"


@pytest.mark.slow
def test_verdicts_of_two_hundred_generated_models_agree_with_dense_products() -> None:
    wrong = []
    for seed in range(200):
        model, x, kind = generated(seed)
        found, growth = gradient(model, x, seed=seed), dense_growth(model, x)
        expected = by_dense_product(growth)
        if found.kind != expected:
            wrong.append(f"{seed} {kind}: {found.kind}, not {expected} at {math.exp(growth[-1]):.3g} ×: {found.law}")
    print(f"{200 - len(wrong)} of 200 verdicts agree with the dense product's growth", *wrong, sep="\n  ")
    assert len(wrong) <= 2
