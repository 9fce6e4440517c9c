"""Which axis of a tensor means what, in einops notation: batch, positions, features, channels, and their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor

from leadline.errors import LayoutError, near_misses

Axes: TypeAlias = tuple[str, ...]
Order: TypeAlias = "str | Tensor | None"
LayoutLike: TypeAlias = "Layout | str | Mapping[str, str | None] | None"

BATCH = "b"
CONDITIONING = "_"


@dataclass(frozen=True)
class Layout:
    """The axes of inputs and outputs by name; an input whose axes are None is conditioning, visible to every output.

    Axes that an input shares with an output are *positions*; other input axes are *features*, other output axes
    *channels*; ``b`` is the batch.

    Examples
    --------
    >>> layout = Layout.parse("b t c, _ -> b t v")
    >>> layout.positions, layout.features("0"), layout.channels("0")
    (('t',), ('c',), ('v',))
    >>> print(layout)
    b t c, _ -> b t v
    """

    inputs: Mapping[str, Axes | None]
    outputs: Mapping[str, Axes]

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read ``"b t, _ -> b t v"``; inputs and outputs are named by their place until `named` gives them names.

        `LayoutError` if the arrow is missing, a side is empty or an axis stands twice in one tensor.
        """
        left, arrow, right = text.partition("->")
        if not arrow or "->" in right:
            raise LayoutError(f"the layout {text!r} needs exactly one '->' between inputs and output: 'b t -> b t v'")
        inputs = {
            str(i): None if part.strip() == CONDITIONING else _axes(part) for i, part in enumerate(left.split(","))
        }
        return cls(inputs, {str(i): _axes(part) for i, part in enumerate(right.split(","))})

    def named(self, inputs: Sequence[str], outputs: Sequence[str]) -> Layout:
        """Replace the places of a parsed layout by as many names as there are tensors (else `LayoutError`)."""
        for what, mine, theirs in (("inputs", self.inputs, inputs), ("outputs", self.outputs, outputs)):
            if len(mine) != len(theirs):
                raise LayoutError(
                    f"the layout '{self}' describes {len(mine)} {what}, but the model has {len(theirs)}: "
                    f"{', '.join(theirs)}; give a dict by name, with None for conditioning"
                )
        return Layout(
            dict(zip(inputs, self.inputs.values(), strict=True)), dict(zip(outputs, self.outputs.values(), strict=True))
        )

    @property
    def positions(self) -> Axes:
        """Axes that an input shares with an output, as they stand in the inputs."""
        shared = {axis for axes in self.outputs.values() for axis in axes} - {BATCH}
        return tuple(dict.fromkeys(axis for axes in self.inputs.values() for axis in axes or () if axis in shared))

    def features(self, name: str) -> Axes:
        """Axes of the input `name` that are neither batch nor positions."""
        return tuple(axis for axis in self.inputs[name] or () if axis != BATCH and axis not in self.positions)

    def channels(self, name: str) -> Axes:
        """Axes of the output `name` that are neither batch nor positions."""
        return tuple(axis for axis in self.outputs[name] if axis != BATCH and axis not in self.positions)

    def fit(self, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]] | None = None) -> None:
        """Check that every tensor has as many axes as the layout says; an output may have the name of an input."""
        for shapes, described in ((inputs, self.inputs), (outputs or {}, self.outputs)):
            for name, axes in described.items():
                if axes is not None and name in shapes and len(shapes[name]) != len(axes):
                    raise LayoutError(
                        f"{name} has shape {tuple(shapes[name])} ({len(shapes[name])} axes), "
                        f"but the layout '{self}' gives it {len(axes)}: '{' '.join(axes)}'"
                    )

    def ranks(self, sizes: Mapping[str, int], order: Order = None) -> Tensor:
        """Return every position's rank in the order, for axes of these sizes: an integer tensor over `positions`.

        The order is the axes from slowest to fastest, ``"h w"``; a tensor of ranks over `positions`; or None: as
        `positions` stand. `LayoutError` if it names an axis that is not a position, or the tensor has another shape.

        Examples
        --------
        >>> Layout.parse("b c h w -> b v c h w").ranks({"c": 2, "h": 1, "w": 2}, "h w c").tolist()
        [[[0, 2]], [[1, 3]]]
        """
        shape = tuple(sizes[axis] for axis in self.positions)
        if isinstance(order, Tensor):
            if tuple(order.shape) != shape:
                raise LayoutError(f"the order has shape {tuple(order.shape)}, the positions {self.positions} {shape}")
            return order.to(torch.int64)
        axes = self.positions if order is None else _axes(order)
        for axis in axes:
            if axis not in self.positions:
                raise LayoutError(f"the order names {axis!r}, no position axis; {near_misses(axis, self.positions)}")
        rank = torch.zeros(shape, dtype=torch.int64)
        for i, axis in enumerate(axes):
            stride = math.prod(sizes[faster] for faster in axes[i + 1 :])
            place = self.positions.index(axis)
            steps = torch.arange(sizes[axis]) * stride
            rank = rank + steps.reshape([-1 if p == place else 1 for p in range(len(shape))])
        return rank

    def __str__(self) -> str:
        left = ", ".join(CONDITIONING if axes is None else " ".join(axes) for axes in self.inputs.values())
        return f"{left} -> {', '.join(map(' '.join, self.outputs.values()))}"


