"""Whether a model that goes on from a cache computes what it computes on the whole sequence, and where the two part.

The user's own way (a ``generate``, or a step with a state) runs while every module's outputs are noted down; the model
then runs once on the whole sequence. Each noted output is put beside its positions of the whole, so that the first
position that differs, and the first module that differs there, can be named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from leadline.errors import ModelError, NotCausal, UsageError
from leadline.graph.layout import LayoutLike
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import evaluating, restored
from leadline.graph.user_code import running
from leadline.sampling._stream import stream_of
from leadline.sampling.parting import Noted, Parting, first_parting, first_unlikely

Generate = Callable[[Tensor, int], Tensor]
Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


@dataclass(frozen=True)
class Agreement:
    """How a cached run compares with the whole one.

    So many `positions` were fed. `against` says what gave the right outputs, ``"the derived stream"`` or ``"the full
    forward"``; `difference` is the largest of the outputs' differences (None: the model itself never ran, and tokens
    were compared). Where they part, `parting` says so.
    """

    positions: int
    against: str
    difference: float | None
    parting: Parting | None


@dataclass(frozen=True, eq=False)
class _Run:
    """What the user's way did: what was fed, what modules made of it, and what was returned.

    That are outputs, or the tokens that follow each that was fed, which are the user's from `begin` on.
    """

    fed: Tensor
    noted: Noted
    outputs: Tensor | None = None
    tokens: Tensor | None = None
    begin: int = 0


def agreement_of(
    model: nn.Module,
    inputs: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    generate: Generate | None = None,
    step: Step | None = None,
    new: int = 8,
    layout: LayoutLike = None,
    output: str | None = None,
    tolerance: float = 1e-4,
) -> Agreement:
    """Run the user's way and the whole sequence, and compare; see `leadline.testing.assert_generate_matches`."""
    if generate is not None and step is not None:
        raise UsageError("give generate= or step=, not both")
    given: Noted = []
    prompt = _prompt(inputs, kwargs)
    if layout is None and hasattr(model, "generate"):  # of `transformers`
        layout = {**dict.fromkeys(kwargs), "input_ids": "b t", "logits": "b t v"}
    whatever = restored(model, inputs, dict(kwargs), lazily=True)
    with evaluating(model), torch.no_grad(), whatever as before, before.contents.watched():
        axes: dict[str, Any] = {"layout": layout, "output": output}
        if step is not None:
            first = Reading(model, inputs, kwargs, **axes)
            run, along = _stepped(model, step, prompt, first), _position_axis(first, next(iter(first.input_axes)))
        else:
            run, along = _generated(model, generate or _own_generate(model, kwargs), prompt, new), 1
        positions = run.fed.shape[along]
        args, named = _on(prompt, run.fed, inputs, kwargs)
        config: Any = getattr(model, "config", None)
        if hasattr(config, "use_cache"):
            config.use_cache = False  # it is put back afterwards
        with _noting(model, given), running(type(model).__name__, (args, named)):
            result = model(*args, **named)
        reading = Reading(model, args, named, **axes)
        right, against = _right(reading, run.fed, result)
    difference, parting = _compared(run, dict(_once(given)), right, positions, tolerance)
    return Agreement(positions, against, difference, parting)


