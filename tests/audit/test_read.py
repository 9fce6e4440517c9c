"""A model is read once: methods are the functions of their names, and a check traces, walks and runs once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.calls import counted, forward_passes
from torch import nn

import leadline
from leadline import DepthReading, read
from leadline.audit import _check
from leadline.domains.dependence.rules import walk_by
from leadline.domains.dependence.support import behind
from leadline.domains.engine import walk
from leadline.errors import LayoutError, NotDifferentiable, UsageError
from leadline.graph import resolve, run
from leadline.graph.trace import trace_call
from leadline.report.writing import encode
from leadline.zoo import Specimen, build

SMALL: dict[str, dict[str, int]] = {
    "pixelcnn": {"layers": 1, "first_kernel": 3, "height": 3, "width": 3, "channels": 4, "inner": 2, "head": 4},
    "transformer": {"layers": 1, "length": 4, "heads": 2, "head_channels": 2, "classes": 5},
}


def reading_of(specimen: Specimen) -> DepthReading:
    return read(specimen.model, *specimen.inputs, layout=specimen.layout, order=specimen.order)


@pytest.fixture
def without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotDifferentiable("not asked for")

    monkeypatch.setattr(_check, "gradient_of", refuse)


@pytest.mark.usefixtures("without_gradient")
@pytest.mark.parametrize("name", SMALL)
def test_one_check_is_one_trace_one_layout_and_one_walk_for_each_domain(name: str) -> None:
    specimen = build(name, **SMALL[name])
    reading = reading_of(specimen)
    with (
        counted(trace_call, resolve, run, walk, walk_by, behind) as calls,
        forward_passes(specimen.model) as passes,
    ):
        audit = reading.check()
    assert audit.verdict == "structural"
    assert (calls["reading.trace_call"], calls["reading.resolve"]) == (1, 1)
    assert passes == [True, False, True]  # for the memory, beside the graph, and for the reach
    assert calls["replay.run"] == 1
    walks = {key: count for key, count in calls.items() if key.endswith((".walk", ".walk_by", ".behind"))}
    passes_of_generation = walks.pop("_generation.walk_by")
    assert passes_of_generation > 1  # two fixed points
    assert walks.pop("rules.walk") == passes_of_generation + 3  # of ranks, units and depths
    # of one position, and of those far from a border where borders cut its map
    assert walks.pop("support.behind") == {"pixelcnn": 3, "transformer": 2}[name]
    once = (
        "pattern.walk",
        "ranks.walk_by",
        "units.walk_by",
        "units.behind",
        "masked.behind",
        "_count.walk",
        "depths.walk_by",
    )
    assert walks == dict.fromkeys(once, 1)


@pytest.mark.usefixtures("without_gradient")
def test_what_was_worked_out_for_a_check_is_there_for_the_methods() -> None:
    specimen = build("pixelcnn", **SMALL["pixelcnn"])
    reading = reading_of(specimen)
    audit = reading.check()
    with counted(trace_call, resolve, walk, walk_by, behind) as calls, forward_passes(specimen.model) as passes:
        assert reading.count() is audit.count
        assert reading.span() is audit.span
        assert reading.causality() is audit.causality
        assert reading.context(longer=False) is audit.context
        assert reading.generation() is audit.generation
        assert reading.memory() is audit.memory
        assert reading.system() is reading.system()
    assert not calls
    assert not passes


def methods(specimen: Specimen) -> dict[str, tuple[Callable[[DepthReading], Any], Callable[[], Any]]]:
    """Each method beside the function of its name."""
    model, inputs = specimen.model, specimen.inputs
    axes: dict[str, Any] = {"layout": specimen.layout, "order": specimen.order}
    return {
        "count": (lambda r: r.count(), lambda: leadline.count(model, *inputs)),
        "span": (lambda r: r.span(costs={"softmax": 1}), lambda: leadline.span(model, *inputs, costs={"softmax": 1})),
        "causality": (lambda r: r.causality(), lambda: leadline.causality(model, *inputs, **axes)),
        "context": (lambda r: r.context((2, 1)), lambda: leadline.context(model, *inputs, position=(2, 1), **axes)),
        "generation": (lambda r: r.generation(), lambda: leadline.generation(model, *inputs, lag=1, **axes)),
        "memory": (lambda r: r.memory(), lambda: leadline.memory(model, *inputs)),
        "gradient": (lambda r: r.gradient(seed=3), lambda: leadline.gradient(model, *inputs, seed=3)),
        "reach": (lambda r: r.reach(seed=3), lambda: leadline.reach(model, *inputs, seed=3, layout=specimen.layout)),
        "system": (
            lambda r: [str(v) for v in r.system().variables],
            lambda: [str(v) for v in leadline.system(model, *inputs, **axes).variables],
        ),
        "stream": (
            lambda r: r.stream(backend="torch").logits(*inputs),
            lambda: leadline.stream(model, *inputs, backend="torch", **axes).logits(*inputs),
        ),
        "check": (
            lambda r: {**encode(r.check(seed=3)), "seconds": None},
            lambda: {**encode(leadline.check(model, *inputs, seed=3, **axes)), "seconds": None},
        ),
    }  # fmt: skip


def test_every_method_is_the_function_of_its_name_whatever_was_asked_before() -> None:
    specimen = build("masked-stack", layers=2, channels=1, height=3, width=3)
    pairs = methods(specimen)
    expected = {name: encode(function()) for name, (_, function) in pairs.items()}
    assert {name for name in expected if hasattr(leadline, name)} == set(expected)
    for names in (list(expected), list(reversed(expected))):
        reading = reading_of(specimen)
        assert {name: encode(pairs[name][0](reading)) for name in names} == expected


def test_bound_and_spectrum_are_the_functions_of_their_names() -> None:
    model, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)), torch.randn(1, 3)
    reading = read(model, x)
    assert reading.bound(box=(-1.0, 1.0)) == leadline.bound(model, x, box=(-1.0, 1.0))
    found, expected = reading.spectrum(2), leadline.spectrum(model, x, 2)
    torch.testing.assert_close(found.values, expected.values)
    by_keyword = read(model, input=x).spectrum(2)
    torch.testing.assert_close(by_keyword.values, expected.values)


def test_what_needs_no_axes_works_where_they_cannot_be_told_apart() -> None:
    for order in (("count", "memory", "span", "gradient"), ("gradient", "span", "memory", "count")):
        reading = read(nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)), torch.randn(2, 3))
        for name in order:
            getattr(reading, name)()
        with pytest.raises(LayoutError, match="can be read in several ways"):
            reading.causality()


def test_what_needs_no_graph_traces_nothing() -> None:
    with counted(trace_call) as calls:
        reading = read(nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)), torch.randn(2, 3))
        reading.memory()
        reading.gradient()
        reading.spectrum()
    assert not calls


def test_the_model_is_left_as_it_was() -> None:
    specimen = build("batchnorm", layers=2)
    model = specimen.model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reading, state = reading_of(specimen), torch.get_rng_state()
    for name in ("memory", "count", "gradient", "check"):
        getattr(reading, name)()
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.eval(),
        lambda model: nn.init.ones_(model.weight),
        lambda model: model.load_state_dict(nn.Conv1d(1, 1, 3).state_dict()),
        lambda model: setattr(model, "weight", nn.Parameter(torch.ones(1, 1, 3))),
    ],
)
def test_a_model_that_has_changed_is_refused(change: Callable[[nn.Module], Any]) -> None:
    model = nn.Conv1d(1, 1, 3)
    reading = read(model, torch.zeros(1, 1, 5))
    reading.count()
    change(model)
    with pytest.raises(UsageError, match="Conv1d has changed since it was read"):
        reading.count()


class Clamped(nn.Linear):
    """Changes its own weights at every call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.weight.clamp_(-1, 1)
        return super().forward(x)


