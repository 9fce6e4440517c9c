"""After any public function, on success or error, models and inputs are as they were, down to every byte."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from helpers import blocks, jacobians, stateful
from helpers.described import described, differences, saved
from helpers.stateful import KINDS
from torch import Tensor, nn

import leadline
from leadline import zoo
from leadline.errors import LeadlineError
from leadline.graph import trace
from leadline.graph.restoring import contents
from leadline.likelihoods import Categorical
from leadline.sampling import naive_sample
from leadline.sampling.rates import FrameStream
from leadline.sampling.streaming import Stream

Ask = Callable[..., Any]
SEQUENCE = "b t c -> b t v"

WITH_AXES = ("causality", "check", "context", "span", "stream", "system", "bound", "count")
FUNCTIONS: Mapping[str, Ask] = {
    **{name: getattr(leadline, name) for name in WITH_AXES},
    "generation": lambda model, *x, **how: leadline.generation(model, *x, lag=0, **how),
    "memory": lambda model, *x, **_: leadline.memory(model, *x),
    "gradient": lambda model, *x, **_: leadline.gradient(model, *x),
    "monitor": lambda model, *x, layout, **_: watched(model, *x, layout=layout),
    "remedies": lambda model, *x, **_: leadline.remedies(model, *x),
    "reach": lambda model, *x, layout, **_: leadline.reach(model, *x, layout=layout),
    "spectrum": lambda model, *x, **_: leadline.spectrum(model, x, k=2, probes=1),
    "lyapunov": lambda model, *x, **_: leadline.lyapunov(model, x[0], steps=3),
    "compare": lambda model, *x, **_: leadline.compare((model, *x), (model, *x)),
    "law": lambda model, *x, layout, **_: leadline.law(lambda n: (model, x), layout=layout, n=(1, 2, 3)),  # noqa: ARG005
    "read": lambda model, *x, layout, **how: [
        suppressed(ask) for ask in asked(leadline.read(model, *x, layout=layout, **how))
    ],
    "trace": lambda model, *x, **_: trace(model, *x),
    "export": lambda model, *x, layout, **_: exported(leadline.stream(model, *x, layout=layout)),
    "naive_sample": lambda model, *x, layout, **_: naive_sample(
        model,
        *x,
        layout=layout or SEQUENCE,
        likelihood=Categorical(4),
        n=2,
        encode=one_hot if x[0].is_floating_point() else None,
    ),
}
QUICK = ("causality", "gradient", "memory")


def one_hot(symbols: Tensor) -> Tensor:
    return nn.functional.one_hot(symbols, stateful.C).float()


def watched(model: nn.Module, *x: Any, layout: str | None) -> None:
    """A training that does no step; a call of the model would change it by itself."""
    with leadline.monitor(model, *x, layout=layout) as watch:
        watch.stepped()


def exported(found: Stream | FrameStream) -> None:
    """Write a stream as C and as a program of torch's, which runs the model beside it."""
    with TemporaryDirectory() as folder:
        for name in ("left.c", "left.pt2"):
            with suppress(LeadlineError):
                found.export(Path(folder) / name, compare=20)


def asked(reading: leadline.DepthReading) -> Iterator[Callable[[], Any]]:
    """Every question that a reading answers."""
    return (getattr(reading, name) for name in vars(type(reading)) if not name.startswith("_"))


def suppressed(ask: Callable[[], Any]) -> None:
    with suppress(LeadlineError):
        ask()


def test_every_public_function_is_asked() -> None:
    public = {name for name in leadline.__all__ if inspect.isfunction(getattr(leadline, name))}
    assert public <= {*FUNCTIONS}


def outside() -> list[Any]:
    """State of the tables' models that is not within them."""
    return [stateful.REMEMBERED, stateful._LAST, stateful.Stateful.shared, stateful.Stateful.counted]


def assert_left(ask: Ask, model: nn.Module, inputs: tuple[Any, ...], **how: Any) -> None:
    before = described(model, inputs, *outside())
    with suppress(LeadlineError):
        ask(model, *inputs, **how)
    changed = differences(before, described(model, inputs, *outside()))
    assert not changed


def assert_still_works(model: nn.Module, twin: nn.Module, x: Tensor, before: bytes) -> None:
    """The model can be saved and copied, and returns what it would have returned."""
    assert saved(model) == before
    copy.deepcopy(model)
    outputs = []
    for each in (twin, model):
        torch.manual_seed(0)
        try:
            outputs.append(each(x.clone()))
        except (Exception, SystemExit) as error:
            outputs.append(str(error))
    assert type(outputs[0]) is type(outputs[1])
    torch.testing.assert_close(*outputs, rtol=0, atol=0) if isinstance(outputs[0], Tensor) else None


def leave_kind(kind: str, functions: Mapping[str, Ask]) -> None:
    model, x = stateful.stateful(kind)
    twin, before = copy.deepcopy(model), saved(model)
    for ask in functions.values():
        assert_left(ask, model, (x,), layout=SEQUENCE)
    assert type(stateful.future(stateful.T)) is Tensor
    if "noise" not in kind:  # Python's is drawn by both calls
        assert_still_works(model, twin, x, before)


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_change_while_they_run(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor counts as large: what may wait is copied when an operation is about to write it."""
    monkeypatch.setattr(contents, "AT_ONCE", 0)
    leave_kind(kind, {name: FUNCTIONS[name] for name in QUICK})


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_models_that_change_while_they_run_under_every_function(kind: str) -> None:
    leave_kind(kind, FUNCTIONS)


TABLES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    **{
        f"block: {name}": (lambda make=make: (make(), torch.randn(2, blocks.T, blocks.C)))
        for table in (blocks.STRUCTURAL, blocks.FINITE, blocks.PRESENT, blocks.LEAKS)
        for name, make in table.items()
    },
    **{f"jacobian: {name}": make for name, make in jacobians.CASES.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_the_models_of_the_tables(name: str) -> None:
    model, x = TABLES[name]()
    for ask in FUNCTIONS.values():
        with suppress(RuntimeError, ValueError, IndexError):  # what is wrong with an error is tested elsewhere
            assert_left(ask, model, (x,), layout=SEQUENCE if x.ndim == 3 else None)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", sorted(zoo.ZOO))
def test_the_zoo(name: str, training: bool) -> None:
    specimen = zoo.build(name)
    model = specimen.model.train(training)
    for ask in FUNCTIONS.values():
        assert_left(ask, model, specimen.inputs, layout=specimen.layout)
