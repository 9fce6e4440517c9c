"""What is audited: a model with inputs and axes, from a zoo name, a run folder or a factory of the user's."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from leadline import zoo
from leadline.audit.users_module import beside, guarded, import_file, import_module
from leadline.errors import ModelError, UsageError, near_misses
from leadline.graph.layout import LayoutLike, Order
from leadline.graph.reading import Reading
from leadline.key_values import literals
from leadline.zoo.specimen import Specimen

if TYPE_CHECKING:
    from leadline.training import Run


@dataclass(frozen=True)
class NamedModel:
    """A model, by the name that the user called it, and everything needed to call it and to read its axes.

    It is called as ``model(*inputs, **keywords)``. `layout` and `order` are None where they are inferred; `run` is the
    training run that the weights come from, if any; `settings` are those that were given.
    """

    name: str
    model: nn.Module
    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    layout: LayoutLike = None
    order: Order = None
    run: Run | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def title(self) -> str:
        """The name with the settings that were given."""
        return " ".join((self.name, *(f"{key}={value}" for key, value in self.settings.items())))

    def reading(self, *, layout: LayoutLike = None, order: Order = None, output: str | None = None) -> Reading:
        """Return the reading of the model, with its own axes and order where none are given."""
        axes = self.layout if layout is None else layout
        ranks = self.order if order is None else order
        return Reading(self.model, self.inputs, self.keywords, layout=axes, order=ranks, output=output)


def find_model(word: str, settings: Sequence[str] = (), *, trust: bool = False) -> NamedModel:
    """Find the model that `word` names: a zoo name, a run folder, ``file.py:factory`` or ``package.module:factory``.

    ``hf-tiny:NAME`` is an architecture of `transformers`, small, and ``hf:FOLDER`` one of the sizes that a folder's
    ``config.json`` says; ``FILE.pt2`` is what `torch.export.save` wrote. A factory returns the model and its example
    inputs (a tensor, a tuple, or a dict of keyword inputs), or a `zoo.Specimen`; if it raises, or returns something
    else, that is a `ModelError`. `settings` are ``key=value`` for the config or the factory's keyword arguments.
    `UsageError` if nothing is called so, a setting is unknown, or the model of a run folder is built by code of a
    user's, which is run only with `trust`.

    Examples
    --------
    >>> find_model("chain").name
    'chain'
    """
    path, (scheme, _, rest) = Path(word), word.partition(":")
    if scheme in _TRANSFORMERS and not os.path.exists(word):
        return _from_transformers(word, scheme, rest, settings)
    if word.endswith(".pt2"):
        return _from_program(path, settings)
    if ":" in word and not os.path.exists(word):
        return replace(find_factory(word)(**literals(settings)), settings=literals(settings))
    if word in zoo.ZOO:
        given = zoo.parse_settings(word, settings)
        return replace(from_specimen(word, zoo.build(word, **given)), settings=given)
    if os.path.isdir(word):
        from leadline.audit.users_runs import open_run

        if settings:
            raise UsageError(
                f"{path} is a run folder: its settings are those it was trained with, so {settings[0]!r} cannot hold"
            )
        run = open_run(path, trust=trust)
        return from_specimen(path.name, run.specimen, run)
    raise UsageError(
        f"no model is called {word!r}; {near_misses(word, zoo.ZOO)} "
        "(a model is a zoo name, a run folder, file.py:factory or package.module:factory, a .pt2 file, "
        "hf-tiny:NAME or hf:FOLDER)"
    )


_TRANSFORMERS = ("hf-tiny", "hf")


def _from_transformers(word: str, scheme: str, rest: str, settings: Sequence[str]) -> NamedModel:
    from leadline.audit.transformers_models import model_of_folder, tiny_model

    found = tiny_model(rest, settings) if scheme == "hf-tiny" else model_of_folder(Path(rest), settings)
    _, model, inputs, layout = found
    return NamedModel(word, model, (), inputs, layout=layout, settings=literals(settings))


def _from_program(path: Path, settings: Sequence[str]) -> NamedModel:
    from leadline.audit.exported_program import load_exported

    if settings:
        raise UsageError(
            f"{path} is an exported program: its sizes are those it was exported with, so {settings[0]!r} cannot hold"
        )
    return NamedModel(path.stem, *load_exported(path))


def from_specimen(name: str, specimen: Specimen, run: Run | None = None) -> NamedModel:
    """Give a model of the zoo the name that the user called it by."""
    return NamedModel(name, specimen.model, specimen.inputs, layout=specimen.layout, order=specimen.order, run=run)


def find_factory(word: str) -> Callable[..., NamedModel]:
    """Find the user's ``file.py:factory`` or ``package.module:factory``, which takes settings as keywords.

    `UsageError` if there is no such file, module or function; `ModelError` if importing it raises or, when called, if
    the factory raises or returns something else than `find_model` says.
    """
    found, make = users_function(word)

    @functools.wraps(found)
    def build(**settings: Any) -> NamedModel:
        return _read_product(word, make(**settings))

    return build


def users_function(word: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a function of the user's, and a way to call it: settings that it does not take are refused by name.

    Raises as `find_factory` does.
    """
    where, _, name = word.rpartition(":")
    of_file = where.endswith(".py")
    module = import_file(Path(where)) if of_file else import_module(where)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UsageError(f"{where} has no function {name!r}; {near_misses(name, known)}")

    def call(*words: Any, **settings: Any) -> Any:
        _refuse_unknown(found, word, settings)
        with beside(module) if of_file else nullcontext():
            return guarded(lambda: found(*words, **settings), f"calling {word}")

    return found, call


def _read_product(word: str, product: Any) -> NamedModel:
    if isinstance(product, Specimen):
        return from_specimen(word, product)
    match product:
        case (nn.Module() as model, Mapping() as keywords):
            return NamedModel(word, model, (), keywords)
        case (nn.Module() as model, Tensor() as tensor):
            return NamedModel(word, model, (tensor,))
        case (nn.Module() as model, tuple() | list() as inputs):
            return NamedModel(word, model, tuple(inputs))
    raise ModelError(
        f"{word} returned {type(product).__name__}; a factory returns the model and its example inputs: "
        "`return model, (x,)` or `return model, {'input_ids': x}`"
    )


def _refuse_unknown(factory: Callable[..., Any], word: str, keywords: Mapping[str, Any]) -> None:
    """Say which setting the factory does not take, before calling it."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin: calling it will tell
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in keywords:
        if key not in parameters:
            known = near_misses(key, parameters) if parameters else "it takes none"
            raise UsageError(f"{word} has no setting {key!r}; {known}")