def _prompt(inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the first tensor, which is what goes on position by position."""
    found = next((value for value in (*inputs, *kwargs.values()) if isinstance(value, Tensor)), None)
    if found is None:
        raise UsageError("give the tensor to begin with, as the model takes it: tokens (b, t), say")
    return found


def _on(
    prompt: Tensor, fed: Tensor, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the whole sequence where the prompt stood; a mask of the prompt's positions goes on with ones."""

    def longer(name: str, value: Any) -> Any:
        if value is prompt:
            return fed
        if name == "attention_mask" and isinstance(value, Tensor) and value.shape == prompt.shape:
            more = value.new_ones(len(fed), fed.shape[1] - prompt.shape[1])
            return torch.cat([value, more], dim=1)
        return value

    return tuple(longer("", value) for value in inputs), {name: longer(name, value) for name, value in kwargs.items()}


def _own_generate(model: nn.Module, kwargs: Mapping[str, Any]) -> Generate:
    """Return the greedy `generate`, with its cache, that models of `transformers` have."""
    own: Any = getattr(model, "generate", None)
    if own is None:
        raise UsageError(
            f"{type(model).__name__} has no generate(): give generate=, which takes the tokens (b, t) and how many to "
            "add and returns them with those added, or step=, which takes the next positions and a state"
        )
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise UsageError("models with an encoder are not compared by their generate(): give step=")
    masks = {name: value for name, value in kwargs.items() if name == "attention_mask"}

    def way(tokens: Tensor, new: int) -> Tensor:
        how = {"do_sample": False, "num_beams": 1, "use_cache": True, "min_new_tokens": new, "max_new_tokens": new}
        found: Tensor = own(tokens, **how, **masks)
        return found

    return way


def _generated(model: nn.Module, way: Generate, prompt: Tensor, new: int) -> _Run:
    if prompt.ndim != 2 or prompt.is_floating_point():
        raise UsageError(f"generate adds tokens to tokens (b, t), got {prompt.dtype} of shape {tuple(prompt.shape)}")
    noted: Noted = []
    with _noting(model, noted), running("generate", (prompt,)):
        found = way(prompt, new)
    length = prompt.shape[1]
    whole = found.shape[1] > length and torch.equal(found[:, :length], prompt)
    tokens = found if whole else torch.cat([prompt, found], dim=1)
    if tokens.shape[1] != length + new:
        raise UsageError(f"generate was asked for {new} more tokens than {length}, and returned {tuple(found.shape)}")
    return _Run(tokens[:, :-1], noted, tokens=tokens[:, 1:], begin=length - 1)


def _stepped(model: nn.Module, step: Step, x: Tensor, reading: Reading) -> _Run:
    """Feed one position after the other, and put what comes out together."""
    axis, out = _position_axis(reading, next(iter(reading.input_axes))), _position_axis(reading, reading.output)
    noted: Noted = []
    state: Any = None
    parts = []
    with _noting(model, noted), running("step", (x,)):
        for chunk in x.split(1, dim=axis):
            part, state = step(chunk, state)
            parts.append(part)
    return _Run(x, noted, outputs=torch.cat(parts, dim=out))


def _position_axis(reading: Reading, name: str) -> int:
    if len(reading.layout.positions) != 1:
        raise UsageError(f"a step goes along one axis, and the layout {reading.layout} has another number of them")
    axes = reading.output_axes if name == reading.output else reading.input_axes[name]
    return axes.index(reading.layout.positions[0])


@contextmanager
def _noting(model: nn.Module, noted: Noted) -> Iterator[None]:
    """Note the first number tensor that each module returns."""

    def note(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, result: Any) -> None:
            found = _numbers(result)
            if found is not None:
                noted.append((path, found.detach().clone()))

        return hook

    handles = [module.register_forward_hook(note(path)) for path, module in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _numbers(result: Any) -> Tensor | None:
    return next((leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.is_floating_point()), None)


def _once(noted: Noted) -> Noted:
    """Keep the modules that run once: of others nobody can tell which run is which."""
    runs = Counter(path for path, _ in noted)
    return [(path, found) for path, found in noted if runs[path] == 1]


def _right(reading: Reading, fed: Tensor, result: Any) -> tuple[Tensor, str]:
    """Return the right outputs: the derived stream's, or the full forward's where the model has none."""
    try:
        return stream_of(reading, backend="torch").logits(fed), "the derived stream"
    except NotCausal:
        raise
    except (ModelError, UsageError):
        found = _numbers(result)
        if found is None:
            raise ModelError(f"{type(reading.model).__name__} returns no numbers to compare") from None
        return found, "the full forward"


def _compared(
    run: _Run, whole: Mapping[str, Tensor], right: Tensor, positions: int, tolerance: float
) -> tuple[float | None, Parting | None]:
    """Find the first output that differs, and then the first module that does."""
    outputs: Noted = run.noted if run.outputs is None else [("", run.outputs)]
    of_model = {"": right} if run.outputs is not None else {**whole, "": right}
    difference, parting = first_parting(outputs, of_model, positions, tolerance, of="")
    if difference is None and run.tokens is not None:
        parting = first_unlikely(run.tokens, right, run.begin, tolerance)
    if parting is None:
        return difference, None
    inner = first_parting(run.noted, {path: full for path, full in whole.items() if path}, positions, tolerance)
    return difference, inner[1] or parting
