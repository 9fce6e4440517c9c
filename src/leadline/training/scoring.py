"""The score of a density model: negative log-likelihood, summed over every symbol of a part of the data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.data import Batch, Split, evaluation_batches
from leadline.data.spectrogram import Spectrogram
from leadline.errors import Diverged, ModelError, UsageError
from leadline.graph.layout import Layout
from leadline.graph.restoring.undisturbed import evaluating
from leadline.likelihoods import Likelihood
from leadline.results import Estimate, Result
from leadline.training.processes import ALONE, Processes
from leadline.zoo import Specimen


@dataclass(frozen=True)
class Score(Result):
    """A negative log-likelihood, summed over all `symbols` of the `examples` of a `part`, such as ``"test"``.

    `squares` is the sum of the squared nats of the examples, for the standard error. `binarisation` says how the data
    became bits, None if it did not: scores under different binarisations do not compare. `unscored` symbols are left
    out: the first one of each example, where the model has lag 0 and says nothing about it. `given` is what the model
    was told of each example beside: scores that were given different things do not compare.

    Examples
    --------
    >>> each = 64 * math.log(2)
    >>> print(Score(nats=10 * each, symbols=640, examples=10, squares=10 * each**2, part="test"))
    1 bits/dim, 44.36 ± 0 nats per example (test, 10 examples, 640 symbols)
    """

    derived: ClassVar[tuple[str, ...]] = ("bits_per_dim",)

    nats: float
    symbols: int
    examples: int
    squares: float
    part: str
    binarisation: str | None = None
    unscored: int = 0
    given: str | None = None

    @property
    def bits_per_dim(self) -> float:
        """Bits per symbol: nats over ``ln 2`` and the number of symbols."""
        return self.nats / (math.log(2) * self.symbols)

    @property
    def nats_per_example(self) -> Estimate:
        """The mean over examples; its error is that of taking these examples for all others."""
        mean = self.nats / self.examples
        spread = max(0.0, self.squares / self.examples - mean**2)
        sem = math.sqrt(spread / (self.examples - 1)) if self.examples > 1 else math.inf
        return Estimate(mean, 0.0 if sem < 1e-6 * mean else sem, self.examples)

    def as_dict(self) -> dict[str, Any]:
        """Return the score as JSON can hold it."""
        mean = self.nats_per_example
        sem = mean.sem if math.isfinite(mean.sem) else None
        derived = {"bits_per_dim": self.bits_per_dim, "nats_per_example": mean.value, "sem": sem}
        return derived | dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Score:
        """Return the score that `as_dict` described."""
        return cls(**{field.name: record[field.name] for field in dataclasses.fields(cls) if field.name in record})

    def __str__(self) -> str:
        mean = self.nats_per_example
        how = f", binarised {self.binarisation}" if self.binarisation else ""
        how += f", given {self.given}" if self.given else ""
        without = f", {self.unscored} first symbols not scored" if self.unscored else ""
        error = f" ± {mean.sem:.2g}" if math.isfinite(mean.sem) else ""  # one example tells nothing of the spread
        return (
            f"{self.bits_per_dim:.4g} bits/dim, {mean.value:.4g}{error} nats per example "
            f"({self.part}, {self.examples} examples, {self.symbols} symbols{without}{how})"
        )


def classes_axis(specimen: Specimen) -> int:
    """Return where the logits of a density model have their classes: the last axis, unless its layout says otherwise.

    Examples
    --------
    >>> [classes_axis(Specimen(nn.Identity(), (), layout)) for layout in ("b t -> b v t", "b t -> b t")]
    [1, -1]
    """
    layout = Layout.parse(specimen.layout)
    (axes,) = layout.outputs.values()
    channels = [axis for axis in axes if axis != "b" and axis not in layout.positions]
    return axes.index(channels[0]) if len(channels) == 1 and axes[-1] != channels[0] else -1


def symbol_nats(
    model: Callable[..., Tensor],
    batch: Batch,
    likelihood: Likelihood,
    *,
    lag: int = 1,
    conditional: bool = False,
    classes_axis: int = -1,
) -> Float[Tensor, "b ..."]:
    """Return the negative log-likelihood of every symbol, 0 where it does not count.

    With a `lag` of 1 output p is the distribution of symbol p; with 0 of symbol p + 1, in the order of the axes as they
    stand; the first symbol's entry is left out, so the result is flat, ``(batch, positions - 1)``. `conditional` models
    take the labels as the second input; frames, where a batch has them, are the last one. The classes of the logits
    stand along `classes_axis`.

    Raises
    ------
    ModelError
        If the output's shape does not fit the symbols.
    """
    logits = model(*inputs_of(batch, conditional))
    if classes_axis != -1 and isinstance(logits, Tensor) and logits.ndim > batch.x.ndim:
        logits = logits.movedim(classes_axis, -1)
    x = batch.x
    whole = isinstance(logits, Tensor) and logits.shape[: x.ndim] == x.shape
    if not whole or not likelihood.fits(tuple(logits.shape[x.ndim :])):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        returns = {"categorical": f", {likelihood.levels}", "logistics": ", 3 · components"}.get(likelihood.name, "")
        raise ModelError(
            f"the model returned {got} for symbols {tuple(x.shape)} of {likelihood.levels} levels; "
            f"a {likelihood.name} density model returns ({', '.join(map(str, x.shape))}{returns})"
        )
    logits, x, mask = scored(logits, batch, lag)
    nats = -likelihood.log_prob(logits.float() if logits.dtype.itemsize < 4 else logits, x)
    return nats if mask is None else nats * mask


def inputs_of(batch: Batch, conditional: bool) -> tuple[Tensor, ...]:
    """Return what a model reads of a batch: symbols, the labels of those that are conditional, and frames."""
    if conditional and batch.labels is None:
        raise UsageError("the model is conditioned on a class and the data has no labels")
    given = (batch.x, batch.labels if conditional else None, batch.frames)
    return tuple(each for each in given if each is not None)


def scored(outputs: Tensor, batch: Batch, lag: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return a model's outputs beside the symbols that they are about, and which of these count (None: all)."""
    x, mask = batch.x, batch.mask
    if lag == 0:
        outputs, x = outputs.flatten(1, x.ndim - 1)[:, :-1], x.flatten(1)[:, 1:]
        mask = None if mask is None else mask.flatten(1)[:, 1:]
    return outputs, x, mask


