"""Every formula of the theory's part B comes out of the zoo's modules, and equals the graph level at fresh sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
import sympy

import leadline
from leadline.audit.architecture import Architecture, find_architecture
from leadline.recurrence import Law, Laws, System, system
from leadline.recurrence.analysis.schedule import generation_schedule
from leadline.results import Status
from leadline.zoo import build

d, k, s, H, W, T = (sympy.Symbol(name, integer=True, positive=True) for name in "dksHWT")


@dataclass(frozen=True)
class Case:
    """An architecture, its formulas, and between which sizes they are compared with the graph level."""

    words: tuple[str, ...]
    formulas: Mapping[str, sympy.Expr]
    between: Mapping[str, tuple[int, int]]
    region: Mapping[str, Mapping[str, sympy.Expr]] = field(default_factory=dict)
    lag: int | None = None

    def laws(self) -> tuple[Architecture, Laws]:
        architecture = find_architecture(self.words[0], self.words[1:])
        return architecture, architecture.laws()


GRID = {"H": (2, 7), "W": (2, 7)}
PLAIN = k**2 * (4 * H * W - 3 * H - 3 * W + 2) + (d - 1) * k**2 * (5 * H * W - 3 * H - 3 * W + 2)
CASES = {
    "B1, B7: WaveNet's dilated stack": Case(
        ("dilated-stack", "d=1..7", "k=1..4"),
        {
            "connections": k**2 * (2 * d * T - (2**d - 1)),
            "training_steps": d,
            "generation_steps": d * T,
            "context": 2**d,
            "state": k * (2**d - 1),
        },
        {"d": (1, 5), "k": (1, 5), "T": (2, 40)},
        {"connections": {"T": 2 ** (d - 1)}, "context": {"T": 2**d}},
        lag=0,
    ),
    "B1: WaveNet": Case(
        ("wavenet", "d=1..7", "k=1..4", "s=1..4", "head=1", "classes=2"),
        # a gated block does 5k² + ks a step, the last one without its residual product, the convolutions' borders off
        {
            "connections": (5 * d - 1) * k**2 * T + d * k * s * T - 2 * k**2 * (2**d + 1) + s * T + 2 * T,
            "training_steps": 2 * d + 2,
            "generation_steps": (2 * d + 2) * T,
            "context": 2**d,
        },
        {"d": (1, 4), "k": (1, 3), "s": (1, 4), "T": (3, 30)},
        lag=1,
    ),
    "B2, B3, B6, B7: PixelCNN": Case(
        ("masked-stack", "d=1..6", "k=1..4"),
        {
            "connections": PLAIN,
            "training_steps": d,
            "generation_steps": d * (2 * (H - 1) + W),
            "context": (3 * d**2 + 5 * d) / 2,
            "state": k * (d * (W + 1) - 1),  # the input keeps W, every layer but the last W + 1
        },
        {"d": (1, 4), "k": (1, 3), **GRID},
        {"context": {"H": d + 1, "W": 2 * d + 1}},
        lag=1,
    ),
    "B3: PixelCNN behind a first layer of 7 × 7": Case(
        ("pixelcnn", "d=0..6", "k=1..3", "classes=2", "embedding=1", "inner=1", "head=1"),
        {"training_steps": 3 * d + 3, "generation_steps": (3 * d + 3) * (4 * (H - 1) + W)},
        {"d": (0, 2), "k": (1, 2), "H": (2, 6), "W": (4, 8)},
        lag=1,
    ),
    "B4, B5, B6: the grid recurrence": Case(
        ("grid-rnn", "d=1..6", "k=1..4"),
        {"connections": d * k**2 * (3 * H * W - H - W), "training_steps": H + W - 1 + (d - 1), "context": H * W},
        {"d": (1, 4), "k": (1, 3), **GRID},
    ),
    "B4, B5, B7: MDRNN": Case(
        ("mdrnn", "d=1..6", "k=1..4", "cell=tanh", "classes=2", "embedding=1", "head=1"),
        # Core and head read embeddings of the pixels to the left and above, as far as there are any. The first cell
        # has none, so that chains begin a cell later than in the bare recurrence; two more steps are the head's.
        # Beside the W vectors a layer, generation keeps those embeddings.
        {
            "connections": d * k**2 * (3 * H * W - H - W) - k**2 * H * W + k * (3 * H * W - H - W) + 4 * H * W - H - W,
            "training_steps": H + W - 2 + (d - 1) + 2,
            "generation_steps": (d + 2) * (H + W - 1),
            "context": H * W - 1,
            "state": k * d * W + W - 1,
        },
        {"d": (1, 3), "k": (1, 3), **GRID},
        lag=1,
    ),
    **{
        f"B7: {name.upper()}": Case(
            (name, "d=1..5", "k=1..4"),
            {
                # with their gates; the states before the first ones are units
                "connections": 2 * gates * d * k**2 * T,
                "training_steps": T + d - 1,
                "generation_steps": d * T,
                "context": T,
                "state": states * d * k,
            },
            {"d": (1, 4), "k": (1, 4), "T": (2, 16)},
            lag=0,
        )
        # a GRU's product with the state alone is computed as early as it can be, and kept beside the state
        for name, gates, states in (("rnn", 1, 1), ("gru", 3, 2), ("lstm", 4, 2))
    },
}


def fresh(case: Case, laws: Laws, count: int) -> Iterable[dict[str, int]]:
    """Sizes within the region of every law that is compared at them."""
    random = Random(0)
    found = 0
    while found < count:
        sizes = {name: random.randint(*limits) for name, limits in case.between.items()}
        if all(holds(law, sizes) for law in (laws.connections, laws.training_steps, laws.generation_steps)):
            found += 1
            yield sizes


def holds(law: Law | None, sizes: Mapping[str, int]) -> bool:
    at = {sympy.Symbol(name, integer=True, positive=True): n for name, n in sizes.items()}
    return law is None or all(sizes[name] >= least.subs(at) for name, least in law.region.items() if name in sizes)


def compare(case: Case, count: int) -> None:
    architecture, laws = case.laws()
    for name, formula in case.formulas.items():
        found: Law = getattr(laws, name)
        assert sympy.expand(found.expression - formula) == 0, name
        assert found.status is Status.FITTED  # over depths and widths
        assert not found.doubt, found.doubt  # over the grid it is proved
        for axis, least in case.region.get(name, {}).items():
            assert sympy.expand(found.region[axis] - least) == 0
    assert (laws.generation_steps is None) == (case.lag is None)
    for sizes in fresh(case, laws, count):
        made = architecture.make(**sizes)  # one sample
        model, inputs = made.model.eval(), made.inputs
        reading = leadline.read(model, *inputs, layout=made.layout)
        assert laws.connections.at(**sizes) == reading.count().connections
        assert laws.training_steps.at(**sizes) == reading.span().steps
        if case.lag is not None:
            taken = reading.generation(case.lag)
            assert laws.generation_steps is not None
            assert laws.generation_steps.at(**sizes) == taken.steps.hi == taken.steps.lo


@pytest.mark.parametrize("name", ["B4, B5, B6: the grid recurrence"])
def test_a_formula_holds_at_fresh_sizes(name: str) -> None:
    compare(replace(CASES[name], words=("grid-rnn", "d=1..4", "k=1..4")), 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_formulas_hold_at_50_fresh_sizes(name: str) -> None:
    compare(CASES[name], 50)


def derived(name: str, **settings: Any) -> System:
    specimen = build(name, batch=1, **settings)
    return system(specimen.model.eval(), *specimen.inputs, layout=specimen.layout)


@pytest.mark.parametrize(
    ("name", "settings", "columns", "fronts"),
    [
        ("pixelcnn", {"first_kernel": 3, "layers": 3}, 1, 82),
        ("pixelcnn", {"first_kernel": 7, "layers": 3}, 3, 136),
        pytest.param("gated-pixelcnn", {"layers": 16}, 18, 541, marks=pytest.mark.slow),
    ],
)
def test_pixels_are_drawn_in_fronts_not_one_by_one(
    name: str, settings: dict[str, Any], columns: int, fronts: int
) -> None:
    """B3: min(D + 1, W)(H - 1) + W fronts, D columns being seen to the right in the row above."""
    found = generation_schedule(derived(name, height=28, width=28, classes=2, channels=2, head=1, **settings))
    assert sympy.expand(found.expression - ((columns + 1) * (H - 1) + W)) == 0
    assert found.length == fronts == (columns + 1) * 27 + 28


@pytest.mark.slow
def test_stacks_of_dilated_layers_add_their_contexts() -> None:
    """B1: S stacks see 1 + S(2^d - 1) positions."""
    found = find_architecture(
        "wavenet", ["d=1..6", "stacks=1..3", "channels=1", "skip=1", "head=1", "classes=2", "lag=0"]
    )
    stacks = sympy.Symbol("stacks", integer=True, positive=True)
    assert sympy.expand(found.laws().context.expression - (1 + stacks * (2**d - 1))) == 0
