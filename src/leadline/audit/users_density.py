"""A density model out of what a factory of the user's returns: its axes, its likelihood, and what outputs may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leadline.audit.named_model import users_function
from leadline.data.spectrogram import Spectrogram
from leadline.domains._causality import Verdict, causality_of
from leadline.errors import LayoutError, ModelError, NotCausal
from leadline.graph.layout import Layout
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import evaluating, undisturbed
from leadline.graph.user_code import running
from leadline.likelihoods import Likelihood
from leadline.likelihoods import likelihood as likelihood_called
from leadline.sampling.ahead import refuse_seen_ahead
from leadline.training.code import Code
from leadline.zoo import Specimen

_LENGTH = 64
"""Symbols of an example sequence, where the factory does not say how many, and the data has no shorter pieces."""
_AXES = {1: "t", 2: "h w", 3: "h w c"}


@dataclass(frozen=True)
class UsersDensity:
    """Builds a specimen by a user's factory, for data that `Dataset.describe` describes.

    The factory may return a specimen, a model with its example inputs, or a model alone, which reads integers
    ``(b, *positions)`` and returns logits with the classes on the last axis, or on the one after the batch.
    `likelihood` and `layout` say what the factory's product does not.
    """

    word: str
    data: Mapping[str, Any]
    likelihood: str | None = None
    layout: str | None = None

    @classmethod
    def at(cls, word: str, data: Mapping[str, Any], **how: Any) -> UsersDensity:
        """Return the builder of a factory whose file any process can find."""
        where, _, name = word.rpartition(":")
        return cls(f"{Path(where).resolve()}:{name}" if where.endswith(".py") else word, data, **how)

    @property
    def code(self) -> Code:
        """Where the factory stands."""
        found = Code(self.word, "", "factory", self.likelihood, self.layout)
        return replace(found, digest=found.now)

    def __call__(self, name: str, **settings: Any) -> Specimen:  # noqa: ARG002 - the word is the name
        """Call the factory, and read what it returns."""
        _, make = users_function(self.word)
        return self.read(make(**settings))

    def read(self, product: Any) -> Specimen:
        """Turn a factory's product into a specimen; raises `ModelError` if it is no density model of the data."""
        match product:
            case Specimen():
                given = replace(product, layout=self.layout or product.layout)
            case nn.Module():
                given = Specimen(product, (), self.layout or "")
            case (nn.Module() as model, Tensor() as tensor):
                given = Specimen(model, (tensor,), self.layout or "")
            case (nn.Module() as model, tuple() | list() as several) if all(isinstance(x, Tensor) for x in several):
                given = Specimen(model, tuple(several), self.layout or "")
            case _:
                raise ModelError(
                    f"{self.word} returned {type(product).__name__}; a density model is a module that reads integers, "
                    "with its example inputs if need be: `return model` or `return model, (x,)`"
                )
        given = replace(given, inputs=self._inputs(given.inputs))
        heard = Spectrogram.asked(self.data["options"], int(self.data["rate"] or 1), int(self.data["levels"]))
        if heard is not None and len(given.inputs) > 1 and given.inputs[-1].ndim == 3:
            given = replace(given, frames=(given.inputs[-1].shape[-1], heard.hop))
        if given.conditional and given.labels is None:
            given = replace(given, labels=self.data.get("classes"))
        return self._read_output(replace(given, likelihood=self.likelihood or given.likelihood))

    def _inputs(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return symbols like the data's, and the conditioning of the example."""
        more = 1 if self.data["options"].get("spectrogram") is None else 2
        if len(inputs) > 1 + more or (inputs and inputs[0].is_floating_point()):
            shapes = [f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in inputs]
            raise ModelError(
                f"{self.word} reads {', '.join(shapes)}; what is trained reads the symbols, as integers, and perhaps a "
                "class for each example, and frames of its spectrogram where the data has one"
            )
        if self.data["shape"] is not None:
            shape = tuple(self.data["shape"])
        else:
            piece = self.data["options"].get("piece")  # what a table of positions reaches, perhaps
            short = type(piece) is int and 2 <= piece < _LENGTH
            shape = (inputs[0].shape[-1] if inputs else piece if short else _LENGTH,)
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(int(self.data["levels"]), (2, *shape), generator=generator)
        return (x, *(tensor[:1].expand(2, *tensor.shape[1:]) for tensor in inputs[1:]))

    def _read_output(self, given: Specimen) -> Specimen:
        model, (x, *_) = given.model, given.inputs
        levels, conditioned = int(self.data["levels"]), ", _" * (len(given.inputs) - 1)
        if given.likelihood is not None:
            likelihood_called(given.likelihood, levels)  # refuses an unknown name, and levels that it does not have
        with running(self.word, given.inputs), undisturbed(model, given.inputs), evaluating(model):
            y = model(*given.inputs)
        if not isinstance(y, Tensor):
            raise ModelError(f"{self.word} returned {type(y).__name__} from forward; a density model returns logits")
        found = given.likelihood or ("bernoulli" if y.shape == x.shape and levels == 2 else "categorical")
        described = likelihood_called(found, levels)
        layout = given.layout or _read_by_shape(self.word, x, y, described, conditioned)
        channels = Layout.parse(layout).channels("0")
        sizes = dict(zip(Layout.parse(layout).outputs["0"], y.shape, strict=False))
        if not described.fits(tuple(sizes.get(name, 0) for name in channels)):
            raise ModelError(f"{self.word} returned {tuple(y.shape)} as '{layout}', where {_wanted(x, described)}")
        return replace(given, likelihood=found, layout=layout)


def _read_by_shape(word: str, x: Tensor, y: Tensor, likelihood: Likelihood, conditioned: str) -> str:
    """Return the layout that shapes alone tell; raises `ModelError` if they tell none, or more than one."""
    axes, shape, found = _AXES[x.ndim - 1], tuple(y.shape), []
    if shape == x.shape and likelihood.fits(()):
        found.append(f"b {axes}{conditioned} -> b {axes}")
    if shape[:-1] == x.shape and likelihood.fits(shape[-1:]):
        found.append(f"b {axes}{conditioned} -> b {axes} v")
    if y.ndim == x.ndim + 1 and (len(y), *shape[2:]) == x.shape and likelihood.fits(shape[1:2]):
        found.append(f"b {axes}{conditioned} -> b v {axes}")
    if len(found) == 1:
        return found[0]
    if found:
        raise LayoutError(f"{word} returned {shape}, which may be read as {' or as '.join(map(repr, found))}: "
                          "say which, with layout=")  # fmt: skip
    raise ModelError(f"{word} returned {shape} for symbols {tuple(x.shape)}; {_wanted(x, likelihood)}")


def _wanted(x: Tensor, likelihood: Likelihood) -> str:
    """Say what a density model returns."""
    first, *rest = x.shape
    numbers = {"categorical": likelihood.levels, "logistics": "3 · components"}.get(likelihood.name)
    said = f"a {likelihood.name} density model of {likelihood.levels} levels returns "
    if numbers is None:
        return f"{said}{tuple(x.shape)}"
    last, second = (", ".join(map(str, axes)) for axes in ((first, *rest, numbers), (first, numbers, *rest)))
    return f"{said}({last}) or ({second})"


def lag_of(specimen: Specimen) -> int:
    """Return 1 if each output says its own symbol, from earlier ones; 0 if it says the next one, and sees its own.

    Proved from the model's structure or, where that cannot be read, found by perturbations. Raises `NotCausal` if an
    output sees a later symbol: training would only teach it to copy that.
    """
    axes: dict[str, Any] = {"layout": specimen.layout, "order": specimen.order}
    try:
        found = causality_of(Reading(specimen.model, specimen.inputs, {}, **axes).in_evaluation(), on_unknown="top")
    except (NotCausal, LayoutError):
        raise
    except ModelError:
        return _lag_by_perturbation(specimen)
    if found.verdict is Verdict.LEAK and found.witness is not None and found.witness.confirmed:
        raise NotCausal(f"this is no density over sequences in their order: {found.witness}; nothing is trained")
    if not found.causal:
        return _lag_by_perturbation(specimen)
    return 1 if found.lag is None else min(found.lag, 1)


def _lag_by_perturbation(specimen: Specimen) -> int:
    layout, (x, *rest) = Layout.parse(specimen.layout), specimen.inputs
    shape, model = tuple(x.shape[1:]), specimen.model
    ranks = layout.ranks(dict(zip(layout.positions, shape, strict=True)), specimen.order).flatten()
    axes = layout.outputs["0"]
    order = [axes.index(axis) for axis in ("b", *layout.positions, *layout.channels("0"))]

    def logits(symbols: Tensor) -> Tensor:
        conditioning = [tensor[:1].expand(len(symbols), *tensor.shape[1:]) for tensor in rest]
        found: Tensor = model(symbols, *conditioning).permute(order).flatten(1, len(shape))
        return found

    levels = int(x.max()) + 1
    with running(type(model).__name__, specimen.inputs), undisturbed(model, specimen.inputs), evaluating(model):
        try:
            refuse_seen_ahead(logits, shape, ranks, max(2, levels), 1)
        except NotCausal:
            refuse_seen_ahead(logits, shape, ranks, max(2, levels), 0)
            return 0
    return 1
