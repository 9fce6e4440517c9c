"""What goes into a stream and comes out of it, in the user's axes and in the machine's, checked on the way in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Shaped
from torch import Tensor

from leadline.errors import UsageError
from leadline.graph.containers import hollow
from leadline.graph.given import refuse_unusable
from leadline.graph.sparse import refuse_all_but_dense
from leadline.likelihoods import Bernoulli, Categorical, Likelihood
from leadline.recurrence.ir import Embedding
from leadline.sampling.source import Source


@dataclass(frozen=True, eq=False)
class Interface:
    """The streamed input and the output of a source."""

    source: Source

    @property
    def name(self) -> str:
        """Name of the one input in the equations."""
        if len(self.source.streamed) != 1:
            raise UsageError(f"a stream has one input, this model has {', '.join(self.source.streamed)}")
        return self.source.system.inputs[0]

    @property
    def integer(self) -> bool:
        """Whether the model reads classes, not numbers."""
        return not self.source.reading.tensors[self.source.streamed[0]].is_floating_point()

    @cached_property
    def classes(self) -> int | None:
        """How many classes the embeddings of the input have rows for; None where none reads it as it is given."""
        equations = (variable.equation for variable in self.source.system.variables)
        return min((len(e.rows) for e in equations if isinstance(e, Embedding) and e.tap.source == self.name),
                   default=None)  # fmt: skip

    def arranged(self, x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "*positions b c"]:
        """Return an input in the machine's axes; `UsageError` where it is not one that the model reads."""
        if not isinstance(x, Tensor):
            raise UsageError(f"the input is a {type(x).__name__}; give a torch.Tensor")
        refuse_unusable(x)
        refuse_all_but_dense("the input", x)
        if hollow(x):
            raise UsageError("the input has no values, and a stream computes with them")
        layout, name = self.source.reading.layout, self.source.streamed[0]
        wanted = layout.inputs[name] or ()
        if x.ndim != len(wanted):
            raise UsageError(f"the input has shape {tuple(x.shape)}; the layout gives it the axes '{' '.join(wanted)}'")
        if x.numel() == 0:
            raise UsageError(f"the input is empty: it has shape {tuple(x.shape)}")
        x = self._checked(x)
        axes = (*self.source.system.axes, "b", *layout.features(name))
        if "b" not in wanted:
            x, wanted = x.unsqueeze(0), ("b", *wanted)
        moved = x.detach().permute([wanted.index(axis) for axis in axes])
        values = moved.reshape(*moved.shape[: len(self.source.system.axes) + 1], -1)
        channels = self.source.system[self.name].channels
        if values.shape[-1] != channels:
            raise UsageError(
                f"the input has {values.shape[-1]} features at a position where the model reads {channels}"
            )
        return values

    def _checked(self, x: Tensor) -> Tensor:
        """Return numbers as the model reads them; refuse classes that are not integers, or have no row in a table."""
        if not self.integer:
            if not x.is_floating_point():
                raise UsageError(f"the input is {x.dtype}; the model reads real numbers, which are floating")
            return x.resolve_neg().to(self.source.reading.tensors[self.source.streamed[0]].dtype)
        boolean = x.dtype is torch.bool and self.source.reading.tensors[self.source.streamed[0]].dtype is not torch.bool
        if boolean or x.is_floating_point() or x.is_complex():  # truth values would be masks, or classes 0 and 1
            raise UsageError(f"the input is {x.dtype}; the model reads classes, which are integers")
        if self.classes is not None and (int(x.min()) < 0 or int(x.max()) >= self.classes):
            raise UsageError(
                f"the input holds classes from {int(x.min())} to {int(x.max())}; the model has an embedding for "
                f"0 to {self.classes - 1}"
            )
        return x

    def as_output(self, rows: Shaped[Tensor, "*positions b c"]) -> Shaped[Tensor, "..."]:
        """Turn rows of the machine into the axes of the output."""
        system, reading = self.source.system, self.source.reading
        axes = reading.output_axes
        named = (*system.axes, "b", *reading.layout.channels(reading.output))
        full = rows.reshape(*rows.shape[:-1], *system.shape)
        return full.permute([named.index(axis) for axis in axes]) if "b" in axes else full.squeeze(len(system.axes))


def usual_likelihood(interface: Interface) -> Likelihood | None:
    """Return what an output of integer inputs usually describes: their classes; None of other inputs or outputs."""
    shape = interface.source.system.shape
    if not interface.integer or len(shape) > 1:
        return None
    return Categorical(shape[0]) if shape else Bernoulli()
