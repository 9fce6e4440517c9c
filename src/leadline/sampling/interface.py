"""What goes into a stream and comes out of it, in the user's axes and in the machine's, checked on the way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from leadline.errors import UsageError
from leadline.graph.containers import hollow
from leadline.graph.given import refuse_unusable
from leadline.graph.sparse import refuse_all_but_dense
from leadline.likelihoods import Bernoulli, Categorical, Likelihood
from leadline.recurrence.ir import Embedding
from leadline.sampling.buffers import Side
from leadline.sampling.source import Source

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Interface:
    """The streamed input and the output of a source."""

    source: Source

    @property
    def name(self) -> str:
        """Name in the equations of the one input whose symbols are drawn."""
        if len(self.source.streamed) != 1:
            raise UsageError(
                f"symbols are drawn for models with one input, this model has {', '.join(self.source.streamed)}: "
                "feed them together (step, logits), or make the others conditioning ('_' in the layout)"
            )
        return self.source.system.inputs[0]

    @property
    def integer(self) -> bool:
        """Whether the model reads classes, not numbers; of several inputs, the first."""
        return self._is_integer(self.source.streamed[0])

    def _is_integer(self, given: str) -> bool:
        return not self.source.reading.tensors[given].is_floating_point()

    @cached_property
    def classes(self) -> int | None:
        """How many classes the embeddings of the input have rows for; None where none reads it as it is given."""
        return self._classes(self.source.streamed[0])

    def _classes(self, given: str) -> int | None:
        name = self.source.system.inputs[self.source.streamed.index(given)]
        equations = (variable.equation for variable in self.source.system.variables)
        return min((len(e.rows) for e in equations if isinstance(e, Embedding) and e.tap.source == name), default=None)

    def arranged(
        self, x: Shaped[Tensor, "..."], others: Mapping[str, Any] = NOTHING
    ) -> Shaped[Tensor, "*positions b c"]:
        """Return an input in the machine's axes, with the `others` by their names beside it.

        `UsageError` where one is not what the model reads, is missing, or has other positions than the first.
        """
        first, *more = self.source.streamed
        if others.keys() != set(more):
            wanted = f"{first} and, by name, {', '.join(more)}" if more else f"{first} alone"
            got = ", ".join(map(str, others)) or "nothing"
            raise UsageError(f"this stream is fed {wanted}; it got, by name, {got}")
        values = self._arranged(first, x)
        if not more:
            return values
        parts = [values, *(self._arranged(name, others[name]) for name in more)]
        for name, part in zip(more, parts[1:], strict=True):
            if part.shape[:-2] != values.shape[:-2] or part.shape[-2] not in (1, values.shape[-2]):
                raise UsageError(
                    f"{name} has {tuple(part.shape[:-2])} positions and {part.shape[-2]} samples, "
                    f"{first} {tuple(values.shape[:-2])} and {values.shape[-2]}"
                )
        joined = _side_by_side([part.expand(*values.shape[:-1], -1) for part in parts])
        for name, part in zip(self.source.streamed, parts, strict=True):
            mixed = joined.is_floating_point() and self._is_integer(name)
            if mixed and int(part.max()) >= 2 / torch.finfo(joined.dtype).eps:
                raise UsageError(f"{joined.dtype} does not tell classes of {name} up to {int(part.max())} apart")
        return joined

    def _arranged(self, name: str, x: Any) -> Tensor:
        """Return one input in the machine's axes."""
        said = "the input" if len(self.source.streamed) == 1 else name
        if not isinstance(x, Tensor):
            raise UsageError(f"{said} is a {type(x).__name__}; give a torch.Tensor")
        refuse_unusable(x)
        refuse_all_but_dense(said, x)
        if hollow(x):
            raise UsageError(f"{said} has no values, and a stream computes with them")
        layout = self.source.reading.layout
        wanted = layout.inputs[name] or ()
        if missing := [axis for axis in self.source.system.axes if axis not in wanted]:
            raise UsageError(f"{said} has no axis {missing[0]}, along which it is fed: give it as conditioning ('_')")
        if x.ndim != len(wanted):
            raise UsageError(f"{said} has shape {tuple(x.shape)}; the layout gives it the axes '{' '.join(wanted)}'")
        if x.numel() == 0:
            raise UsageError(f"{said} is empty: it has shape {tuple(x.shape)}")
        values = self._moved(name, self._checked(name, said, x))
        channels = self.source.system[self.source.system.inputs[self.source.streamed.index(name)]].channels
        if values.shape[-1] != channels:
            raise UsageError(f"{said} has {values.shape[-1]} features at a position where the model reads {channels}")
        return values

    def _moved(self, name: str, x: Tensor) -> Tensor:
        """Put an input's axes where the machine has them."""
        layout = self.source.reading.layout
        wanted = layout.inputs[name] or ()
        if "b" not in wanted:
            x, wanted = x.unsqueeze(0), ("b", *wanted)
        axes = (*self.source.system.axes, "b", *layout.features(name))
        moved = x.detach().permute([wanted.index(axis) for axis in axes])
        return moved.reshape(*moved.shape[: len(self.source.system.axes) + 1], -1)

    def beside(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return all inputs in the machine's axes, unchecked: what `arranged` does, for programs that are traced."""
        parts = [self._moved(name, x) for name, x in zip(self.source.streamed, inputs, strict=True)]
        return parts[0] if len(parts) == 1 else _side_by_side(parts)

    def _checked(self, name: str, said: str, x: Tensor) -> Tensor:
        """Return numbers as the model reads them; refuse classes that are not integers, or have no row in a table."""
        traced = self.source.reading.tensors[name].dtype
        if not self._is_integer(name):
            if not x.is_floating_point():
                raise UsageError(f"{said} is {x.dtype}; the model reads real numbers, which are floating")
            return x.resolve_neg().to(traced)
        boolean = x.dtype is torch.bool and traced is not torch.bool
        if boolean or x.is_floating_point() or x.is_complex():  # truth values would be masks, or classes 0 and 1
            raise UsageError(f"{said} is {x.dtype}; the model reads classes, which are integers")
        classes = self._classes(name)
        if classes is not None and (int(x.min()) < 0 or int(x.max()) >= classes):
            raise UsageError(
                f"{said} holds classes from {int(x.min())} to {int(x.max())}; the model has an embedding for "
                f"0 to {classes - 1}"
            )
        return x

    @cached_property
    def sides(self) -> tuple[Side, Side] | None:
        """What buffers of a stream look like, in and out; None where they are not taken as they are.

        That is on grids of several axes, with several inputs, and where the model changes the precision.
        """
        source, reading = self.source, self.source.reading
        name, real = source.streamed[0], source.dtype
        own = reading.tensors[name].dtype
        if len(source.streamed) > 1 or len(source.system.axes) > 1 or not (self.integer or own is real):
            return None
        sizes = dict(zip(reading.input_axes[name], reading.input_shape(name), strict=True))
        features = tuple(sizes[axis] for axis in reading.layout.features(name))
        along = source.system.axes[0]
        given = Side("chunk", reading.input_axes[name], along, features, (torch.int64,) if self.integer else (real,))
        return given, Side("out", reading.output_axes, along, source.system.shape, (real,))

    def as_output(self, rows: Shaped[Tensor, "*positions b c"]) -> Shaped[Tensor, "..."]:
        """Turn rows of the machine into the axes of the output."""
        system, reading = self.source.system, self.source.reading
        axes = reading.output_axes
        named = (*system.axes, "b", *reading.layout.channels(reading.output))
        full = rows.reshape(*rows.shape[:-1], *system.shape)
        return full.permute([named.index(axis) for axis in axes]) if "b" in axes else full.squeeze(len(system.axes))


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Join channels; classes among numbers become numbers."""
    real = [part.dtype for part in parts if part.is_floating_point()]
    dtype = max(real, key=lambda each: torch.finfo(each).bits) if real else torch.int64
    return torch.cat([part.to(dtype) for part in parts], -1)


def usual_likelihood(interface: Interface) -> Likelihood | None:
    """Return what an output of integer inputs usually describes: their classes; None of other inputs or outputs."""
    shape = interface.source.symbol_shape
    if not interface.integer or len(shape) > 1:
        return None
    return Categorical(shape[0]) if shape else Bernoulli()
