"""Models side by side: their audits, and of trained runs what running them adds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from leadline.audit._check import audit_of
from leadline.audit.audited import About, Audit
from leadline.audit.named_model import NamedModel
from leadline.audit.trained import Drawn, draw
from leadline.domains.arguments import public
from leadline.errors import UsageError
from leadline.graph.reading import Reading
from leadline.results import Result
from leadline.training import Run


@dataclass(frozen=True)
class Trial:
    """What a trained run adds to an audit.

    Attributes
    ----------
    test_bits, test_nats
        Test score: bits per dimension, and nats per example.
    data, binarisation
        What it was trained on; scores under different binarisations do not compare.
    training_seconds, examples_per_second
        Wall time of training with its validations, and how many training examples it read in a second of that.
    drawn, seconds_per_sample, naive_seconds_per_sample
        Samples, and the wall time of one, by the sampler derived from the model, once compiled, and by full passes.
    """

    test_bits: float
    test_nats: float
    data: str
    binarisation: str | None
    training_seconds: float
    examples_per_second: float
    drawn: Drawn
    seconds_per_sample: float
    naive_seconds_per_sample: float


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """The audits of several models, and for each a trial, or None where it was not trained."""

    audits: tuple[Audit, ...]
    trials: tuple[Trial | None, ...]


@public("compare")
def compare(
    *models: Audit | Reading | tuple[Any, ...] | Mapping[str, Any], names: Sequence[str] | None = None, seed: int = 0
) -> Comparison:
    """Put the depths of several models side by side: two or more audits, readings, or models with their inputs.

    Those are given as ``(model, *inputs)`` or ``(model, {"input_ids": ids})``, or all of them in one dict by name, else
    it is a `UsageError`; `ModelError` if one cannot be called with them. Models are called by as many `names`, by
    default their classes; `seed` is that of the gradient's probes.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> x = torch.zeros(1, 8, 4)
    >>> both = compare((nn.RNN(4, 4, batch_first=True), x), (nn.Linear(4, 4), x))
    >>> [(audit.name, audit.span.steps) for audit in both.audits]
    [('RNN', 8), ('Linear', 1)]
    """
    if len(models) == 1 and isinstance(models[0], Mapping):
        names, models = names or list(models[0]), tuple(models[0].values())
    if len(models) < 2:
        raise UsageError(f"compare puts two or more models side by side, got {len(models)}")
    given = [model if isinstance(model, Audit) else _reading(model) for model in models]
    called = [_name(one) for one in given] if names is None else list(names)
    if len(called) != len(given):
        raise UsageError(f"{len(given)} models and {len(called)} names: give one name for each")
    abouts = [About(name) for name in _distinct(called)]
    return _compared(given, abouts, seed)


def _compared(given: Sequence[Audit | Reading], abouts: Sequence[About], seed: int) -> Comparison:
    """Audit what has not been audited, under the names given."""
    audits = tuple(
        replace(one, name=about.name or one.name, settings=about.settings)
        if isinstance(one, Audit)
        else audit_of(one, seed=seed, about=about)
        for one, about in zip(given, abouts, strict=True)
    )
    return Comparison(audits, (None,) * len(audits))


def _name(given: Audit | Reading) -> str:
    return given.title if isinstance(given, Audit) else type(given.model).__name__


@public("compare_named")
def compare_named(*models: NamedModel, samples: int = 16, seed: int = 0, command: str = "") -> Comparison:
    """Put models side by side that `leadline.audit.named_model.find_model` found; see `compare`.

    From each trained one `samples` are drawn and timed, one model after the other.
    """
    if len(models) < 2:
        raise UsageError(f"compare puts two or more models side by side, got {len(models)}")
    titles = _distinct([model.title for model in models])
    abouts = [
        About(model.name, model.settings, command)
        if titles[place] == model.title
        else About(titles[place], {}, command)
        for place, model in enumerate(models)
    ]
    trials = tuple(_trial(model.run, samples, seed) for model in models)
    return replace(_compared([model.reading() for model in models], abouts, seed), trials=trials)


def _reading(model: Any) -> Reading:
    match model:
        case Reading():
            return model
        case (nn.Module() as module, Mapping() as keywords):
            return Reading(module, (), keywords)
        case (nn.Module() as module, *inputs):
            return Reading(module, tuple(inputs))
    given = type(model).__name__
    raise UsageError(f"compare takes readings, or models with their inputs, (model, x), not {given}")


def _distinct(names: Sequence[str]) -> list[str]:
    """Tell models of the same name apart by a number."""
    return [
        f"{name} ({names[: index + 1].count(name)})" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _trial(run: Run | None, samples: int, seed: int) -> Trial | None:
    if run is None or run.result is None:
        return None
    label = 0 if len(run.specimen.inputs) > 1 else None
    draw(run, samples, seed=seed, label=label)  # the first time, the sampler is compiled
    drawn, naive = (draw(run, samples, seed=seed, label=label, naive=naive) for naive in (False, True))
    result = run.result
    return Trial(
        test_bits=result.test.bits_per_dim,
        test_nats=result.test.nats_per_example.value,
        data=str(run.data["name"]),
        binarisation=run.data["binarisation"],
        training_seconds=result.seconds,
        examples_per_second=result.steps * run.config.batch / result.seconds,
        drawn=drawn,
        seconds_per_sample=drawn.seconds / samples,
        naive_seconds_per_sample=naive.seconds / samples,
    )