def test_what_running_a_model_changes_is_not_a_change_of_the_model() -> None:
    reading = read(Clamped(3, 3), torch.zeros(2, 3))
    assert reading.memory() == reading.memory()
    assert reading.memory().parameters == 48


def test_a_model_that_runs_without_gradients_only_has_its_other_depths() -> None:
    class Overwriting(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.bias.zero_()  # a leaf that asks for a gradient
            return super().forward(x)

    audit = leadline.check(Overwriting(3, 3), torch.zeros(2, 3))
    assert isinstance(audit.memory, _check.Unavailable)
    assert "leaf Variable" in audit.memory.reason


def test_a_comparison_takes_readings_and_models_with_their_inputs() -> None:
    x = torch.zeros(2, 3, 4)
    recurrent = read(nn.RNN(4, 4, batch_first=True), x, layout="b t c -> b t v", output="[0]")
    linear, keyword = (nn.Linear(4, 4), x), (nn.Linear(4, 3), {"input": x})
    found = leadline.compare(recurrent, linear, keyword)
    assert [audit.name for audit in found.audits] == ["RNN", "Linear (1)", "Linear (2)"]
    assert [audit.span.steps for audit in found.audits] == [3, 1, 1]  # type: ignore[union-attr]
    assert found.trials == (None, None, None)
    assert recurrent.span() is found.audits[0].span
    named = leadline.compare(recurrent, linear, names=("a", "b"))
    assert [audit.name for audit in named.audits] == ["a", "b"]


@pytest.mark.parametrize(
    ("models", "names", "message"),
    [
        (((nn.Identity(), torch.zeros(1)),), None, "two or more models side by side, got 1"),
        (((torch.zeros(1), nn.Identity()),) * 2, None, "models with their inputs, .* not tuple"),
        (((nn.Identity(), torch.zeros(1)),) * 2, ("a",), "2 models and 1 names"),
    ],
)
def test_a_comparison_says_what_it_takes(models: Any, names: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        leadline.compare(*models, names=names)
