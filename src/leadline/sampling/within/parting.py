"""Symbols that follow one another within a point, as the colours of a pixel: a system with variables for each moment.

A system over the points reads all symbols of a point together. Here each variable is parted into its channels of one
moment (`moments`): then every part is computed once, as soon as the symbols are drawn that it rests on, and the symbols
of a point are inputs of their own, each with an output of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from leadline.errors import NotUniform
from leadline.recurrence import ir
from leadline.recurrence.analysis.schedule import refuse_leaks
from leadline.recurrence.reading.lowering import copied
from leadline.sampling.fusion import with_taps
from leadline.sampling.within.moments import alive, moments, slots_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Channels = NDArray[np.int64]

_STRETCHES = 64


@dataclass(frozen=True, eq=False)
class Within:
    """A parted system: its inputs are the symbols of a point in their order, and `draws` names the output of each."""

    system: ir.System
    draws: dict[str, str]


def parted(
    system: ir.System, inputs: Sequence[Channels], outputs: Sequence[Channels], shape: tuple[int, ...]
) -> Within:
    """Part a system with one input; `inputs` and `outputs` are the channels of each symbol, of `shape` in the output.

    Raises `NotCausal` if an output depends on a later point; `NotUniform` if, as these equations tell, one depends on
    its own symbol, as in models of the next symbol, or on later ones of its point.
    """
    refuse_leaks(system, 0)
    slope, found = _ordered(system, inputs, outputs)
    taps = (tap for v in system.variables for tap in v.equation.taps)
    back = min((sum(s * d for s, d in zip(slope, tap.offset, strict=True)) for tap in taps), default=0) >= 0
    parting = _Parting(system)
    for variable in system.variables:
        if variable.name in system.inputs:
            parting.add(variable, list(inputs))
            continue
        at = found[variable.name]
        if back and not isinstance(variable.equation, ir.Embedding):
            at = np.maximum(at, -1)  # whatever earlier points tell is there before the first symbol
        parting.add(variable, [np.flatnonzero(at == moment) for moment in np.unique(at)])
    return parting.finished(len(inputs), outputs, shape)


def _ordered(
    system: ir.System, inputs: Sequence[Channels], outputs: Sequence[Channels]
) -> tuple[tuple[int, ...], dict[str, Channels]]:
    """Return an order of the points in which each output follows from earlier symbols, and the moments in it."""
    count = len(inputs)
    (name,) = system.inputs
    given = np.empty(system[name].channels, np.int64)
    for moment, channels in enumerate(inputs):
        given[channels] = moment
    late: list[int] = []
    for stretch in range(_STRETCHES):  # taps beyond a row's end may ask for longer strides than the row
        rows = [tuple(n + stretch for n in system.sizes[a + 1 :]) for a in range(len(system.sizes))]
        slope = tuple(count * int(np.prod(row)) for row in rows)
        found = moments(system, slope, {name: given})
        late = [int(found[system.output][channels].max()) - n for n, channels in enumerate(outputs)]
        if max(late) < 0:
            return slope, found
    worst = int(np.argmax(late))
    seen = min(worst + late[worst], count - 1)
    raise NotUniform(
        f"the output of symbol {worst} of a point rests on symbol {seen} of that point, as far as the equations tell, "
        "which does not come before it"
    )


@dataclass(eq=False)
class _Parting:
    """Parts variable after variable: where each channel went, and what was made."""

    system: ir.System
    made: list[ir.Variable] = field(default_factory=list)
    chosen: dict[str, dict[str, ir.Variable]] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    owner: dict[str, Channels] = field(default_factory=dict)
    place: dict[str, Channels] = field(default_factory=dict)

    def add(self, variable: ir.Variable, groups: Sequence[Channels]) -> None:
        """Part a variable into groups of its channels; what it reads later was parted, or will be, the same way."""
        names = [variable.name] if len(groups) == 1 else [f"{variable.name}@{n}" for n in range(len(groups))]
        self.parts[variable.name] = names
        self.owner[variable.name] = np.empty(variable.channels, np.int64)
        self.place[variable.name] = np.empty(variable.channels, np.int64)
        for n, channels in enumerate(groups):
            self.owner[variable.name][channels] = n
            self.place[variable.name][channels] = np.arange(len(channels))
            self.made.append(replace(variable, name=names[n], channels=len(channels)))

    def finished(self, count: int, outputs: Sequence[Channels], shape: tuple[int, ...]) -> Within:
        """Give every part its equation, and every symbol its output."""
        origin = {part: (name, n) for name, parts in self.parts.items() for n, part in enumerate(parts)}
        equations = {}
        for part in self.made:
            name, n = origin[part.name]
            equations[part.name] = self._restricted(self.system[name], np.flatnonzero(self.owner[name] == n))
        last, here = self.system[self.system.output], (0,) * len(self.system.axes)
        taps = [self._whole(ir.Tap(last.name, here, channels)) for channels in outputs]
        variables: list[ir.Variable] = []
        for part in self.made:
            variables.append(replace(part, equation=equations[part.name]))
            name, n = origin[part.name]
            if n == len(self.parts[name]) - 1:
                variables += self.chosen.get(name, {}).values()
        names = [f"{last.name} of symbol {n}" for n in range(count)]
        for own, tap in zip(names, taps, strict=True):
            variables.append(replace(last, name=own, channels=len(tap.channels), equation=copied(tap)))
        everything = tuple(ir.Tap(v.name, here, np.arange(v.channels)) for v in variables[-count:])
        joined = replace(last, name=f"{last.name} of all", channels=last.channels, equation=_concat(everything))
        inputs = tuple(self.parts[self.system.inputs[0]])
        system = replace(self.system, variables=(*variables, joined), inputs=inputs, output=joined.name, shape=shape)
        return Within(system.live(), dict(zip(inputs, names, strict=True)))

    # -- equations of some channels ----------------------------------------------------------------------------------

    def _restricted(self, variable: ir.Variable, own: Channels) -> ir.Equation:
        """Return the equation of some channels of a variable."""
        equation = variable.equation
        if isinstance(equation, ir.Input):
            return equation
        if isinstance(equation, ir.Contraction):
            return self._product(equation, variable.channels, own)
        if isinstance(equation, ir.Pointwise):
            return self._joined(equation, own) if equation.function == "concat" else self._function(equation, own)
        if isinstance(equation, ir.Embedding):
            width = equation.rows.shape[1]
            return replace(equation, tap=self._whole(_chosen(equation.tap, own[::width] // width)))
        if isinstance(equation, ir.Reduction) and len(own) < variable.channels:
            slots = slots_of(equation, variable.channels)
            assert slots is not None, "what is not by slots has one moment"
            kept = np.unique(slots[1][own])
            read = np.flatnonzero(np.isin(slots[0], kept))
            shape = [size if d in equation.along or size == 1 else len(kept) for d, size in enumerate(equation.shape)]
            return replace(equation, tap=self._whole(_chosen(equation.tap, read)), shape=tuple(shape))
        return with_taps(equation, self._whole)

    def _product(self, equation: ir.Contraction, channels: int, own: Channels) -> ir.Contraction:
        """Return the rows of a product, over the columns that these have."""
        if len(own) == channels and all(len(self.parts[tap.source]) == 1 for tap in equation.taps):
            return equation
        taps, weights = [], []
        for n, tap in enumerate(equation.taps):
            weight, used = _rows(equation, n, channels, own)
            for part in self._pieces(tap.source, tap.channels):
                columns = part[used[part]]
                if len(columns):
                    taps.append(self._moved(_chosen(tap, columns)))
                    weights.append(weight[:, torch.from_numpy(columns)])
        like = equation.weights[0] if equation.weights else torch.zeros(0)
        bias = like.new_zeros(len(own)) if equation.bias is None and not taps else equation.bias
        bias = bias[torch.from_numpy(own)] if bias is equation.bias and bias is not None else bias
        return replace(equation, taps=tuple(taps), bias=bias, weights=tuple(weights), groups=1, alive=(), dense=None)

    def _function(self, equation: ir.Pointwise, own: Channels) -> ir.Pointwise:
        """Return a function of some channels of its operands."""
        return replace(equation, operands=tuple(self._part_of(operand, own) for operand in equation.operands))

    def _joined(self, equation: ir.Pointwise, own: Channels) -> ir.Pointwise:
        """Return what is left of operands that stand one after the other."""
        kept: list[ir.Operand] = []
        first = 0
        for operand in equation.operands:
            width = len(operand.channels) if isinstance(operand, ir.Tap) else operand.values.shape[-1]
            mine = own[(own >= first) & (own < first + width)] - first
            if len(mine):
                kept.append(self._part_of(operand, mine))
            first += width
        return copied(kept[0]) if len(kept) == 1 else _concat(tuple(kept))

    def _part_of(self, operand: ir.Operand, own: Channels) -> ir.Operand:
        if isinstance(operand, ir.Tap):
            return self._whole(_chosen(operand, own))
        if operand.values.shape[-1] == 1:
            return operand
        return replace(operand, values=operand.values[..., torch.from_numpy(own)])

    # -- reads -------------------------------------------------------------------------------------------------------

    def _pieces(self, source: str, channels: Channels) -> list[Channels]:
        """Return which of these channels stand in which part: their places, part by part."""
        owner = self.owner[source][channels]
        return [np.flatnonzero(owner == n) for n in np.unique(owner)]

    def _moved(self, tap: ir.Tap) -> ir.Tap:
        """Return the same read of the one part that holds its channels."""
        number = int(self.owner[tap.source][tap.channels[0]])
        return replace(tap, source=self.parts[tap.source][number], channels=self.place[tap.source][tap.channels])

    def _whole(self, tap: ir.Tap) -> ir.Tap:
        """Return the same read; channels of several parts are brought together in a variable of their own."""
        pieces = self._pieces(tap.source, tap.channels)
        if len(pieces) == 1:
            return self._moved(tap)
        here = (0,) * len(tap.offset)
        key = hashlib.sha256(tap.channels.tobytes()).hexdigest()[:16]
        found = self.chosen.setdefault(tap.source, {})
        if key not in found:
            parts = tuple(self._moved(ir.Tap(tap.source, here, tap.channels[piece])) for piece in pieces)
            name = f"{tap.source}[{len(found)}]"
            source = self.system[tap.source]
            found[key] = replace(source, name=name, channels=len(tap.channels), equation=_concat(parts))
        return replace(tap, source=found[key].name, channels=np.argsort(np.concatenate(pieces), kind="stable"))


def _rows(equation: ir.Contraction, n: int, channels: int, own: Channels) -> tuple[Tensor, NDArray[np.bool_]]:
    """Return rows of a tap's weights over all its channels, without groups, and which channels they use."""
    weight, lives = equation.weights[n], alive(equation, n)[own]
    chosen = weight[torch.from_numpy(own)]
    if equation.groups == 1:
        return chosen, np.asarray(lives.any(0))
    width = weight.shape[1]
    columns = (own // (channels // equation.groups))[:, None] * width + np.arange(width)
    full = weight.new_zeros(len(own), equation.groups * width)
    full.scatter_(1, torch.from_numpy(columns), chosen)
    used = np.zeros(equation.groups * width, bool)
    used[columns[lives]] = True
    return full, used


def _chosen(tap: ir.Tap, places: Channels) -> ir.Tap:
    """Return a read of some of its channels."""
    fill = tap.fill
    if isinstance(fill, Tensor) and fill.ndim and len(fill) > 1:
        fill = fill[torch.from_numpy(places)]
    return replace(tap, channels=tap.channels[places], fill=fill)


def _concat(operands: tuple[ir.Operand, ...]) -> ir.Pointwise:
    return ir.Pointwise("concat", operands, _cat)


def _cat(*values: Tensor) -> Tensor:
    return torch.cat(values, -1)
