"""Drawing from a trained run, whichever sampler does the work, and scoring data under it."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from leadline import data
from leadline.audit.conditioning import Group, alike, drawn_classes, inputs_of, told, told_a_class
from leadline.data import Dataset, Split
from leadline.data.companding import signal_of
from leadline.data.dataset import UNDIVIDED
from leadline.data.labels import renumbered
from leadline.data.text import decoded
from leadline.errors import LayoutError, LeadlineError, ModelError, NotCausal, UsageError
from leadline.likelihoods import Likelihood, likelihood
from leadline.sampling import naive_sample, uniforms
from leadline.sampling._stream import stream
from leadline.sampling.backends import Backend
from leadline.sampling.compiled.kept import USUAL, find_kept, keep, question
from leadline.sampling.drawing import drawer_of
from leadline.sampling.rates import FrameStream
from leadline.sampling.streaming import Stream
from leadline.training import Run, Score, load_run, score
from leadline.training.scoring import classes_axis
from leadline.zoo import Specimen


@dataclass(frozen=True)
class Drawn:
    """Samples of a run: integer classes, ``(n, *positions)``, of `levels`, drawn by a `sampler` in some `seconds`.

    Sample i depends on the seed and on i only. The `kind` is that of the data: ``"image"``, ``"audio"`` or ``"text"``.
    The `rate` is samples per second where the symbols are sound, whose classes have an `encoding`; the `alphabet` holds
    the characters of text, None if its symbols are bytes. Where no sampler could be derived, `reason` says why.
    """

    symbols: Int[Tensor, "n ..."]
    seconds: float
    sampler: str
    seed: int
    levels: int
    rate: int | None = None
    kind: str = "image"
    encoding: str | None = None
    alphabet: str | None = None
    reason: str = ""

    def pictures(self) -> NDArray[np.float64]:
        """Return images in [0, 1], ``(n, height, width)``, with colours ``(n, height, width, 3)``."""
        return (self.symbols.double() / (self.levels - 1)).numpy()

    def waves(self) -> NDArray[np.float64]:
        """Return sounds in [-1, 1], ``(n, length)``."""
        return signal_of(self.symbols, self.levels, self.encoding)

    def texts(self) -> tuple[str, ...]:
        """Return what is written."""
        return tuple(decoded(row, self.alphabet) for row in self.symbols)


def draw(
    run: Run,
    n: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    length: int | None = None,
    given: Int[Tensor, "g ..."] | None = None,
    label: int | Sequence[int] | None = None,
    frames: Float[Tensor, "m f c"] | None = None,
    naive: bool = False,
    asked: str | None = None,
    backend: Backend | None = None,
) -> Drawn:
    """Draw `n` samples from a trained run, as `leadline.training.load_run` returns it.

    The sampler is derived from the model, does only the work that is new at each position, and draws what the naive one
    draws; where the model has no such sampler, or `naive` asks for it, the naive one draws, by a full forward pass for
    each symbol.

    `label` is the class to draw, one for all samples or one for each: conditional models get it, others do not
    (`UsageError`). A model that was taught classes takes one too; without, each sample's class is drawn first, which is
    the same distribution at a small part of the work, unless beginnings are `given` or choices narrowed.

    `frames` are those of one sound for all samples or of one for each (`heard_in`). With the digest `asked` of a
    question (`sampling.compiled.kept`) the run keeps what was derived. A `backend` that is asked for, of
    `leadline.stream`, draws or is an error. The other arguments, and errors, are those of
    `leadline.sampling.naive_sample`.
    """
    specimen, about = run.specimen, run.data
    picture = tuple(about.get("picture") or ())
    if picture:  # in rows, which follow each other: all of them, however many symbols the model was traced on
        length = math.prod(picture[1:]) * (picture[0] if length is None else length)
    mean = specimen.taught and label is None
    if mean and given is None and temperature == 1 and top_k is None and not naive:
        label = drawn_classes(specimen, n, seed, length)
    if specimen.taught and label is not None:
        specimen = told_a_class(specimen)
    groups = alike(given_beside := told(specimen, n, label, frames), n)
    described = likelihood(specimen.likelihood or "categorical", int(about["levels"]))
    how: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "length": length}
    derived = "" if naive or (mean and backend is None) else _derived(specimen, groups, length, described, backend)
    reason = derived if isinstance(derived, str) else ""
    start = time.perf_counter()
    if not isinstance(derived, str):
        symbols, sampler = _by_group(derived, groups, n, seed, given, how), "derived"
    else:
        how |= {"n": n, "seed": seed, "given": given, "likelihood": described}
        how |= {"layout": specimen.layout, "order": specimen.order, "lag": run.lag}
        symbols, sampler = naive_sample(specimen.model, *inputs_of(specimen, given_beside, length), **how), "naive"
    seconds = time.perf_counter() - start
    said = {"levels": int(about["levels"]), "rate": about.get("rate"), "kind": about["kind"]}
    said |= {"encoding": about["options"].get("encoding"), "alphabet": about.get("alphabet")}
    if not isinstance(derived, str) and asked is not None and frames is None:
        _keep(run, derived[0], n, length, asked, said | ({"picture": picture} if picture else {}))
    if picture:
        symbols = symbols.unflatten(1, (-1, *picture[1:]))
    return Drawn(symbols, seconds, sampler, seed, **said, reason=reason)


def keep_usual(path: Path) -> None:
    """Draw once what a run is usually asked for, so that it keeps that sampler: even the first drawing derives nothing.

    Of models that are told a class or frames nothing is usual; where numba is not installed, nothing is kept.
    """
    if find_spec("numba") is None:
        return
    with suppress(LeadlineError):  # a drawing says what it lacks, when it is asked for
        run, asked = load_run(path), question(path, USUAL, None, None)
        if (
            len(run.specimen.inputs) == 1
            and not run.specimen.taught
            and run.lag == 1
            and find_kept(path, asked) is None
        ):
            draw(run, USUAL, asked=asked)


def _keep(run: Run, drawn: Stream | FrameStream, n: int, length: int | None, asked: str, said: dict[str, Any]) -> None:
    """Keep the compiled program of what was drawn beside the run."""
    if not isinstance(drawn, Stream):
        return
    plan = drawn.drawing_plan(drawn.source.system.sizes[0] if length is None else length)
    machine = drawn._kept_machine(plan, n, draws=True)
    if hasattr(machine, "kept") and drawer_of(machine, drawn.likelihood, drawn._encode) is not None:
        axes = tuple(drawn.source.axes.index(axis) for axis in drawn.source.positions)
        program = machine.kept(drawn.lag, said["levels"], axes, said)
        if program is not None:
            keep(run.path, asked, program)


def _derived(
    specimen: Specimen, groups: Sequence[Group], length: int | None, described: Likelihood, backend: Backend | None
) -> list[Stream | FrameStream] | str:
    """Derive a sampler for each group, compiled where numba is installed; where the model has none, say why.

    Raises `NotCausal` if the model sees what comes later, and what keeps a model from a `backend` that was asked for.
    """
    how: dict[str, Any] = {"layout": specimen.layout, "order": specimen.order, "likelihood": described}
    made = []
    try:
        for _, given in groups:
            x, *beside = inputs_of(specimen, given, length)
            inputs = (x, *(tensor.expand(len(x), *tensor.shape[1:]) for tensor in beside))
            made.append(stream(specimen.model, *inputs, backend=backend or "auto", **how))
    except (NotCausal, LayoutError):
        raise
    except ModelError as error:
        if backend is not None:
            raise
        return str(error)
    return made


def _by_group(
    streams: Sequence[Stream | FrameStream],
    groups: Sequence[Group],
    n: int,
    seed: int,
    given: Tensor | None,
    how: Mapping[str, Any],
) -> Int[Tensor, "n ..."]:
    """Draw the samples of each group together, every one from the uniforms of its own number."""
    if len(streams) == 1:
        return streams[0].generate(n=n, seed=seed, given=given, **how)
    source = streams[0].source
    positions = math.prod(source.sizes_at(source.system.sizes[0] if how["length"] is None else how["length"]))
    u, parts = uniforms(seed, n, positions), dict[int, Tensor]()
    for derived, (rows, _) in zip(streams, groups, strict=True):
        begun = given[rows] if given is not None and len(given) == n else given
        parts |= zip(rows, derived.generate(n=len(rows), uniforms=u[rows], given=begun, **how), strict=True)
    return torch.stack([parts[row] for row in range(n)])


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
    return torch.stack([example[:keep] for example in examples]).long()


_AS_READ = ("size", "color", "levels", "binarise", "flatten", "encoding", "spectrogram", "hop", "symbols", "piece")
"""Options that say what is made of files: other data is read as the run's own was."""