@torch.no_grad()
def score(
    model: nn.Module,
    likelihood: Likelihood,
    part: Split,
    *,
    name: str = "test",
    binarisation: str | None = None,
    lag: int = 1,
    conditional: bool = False,
    examples: int | None = None,
    batch: int = 128,
    max_symbols: int = 1 << 17,
    classes_axis: int = -1,
    spectrogram: Spectrogram | None = None,
    processes: Processes = ALONE,
) -> Score:
    """Score every symbol of a part of a data set, in evaluation mode; sums are kept in float64.

    `name` and `binarisation` are what the result says about the part; `lag`, `conditional` and
    `classes_axis` are as in `symbol_nats`; with a `spectrogram` the model gets its frames.
    Only the first `examples` are scored, if given; at most `batch` examples, and `max_symbols` symbols, go through the
    model at a time; several `processes` score a share each. Raises `Diverged`, naming the example, if a likelihood is
    not finite.
    """
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    if examples is not None and examples < len(part):
        part = Split(part.examples[:examples], None if part.labels is None else part.labels[:examples])
    read = {"lag": lag, "conditional": conditional, "classes_axis": classes_axis}
    nats, squares = _sums(model, part, likelihood, device, read, processes, (batch, max_symbols, spectrogram))
    unscored = len(part) if lag == 0 else 0
    if part.symbols == unscored:
        raise UsageError(f"no example of the {name} part has a second symbol, and the model says nothing of first ones")
    return Score(
        nats=nats,
        symbols=part.symbols - unscored,
        examples=len(part),
        squares=squares,
        part=name,
        binarisation=binarisation,
        unscored=unscored,
        given=None if spectrogram is None else str(spectrogram),
    )


def _sums(
    model: nn.Module,
    part: Split,
    likelihood: Likelihood,
    device: torch.device,
    read: Mapping[str, Any],
    processes: Processes,
    how: tuple[int, int, Spectrogram | None],
) -> tuple[float, float]:
    """Return the sums of the examples' nats, and of their squares, over all processes."""
    own = slice(processes.rank, None, processes.count)
    if processes.count > 1:
        part = Split(part.examples[own], None if part.labels is None else part.labels[own])
    diverged: Diverged | None = None
    try:
        batches = evaluation_batches(part, *how) if len(part) else ()
        rows = _example_sums(model, batches, likelihood, device, read)
    except Diverged as error:  # the others wait for the sums of this one
        diverged, rows = error, torch.tensor([math.nan], dtype=torch.float64)
    sums = torch.stack([rows.sum(), rows.square().sum()])
    (total,) = processes.summed(sums.to(device)) if processes.count > 1 else (sums,)
    if not torch.isfinite(total).all():
        raise diverged or Diverged("the log-likelihood of an example is not finite, in another process")
    return float(total[0]), float(total[1])


def _example_sums(
    model: nn.Module,
    batches: Iterable[Batch],
    likelihood: Likelihood,
    device: torch.device,
    read: Mapping[str, Any],
) -> Float[Tensor, "n"]:
    sums = []
    with evaluating(model):
        for batch in batches:
            nats = symbol_nats(model, batch.to(device), likelihood, **read)
            rows = nats.double().flatten(1).sum(dim=1).cpu()
            if not torch.isfinite(rows).all():
                bad = batch.index[int((~torch.isfinite(rows)).nonzero()[0])]
                raise Diverged(f"the log-likelihood of example {bad} is not finite")
            sums.append(rows)
    return torch.cat(sums) if sums else torch.zeros(0, dtype=torch.float64)
