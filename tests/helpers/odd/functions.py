"""Every public function on a model and inputs, and what must hold of any of its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception
from typing import Any

from helpers.described import described, differences
from helpers.odd.forwards import B, C, NotAnException
from jaxtyping import TypeCheckError
from torch import Tensor, nn

import leadline
from leadline import testing
from leadline.errors import LeadlineError, Unforeseen
from leadline.graph import trace
from leadline.likelihoods import Categorical
from leadline.sampling import naive_sample

SEQUENCE = "b t c -> b t v"
SECONDS, LONGEST = 30.0, 2500
Ask = Callable[..., Any]


def _one_hot(symbols: Tensor) -> Tensor:
    return nn.functional.one_hot(symbols, C).float()


def _streamed(backend: Any) -> Ask:
    def ask(model: Any, *x: Any) -> None:
        how: dict[str, Any] = {"layout": SEQUENCE, "likelihood": Categorical(C), "encode": _one_hot}
        found = leadline.stream(model, *x, backend=backend, **how)
        found.reset(batch=B)
        found.step(x[0][:, :1])
        found.generate(2, length=4)

    return ask


def _exported(suffix: str) -> Ask:
    def ask(model: Any, *x: Any) -> None:
        found = leadline.stream(model, *x, layout=SEQUENCE)
        with TemporaryDirectory() as folder:
            found.export(Path(folder) / f"odd{suffix}", compare=20)

    return ask


def _read(model: Any, *x: Any) -> None:
    """Ask a reading every question; the first error that is not readable, or not foreseen, is raised."""
    reading = leadline.read(model, *x)
    for name in (name for name in vars(type(reading)) if not name.startswith("_")):
        try:
            getattr(reading, name)()
        except LeadlineError as error:
            assert_readable(error)


def _watched(model: Any, *x: Any) -> None:
    with leadline.monitor(model, *x, layout=SEQUENCE) as watch:
        watch.stepped()


FUNCTIONS: Mapping[str, Ask] = {
    "bound": leadline.bound,
    "causality": lambda model, *x: leadline.causality(model, *x, layout=SEQUENCE),
    "check": leadline.check,
    "compare": lambda model, *x: leadline.compare((model, *x), (model, *x)),
    "context": lambda model, *x: leadline.context(model, *x, layout=SEQUENCE),
    "count": leadline.count,
    "count with backward": lambda model, *x: leadline.count(model, *x, backward=True),
    "generation": lambda model, *x: leadline.generation(model, *x, layout=SEQUENCE),
    "gradient": leadline.gradient,
    "monitor": _watched,
    "remedies": leadline.remedies,
    "reach": lambda model, *x: leadline.reach(model, *x, layout=SEQUENCE),
    "law": lambda model, *x: leadline.law(lambda n: (model, x), layout=SEQUENCE, n=(1, 2, 3)),  # noqa: ARG005
    "lyapunov": lambda model, *x: leadline.lyapunov(model, *x, steps=3),
    "memory": leadline.memory,
    "memory on cuda": lambda model, *x: leadline.memory(model, *x, device="cuda", optimizer="adamw"),
    "read": _read,
    "span": leadline.span,
    "spectrum": lambda model, *x: leadline.spectrum(model, x, k=2, probes=1),
    "stream, compiled": _streamed("numba"),
    "stream": _streamed("torch"),
    "stream as C": _exported(".c"),
    "stream as a program": _exported(".pt2"),
    "system": lambda model, *x: leadline.system(model, *x, layout=SEQUENCE),
    "trace": trace,
    "naive_sample": lambda model, *x: naive_sample(
        model, *x, layout=SEQUENCE, likelihood=Categorical(C), n=2, encode=_one_hot
    ),
    "assert_causal": lambda model, *x: testing.assert_causal(model, *x, layout=SEQUENCE),
    "assert_context": lambda model, *x: testing.assert_context(model, *x, sees=1, layout=SEQUENCE),
    "assert_gradient_stable": testing.assert_gradient_stable,
    "assert_span": lambda model, *x: testing.assert_span(model, *x, steps=1),
    "assert_connections": lambda model, *x: testing.assert_connections(model, *x, macs=1),
}
QUICK = ("lyapunov", "memory", "spectrum")
"""Those that do not trace."""


def assert_readable(error: LeadlineError) -> None:
    """An error was made for what happened, and says something at a length that is read, without a traceback."""
    text = str(error)
    assert not isinstance(error, Unforeseen), text
    assert text.strip(), f"{type(error).__name__} says nothing"
    assert len(text) < LONGEST, f"{len(text)} characters: {text[:300]}"
    assert "Traceback" not in text, text


def faults(name: str, model: Any, inputs: tuple[Any, ...]) -> list[str]:
    """List what is wrong with what a function does on a model and inputs."""
    found: list[str] = []
    before, began = described(model, inputs), time.process_time()
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            FUNCTIONS[name](model, *inputs)
    except LeadlineError as error:
        try:
            assert_readable(error)
        except AssertionError as wrong:
            found.append(str(wrong))
    except (KeyboardInterrupt, NotAnException, TypeCheckError):  # the user's own way out; what tests alone check
        pass
    except BaseException as error:
        failed = isinstance(error, AssertionError) and name.startswith("assert_")
        found += [] if failed else ["".join(format_exception(error))[-1500:]]
    seconds = time.process_time() - began
    found += [f"took {seconds:.0f} s of CPU"] * (seconds > SECONDS)
    return found + [f"changed: {way}" for way in differences(before, described(model, inputs))[:3]]