def score_run(
    run: Run, part: str | None = None, data_name: str | None = None, options: Mapping[str, Any] = MappingProxyType({})
) -> Score:
    """Score a part of the run's own data set, or of another one of the same kind, levels, sizes and rate.

    `part` is ``"test"``, ``"validation"``, ``"train"`` or ``"all"``; None is the test part or, of other files that come
    without a division, all of them. Other data is read as the run's own was, `options` apart; the score says what was
    scored. Raises `UsageError` if the data does not fit the model.
    """
    dataset, part = _data_to_score(run, part, data_name, options)
    own_data = dataset.digest == run.data["digest"]
    own, specimen = run.data, run.specimen
    shape = None if own["shape"] is None else tuple(own["shape"])
    for what, theirs, ours in (
        ("kind", dataset.kind, own["kind"]),
        ("levels", dataset.levels, own["levels"]),
        ("shape", dataset.shape, shape),
        ("samples a second", dataset.rate, own["rate"]),
    ):
        if theirs != ours:
            raise UsageError(
                f"{dataset.name} does not fit a model of {own['name']}: {what} {theirs}, not {ours}; "
                "options of the data (-d) say how it is read"
            )
    chosen = dataset.part(part)
    if specimen.conditional:
        chosen = Split(chosen.examples, _known_labels(run, dataset, chosen.labels))
    said = ", ".join(filter(None, (dataset.division, dataset.read_as)))
    return score(
        specimen.model,
        likelihood(specimen.likelihood or "categorical", dataset.levels),
        chosen,
        name=part if own_data and part != "all" else f"{part} of {dataset.name}: {said}",
        binarisation=dataset.binarisation,
        lag=run.lag,
        conditional=specimen.conditional,
        classes_axis=classes_axis(specimen),
        spectrogram=dataset.spectrogram,
    )


