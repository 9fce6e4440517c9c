"""A model read once: its call, its graph, how its axes are read, and whatever has been worked out of them so far."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from leadline.errors import LayoutError, LeadlineError, ModelError
from leadline.graph.call import Call
from leadline.graph.given import module_of
from leadline.graph.ir import Graph
from leadline.graph.layout import BATCH, Axes, Layout, LayoutLike, Order, candidates, chosen_output, resolve
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME, evaluating
from leadline.graph.trace import trace_call

Result = TypeVar("Result")


class Reading:
    """A model, inputs that it accepts and how to read their axes; what follows is worked out once, when asked for.

    Only what needs the graph traces the model (`TraceError` if that fails), and only what needs axes resolves the
    layout (`LayoutError` if they cannot be told apart or do not fit). The model is left as it was; once its weights or
    its mode change, read it anew. With `evaluation` it is traced in evaluation mode, whatever its own mode is.

    `given_layout` and `given_output` are as they were given; `layout` and `output` are what they were found to mean.

    Examples
    --------
    >>> reading = Reading(nn.Conv1d(1, 2, 3), (torch.zeros(4, 1, 9),), layout="b c t -> b v u")
    >>> reading.output, reading.output_shape, reading.input_axes
    ('output', (4, 2, 7), {'input': ('b', 'c', 't')})
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
        *,
        layout: LayoutLike = None,
        order: Order = None,
        output: str | None = None,
        evaluation: bool = False,
    ) -> None:
        self.model, self.inputs, self.kwargs = module_of(model, inputs, kwargs or {}), inputs, dict(kwargs or {})
        self.given_layout, self.order, self.given_output = layout, order, output
        self.evaluation = evaluation
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, or what it returned (or raised) when `key` was first asked for."""
        with ONE_AT_A_TIME:
            if key not in self._known:
                try:
                    self._known[key] = work()
                except LeadlineError as error:
                    self._known[key] = error
                    raise
            found = self._known[key]
        if isinstance(found, LeadlineError):
            raise found.with_traceback(None)
        return cast(Result, found)

    @cached_property
    def call(self) -> Call:
        """The call with its literals fixed."""
        return Call(self.model, self.inputs, self.kwargs)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors that go in, by the names that `forward` gives them."""
        return self.call.tensors

    @property
    def graph(self) -> Graph:
        """The traced graph."""
        return self.once("graph", self._traced)

    def _traced(self) -> Graph:
        with evaluating(self.model) if self.evaluation else nullcontext():
            return trace_call(self.call)

    @property
    def has_values(self) -> bool:
        """Whether all inputs, parameters and buffers have values, so that the model can be run."""
        return self.call.real and self.graph.has_values

    @property
    def layout(self) -> Layout:
        """The axes of every input and of the output asked about; `ModelError` if a tensor that has axes is empty."""
        return self.once("layout", self._resolved)

    def _resolved(self) -> Layout:
        outputs = self.outputs
        layout = resolve(self.given_layout, self.tensors, outputs, output=self.given_output)
        shapes = {name: tuple(self.tensors[name].shape) for name, axes in layout.inputs.items() if axes is not None}
        for name, shape in {**shapes, **{name: tuple(outputs[name].shape) for name in layout.outputs}}.items():
            if 0 in shape:
                raise ModelError(f"{name} of shape {shape} has no elements, so no positions: give longer inputs")
        return layout

    @property
    def outputs(self) -> dict[str, Tensor]:
        """Tensors on the meta device, without values, like the outputs by name."""
        metas = {name: self.graph.meta(ref) for name, ref in self.graph.outputs.items()}
        return {name: torch.empty(meta.shape, dtype=meta.dtype, device="meta") for name, meta in metas.items()}

    @property
    def usual_layouts(self) -> list[Layout]:
        """The usual layouts that fit, where none was given."""
        outputs = self.outputs
        return candidates(self.tensors, outputs[chosen_output(outputs, self.given_output)])

    @property
    def output(self) -> str:
        """Name of the output asked about."""
        return next(iter(self.layout.outputs))

    @property
    def input_axes(self) -> dict[str, Axes]:
        """Axes of the inputs that are not conditioning."""
        return {name: axes for name, axes in self.layout.inputs.items() if axes is not None}

    @property
    def output_axes(self) -> Axes:
        """Axes of the output asked about."""
        return self.layout.outputs[self.output]

    def input_shape(self, name: str) -> tuple[int, ...]:
        """Shape of an input."""
        return tuple(self.tensors[name].shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output asked about."""
        return self.graph.meta(self.graph.outputs[self.output]).shape

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size of every position axis, the same in all tensors: else positions have no common order (`LayoutError`)."""
        sizes: dict[str, int] = {}
        tensors = [(name, axes, self.input_shape(name)) for name, axes in self.input_axes.items()]
        for name, axes, shape in [*tensors, (self.output, self.output_axes, self.output_shape)]:
            for axis, size in zip(axes, shape, strict=True):
                if axis in self.layout.positions and sizes.setdefault(axis, size) != size:
                    raise LayoutError(
                        f"the position axis {axis!r} has {sizes[axis]} places elsewhere and {size} in {name}: "
                        "positions of different number have no common order"
                    )
        return sizes

    @cached_property
    def ranks(self) -> Int[Tensor, "..."]:
        """The rank of every position in the order, over `layout.positions`; `LayoutError` if there are none."""
        if not self.layout.positions:
            raise LayoutError(f"the layout '{self.layout}' shares no axis between inputs and output: nothing to order")
        return self.layout.ranks(self.sizes, self.order)

    def along(self, ranks: Int[Tensor, "..."], name: str, axes: Axes, shape: tuple[int, ...]) -> Int[Tensor, "..."]:
        """Lay ranks over positions out over a tensor's axes, which must have those along which they differ."""
        for place, axis in reversed(list(enumerate(self.layout.positions))):
            if axis not in axes:
                if bool((ranks != ranks.select(place, 0).unsqueeze(place)).any()):
                    raise LayoutError(
                        f"{name} has no axis {axis!r}, which the order runs over; map it to None if all may see it"
                    )
                ranks = ranks.select(place, 0)
        held = [axis for axis in self.layout.positions if axis in axes]
        ranks = ranks.permute([held.index(axis) for axis in axes if axis in held])
        places = iter(ranks.shape)
        return ranks.reshape([next(places) if axis in held else 1 for axis in axes]).expand(shape)

    def in_evaluation(self) -> Reading:
        """Return the reading of the same model in evaluation mode: this one, where that is its mode."""
        if self.evaluation or not any(module.training for module in self.model.modules()):
            return self
        axes: dict[str, Any] = {"layout": self.given_layout, "order": self.order, "output": self.given_output}
        return type(self)(self.model, self.inputs, self.kwargs, **axes, evaluation=True)

    def read_as(self, layout: Layout, *, order: Order = None, output: str | None = None) -> Reading:
        """Return the reading of the same call, and the same graph, with these axes; the rest by default as it was."""
        axes: dict[str, Any] = {
            "layout": layout,
            "order": self.order if order is None else order,
            "output": output or self.given_output,
        }
        found = type(self)(self.model, self.inputs, self.kwargs, **axes, evaluation=self.evaluation)
        found._known["graph"] = self.graph
        return found

    def on(self, tensors: Mapping[str, Tensor]) -> Reading:
        """Return the reading of the same call on other tensors, given by name, with the axes as they were read here."""
        axes: dict[str, Any] = {"layout": self.layout, "order": self.order, "output": self.output}
        return type(self)(self.model, *self.call.replaced(tensors), **axes, evaluation=self.evaluation)


def batch_ranks(shape: tuple[int, ...], axes: Axes) -> Int[Tensor, "..."] | None:
    """Index of the sample of every element, as a tensor that broadcasts; None without a batch axis."""
    if BATCH not in axes:
        return None
    place = axes.index(BATCH)
    return torch.arange(shape[place]).reshape([-1 if d == place else 1 for d in range(len(shape))])