def _axes(text: str) -> Axes:
    axes = tuple(text.split())
    if not axes:
        raise LayoutError("a tensor without axes in the layout; write '_' for conditioning")
    if len(set(axes)) < len(axes):
        raise LayoutError(f"an axis stands twice in {text.strip()!r}")
    return axes


def projected(x: Shaped[Tensor, "..."], axes: Axes, kept: Axes) -> Shaped[Tensor, "..."]:
    """Return the largest elements along all axes but some, and put these into another order."""
    dropped = [i for i, axis in enumerate(axes) if axis not in kept]
    rest = [axis for axis in axes if axis in kept]
    return (x.amax(dropped) if dropped else x).permute([rest.index(axis) for axis in kept])


def resolve(
    layout: LayoutLike, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], *, output: str | None = None
) -> Layout:
    """Give every input, and the one output that is asked about (by name, where there are several), its axes.

    A layout is einops notation; or a dict from the names of inputs (and of the output) to axes, None for conditioning;
    or None: inferred where only one reading is possible. Of tensors only shapes and dtypes are read. `LayoutError` if
    the axes do not fit, or several readings are possible; the message shows them.
    """
    if isinstance(layout, Mapping):
        resolved = _from_dict(layout, inputs, outputs, output)
    else:
        name = chosen_output(outputs, output)
        parsed = Layout.parse(layout) if isinstance(layout, str) else layout
        if parsed is None:
            parsed = infer(inputs, outputs[name])
        if len(parsed.outputs) > 1 and len(parsed.outputs) == len(outputs):
            place = list(outputs).index(name)
            parsed = Layout(parsed.inputs, {name: list(parsed.outputs.values())[place]})
        resolved = parsed.named(list(inputs), [name])
    resolved.fit(*({name: tensor.shape for name, tensor in tensors.items()} for tensors in (inputs, outputs)))
    return resolved


def chosen_output(outputs: Mapping[str, Tensor], output: str | None) -> str:
    """Return the name of the output asked about; `LayoutError` if there is none such, or several and none is named."""
    if output is not None:
        if output not in outputs:
            raise LayoutError(f"the model has no output {output!r}; {near_misses(output, outputs)}")
        return output
    if len(outputs) != 1:
        raise LayoutError(f"the model has several outputs; say which with output=: {', '.join(outputs)}")
    return next(iter(outputs))


def _from_dict(
    layout: Mapping[str, str | None], inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], output: str | None
) -> Layout:
    for name in layout:
        if name not in inputs and name not in outputs:
            raise LayoutError(f"the layout names {name!r}; {near_misses(name, [*inputs, *outputs])}")
    described = [name for name in layout if name in outputs and name not in inputs]
    name = described[0] if output is None and len(described) == 1 else chosen_output(outputs, output)
    missing = [key for key in inputs if key not in layout]
    if missing:
        raise LayoutError(f"the layout says nothing of the inputs {', '.join(missing)}; map conditioning to None")
    axes = {key: None if layout[key] in (None, CONDITIONING) else _axes(str(layout[key])) for key in inputs}
    if (
        name not in inputs and layout.get(name) is not None
    ):  # of an input and an output of one name it tells the input's
        return Layout(axes, {name: _axes(str(layout[name]))})
    visible = {key: tensor for key, tensor in inputs.items() if axes[key] is not None}
    readings = [
        c for c in candidates(visible, outputs[name]) if list(c.inputs.values()) == [axes[key] for key in visible]
    ]
    chosen = _only(readings or candidates(visible, outputs[name]), visible, outputs[name])
    return Layout(axes, {name: next(iter(chosen.outputs.values()))})


# One reading each of what models usually take and give; integers have no feature axis.
_INTEGER_READINGS = (
    "b t -> b t", "b t -> b t v", "b t -> b v t", "b t -> b",
    "b h w -> b h w", "b h w -> b h w v", "b h w -> b v h w", "b h w -> b",
    "b c h w -> b c h w", "b c h w -> b c h w v", "b c h w -> b v c h w",
)  # fmt: skip
_FLOAT_READINGS = (
    "b t c -> b t", "b t c -> b t v", "b c t -> b v t", "b t c -> b v", "b t c -> b",
    "b h w c -> b h w", "b h w c -> b h w v", "b c h w -> b v h w", "b c h w -> b v", "b c h w -> b",
    "b c t h w -> b v t h w", "b c t h w -> b v", "b t -> b t", "b c -> b v", "b c -> b",
)  # fmt: skip