def _data_to_score(
    run: Run, part: str | None, data_name: str | None, options: Mapping[str, Any]
) -> tuple[Dataset, str]:
    """Load what is to be scored, and say which part of it."""
    own = run.data
    if data_name is None:
        if options:
            raise UsageError("options of the data (-d) go with other data (--data): the run's own is read as it was")
        return run.dataset(), part or "test"
    known = data.options_of(data_name)
    inherited = {name: own["options"][name] for name in _AS_READ if name in own["options"]}
    if own["kind"] != "text" and own["binarisation"] is None:
        inherited |= {"levels": own["levels"]}
    if own.get("alphabet"):
        inherited |= {"alphabet": own["alphabet"]}
    asked = {**{name: value for name, value in inherited.items() if name in known}, **options}
    same_place = data_name == own["name"] or os.path.realpath(data_name) == os.path.realpath(own["name"])
    if same_place and not options:
        return run.dataset(), part or "test"
    if part in (None, "all"):
        dataset = data.load_whole(data_name, **asked)
        return dataset, part or ("all" if dataset.division == UNDIVIDED else "test")
    return data.load(data_name, **asked), part


def _known_labels(run: Run, dataset: Dataset, labels: Tensor | None) -> Tensor | None:
    """Return labels by the numbers that the model knows them by."""
    names, known = dataset.names, run.data.get("names")
    if labels is not None and names is not None and known is not None:
        labels = renumbered(labels, names, known)
    most, highest = run.specimen.labels, -1 if labels is None else int(labels.max())
    if most is not None and highest >= most:
        raise UsageError(f"{dataset.name} has the class {highest}: this model has the classes 0 to {most - 1}")
    return labels
