"""Two models side by side: their audits, and of trained runs what running them adds."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.audit._check import Audit, check_named
from leadline.audit.named_model import NamedModel
from leadline.audit.trained import Drawn, draw
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
        Samples, and the wall time of one when so many are drawn at once: by the sampler derived from the model, once
        it is compiled, and by full forward passes.
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


@dataclass(frozen=True)
class Comparison:
    """Two audits, and a trial for each model that was trained."""

    first: Audit
    second: Audit
    first_trial: Trial | None
    second_trial: Trial | None


def compare(first: NamedModel, second: NamedModel, *, samples: int = 16, seed: int = 0) -> Comparison:
    """Put the depths of two models side by side.

    Parameters
    ----------
    first, second
        As `leadline.audit.named_model.find_model` finds them; those of trained runs are sampled and timed, one after
        the other.
    samples
        How many samples are drawn from each trained model.
    seed
        Of the samples and of the gradient's probes.

    Raises
    ------
    ModelError
        If a model cannot be called with its inputs.

    Examples
    --------
    >>> from leadline.audit.named_model import find_model
    >>> small, large = (find_model("masked-stack", [f"layers={d}", "channels=2"]) for d in (2, 3))
    >>> both = compare(small, large)
    >>> both.first.span.steps, both.second.span.steps
    (2, 3)
    """
    return Comparison(
        check_named(first, seed=seed),
        check_named(second, seed=seed),
        _trial(first.run, samples, seed),
        _trial(second.run, samples, seed),
    )


def _trial(run: Run | None, samples: int, seed: int) -> Trial | None:
    if run is None or run.result is None:
        return None
    draw(run, samples, seed=seed)  # the first time, the sampler is compiled
    drawn, naive = draw(run, samples, seed=seed), draw(run, samples, seed=seed, naive=True)
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