def candidates(inputs: Mapping[str, Tensor], output: Tensor) -> list[Layout]:
    """List the usual readings of one input and one output that fit their shapes; those with most positions only."""
    if len(inputs) != 1:
        return []
    (tensor,) = inputs.values()
    readings = _FLOAT_READINGS if tensor.is_floating_point() or tensor.is_complex() else _INTEGER_READINGS
    fitting = [layout for layout in map(Layout.parse, readings) if _fits(layout, tensor, output)]
    most = max((len(layout.positions) for layout in fitting), default=0)
    if tensor.ndim == 2 and tensor.is_floating_point():
        return fitting  # a vector of features or a series of numbers: nothing in the shapes tells
    return [layout for layout in fitting if len(layout.positions) == most]


def _fits(layout: Layout, tensor: Tensor, output: Tensor) -> bool:
    (left,), (right,) = layout.inputs.values(), layout.outputs.values()
    if left is None or len(left) != tensor.ndim or len(right) != output.ndim:
        return False
    sizes = dict(zip(left, tensor.shape, strict=True))
    return all(sizes.get(axis, size) == size for axis, size in zip(right, output.shape, strict=True))


def infer(inputs: Mapping[str, Tensor], output: Tensor) -> Layout:
    """Return the only usual reading of the shapes; `LayoutError` if there is none, or shows them if there are several.

    Examples
    --------
    >>> print(infer({"tokens": torch.zeros(1, 8, dtype=torch.int64)}, torch.zeros(1, 8, 50)))
    b t -> b t v
    """
    return _only(candidates(inputs, output), inputs, output)


def _only(readings: list[Layout], inputs: Mapping[str, Tensor], output: Tensor) -> Layout:
    if len(readings) == 1:
        return readings[0]
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in inputs.items())
    if readings:
        choices = "; ".join(f"layout='{layout}'" for layout in readings)
        raise LayoutError(f"{shapes} and the output {tuple(output.shape)} can be read in several ways: {choices}")
    example = fitting(inputs, output)
    if example is None:
        raise LayoutError(f"the output {tuple(output.shape)} has no axes to name: return an output for each position")
    apart = "" if example.positions else ", and none of them is a position: an axis of positions is as long in both"
    raise LayoutError(
        f"{shapes} and the output {tuple(output.shape)} have no usual reading; "
        f"name the axes, for example layout='{example}' ('_' for conditioning){apart}"
    )


def fitting(inputs: Mapping[str, Tensor], output: Tensor) -> Layout | None:
    """Return a layout that fits any shapes: usual for the first input that has a usual one, the others conditioning.

    Where none has, axes of the same size in the first input and the output are taken for the same. None if the output
    or every input has no axes.

    Examples
    --------
    >>> x, mask = torch.zeros(2, 8, 3), torch.zeros(8, 8)
    >>> print(fitting({"mask": mask, "x": x}, torch.zeros(2, 8, 5)))
    _, b t c -> b t v
    >>> print(fitting({"x": x}, torch.zeros(2, 3, 4, 8)))
    b t h -> b h v t
    """
    if usual := usual_readings(inputs, output):
        return usual[0]
    first = next((name for name, tensor in inputs.items() if tensor.ndim), None)
    if first is None or not output.ndim:
        return None
    axes, out = _matched(tuple(inputs[first].shape), tuple(output.shape))
    return Layout({key: axes if key == first else None for key in inputs}, {"0": out})


def usual_readings(inputs: Mapping[str, Tensor], output: Tensor) -> list[Layout]:
    """List the usual readings of the first input that has any, the others being conditioning.

    Examples
    --------
    >>> sound, frames = torch.zeros(1, 1, 64), torch.zeros(1, 8, 4)
    >>> [str(layout) for layout in usual_readings({"sound": sound, "frames": frames}, sound)]
    ['b t c, _ -> b t v', 'b c t, _ -> b v t']
    """
    for name, tensor in inputs.items():
        if found := candidates({name: tensor}, output):
            return [replace(usual, inputs=dict.fromkeys(inputs) | {name: usual.inputs["0"]}) for usual in found]
    return []


def _matched(shape: tuple[int, ...], output: tuple[int, ...]) -> tuple[Axes, Axes]:
    """Name the axes of two shapes, those of the same size alike, in their order; axes of size 1 are apart."""
    positions, features, channels = iter("thwsrqpomn"), iter("cdefg"), iter("vklji")
    batch = shape[0] == output[0]
    named: dict[int, str] = {0: BATCH} if batch else {}
    for place, size in enumerate(shape):
        free = [i for i, other in enumerate(output) if other == size > 1 and i not in named]
        if free and not (batch and place == 0):
            named[free[0]] = next(positions)
    # the same names, in the same order, as they were given to the output
    waiting = {size: [named[i] for i in named if output[i] == size] for size in set(output)}
    left = [waiting[size].pop(0) if waiting.get(size) else next(features, f"c{i}") for i, size in enumerate(shape)]
    return tuple(left), tuple(named.get(i) or next(channels, f"v{i}") for i in range(len(output)))
