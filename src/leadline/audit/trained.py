"""Drawing from a trained run: completion, conditioning and timing, whichever sampler does the work."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from leadline import data
from leadline.data import Dataset
from leadline.data.audio import inverse_mu_law
from leadline.errors import NotUniform, UsageError
from leadline.likelihoods import Likelihood, likelihood
from leadline.sampling import naive_sample
from leadline.sampling._stream import Stream, stream
from leadline.training import Run, Score, score
from leadline.zoo import Specimen


@dataclass(frozen=True)
class Drawn:
    """Samples of a run: integer classes, ``(n, *positions)``, of `levels`, drawn by a `sampler` in some `seconds`.

    Sample i depends on the seed and on i only. The `rate` is samples per second where the symbols are sound.
    """

    symbols: Int[Tensor, "n ..."]
    seconds: float
    sampler: str
    seed: int
    levels: int
    rate: int | None = None

    def pictures(self) -> NDArray[np.float64]:
        """Return images in [0, 1], ``(n, height, width)``."""
        return (self.symbols.double() / (self.levels - 1)).numpy()

    def waves(self) -> NDArray[np.float64]:
        """Return sounds in [-1, 1], ``(n, length)``."""
        return inverse_mu_law(self.symbols, self.levels)


def draw(
    run: Run,
    n: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    length: int | None = None,
    given: Int[Tensor, "g ..."] | None = None,
    label: int | None = None,
    naive: bool = False,
) -> Drawn:
    """Draw `n` samples from a trained run, as `leadline.training.load_run` returns it.

    The sampler is derived from the model, does only the work that is new at each position, and draws what the naive one
    draws; where no system of recurrence equations describes the model, or `naive` asks for it, the naive one draws, by
    a full forward pass for each symbol. `label` is the class to draw: conditional models get one, others do not
    (`UsageError`). The other arguments, and errors, are those of `leadline.sampling.naive_sample`.
    """
    specimen, levels = run.specimen, int(run.data["levels"])
    inputs = list(specimen.inputs)
    if (len(inputs) > 1) != (label is not None):
        raise UsageError(
            "this model is conditional: say which class to draw" if label is None else "this model has no classes"
        )
    if label is not None:
        inputs[1] = torch.tensor([label])
    how: dict[str, Any] = {
        "n": n, "seed": seed, "temperature": temperature, "top_k": top_k, "length": length, "given": given,
    }  # fmt: skip
    described = likelihood(specimen.likelihood or "categorical", levels)
    derived = None if naive else _derived(specimen, inputs, described)
    start = time.perf_counter()
    if derived is not None:
        symbols, sampler = derived.generate(**how), "derived"
    else:
        axes: dict[str, Any] = {"layout": specimen.layout, "order": specimen.order, "lag": run.lag}
        symbols, sampler = naive_sample(specimen.model, *inputs, likelihood=described, **axes, **how), "naive"
    return Drawn(symbols, time.perf_counter() - start, sampler, seed, levels, run.data.get("rate"))


def _derived(specimen: Specimen, inputs: list[Tensor], described: Likelihood) -> Stream | None:
    """Derive the model's sampler; None where the model has none."""
    axes: dict[str, Any] = {"layout": specimen.layout, "order": specimen.order}
    try:
        return stream(specimen.model, *inputs, likelihood=described, **axes)
    except NotUniform:
        return None


def beginnings(dataset: Dataset, n: int, fraction: float) -> Int[Tensor, "n ..."]:
    """Return the first part of `n` test examples, to be completed: rows of images, samples of clips.

    The `fraction` lies between 0 and 1; `UsageError` if it does not, or the test part holds fewer examples.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the part to keep must lie between 0 and 1, got {fraction}")
    if n > len(dataset.test):
        raise UsageError(f"the test part holds {len(dataset.test)} examples, fewer than {n}")
    examples = [dataset.test.examples[index] for index in range(n)]
    keep = max(1, round(fraction * min(len(example) for example in examples)))
    return torch.stack([example[:keep] for example in examples])


def score_run(run: Run, part: str = "test", data_name: str | None = None) -> Score:
    """Score a part of the run's own data set, or of another one with the same levels and pictures."""
    dataset, own = run.dataset() if data_name is None else data.load(data_name), run.data
    shape = None if own["shape"] is None else tuple(own["shape"])
    if (dataset.kind, dataset.levels, dataset.shape) != (own["kind"], own["levels"], shape):
        raise UsageError(
            f"{dataset.name} ({dataset.kind}, {dataset.levels} levels, shape {dataset.shape}) does not fit a model of "
            f"{own['name']} ({own['kind']}, {own['levels']} levels, shape {shape})"
        )
    specimen = run.specimen
    return score(
        specimen.model,
        likelihood(specimen.likelihood or "categorical", dataset.levels),
        getattr(dataset, part),
        name=part,
        binarisation=dataset.binarisation,
        lag=run.lag,
        conditional=len(specimen.inputs) > 1,
    )
