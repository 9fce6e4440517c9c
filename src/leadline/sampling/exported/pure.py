"""The step of a stream as a pure function: a chunk and states go in, outputs and the next states come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import NotUniform
from leadline.recurrence import ir
from leadline.recurrence.scores import Attention
from leadline.sampling.exported.equations import fills
from leadline.sampling.exported.parts import parts
from leadline.sampling.interface import Interface
from leadline.sampling.plan import Plan


class PureStep(nn.Module):
    """``forward(*inputs, position, *states) -> (output, [next,] position, *states)`` in operations of torch alone.

    Inputs and outputs have the axes of the model's own. The position is how many there were before, shape (1,); it and
    all states begin as zeros. Where an output sees no input of its own position, the one after the chunk is returned
    too, as what the next input is drawn from. Everything that stands in no circle is computed for all of a chunk at
    once; a circle is unrolled, so that chunks then have a fixed length.
    """

    def __init__(self, plan: Plan, interface: Interface, batch: int = 1) -> None:
        super().__init__()
        if len(plan.schedule.slope) != 1:
            raise NotUniform("a step is written for one axis: a picture is drawn by the compiled sampler")
        self.plan, self.interface, self.batch = plan, interface, batch
        self.delay, self.system = plan.schedule.delay, plan.system
        self.turning = any(turns for _, turns in parts(plan.system))
        self.ahead = -self.delay[self.system.output]
        self.before = fills(self.system)
        self.history = {v.name: self._history(v) for v in self.system.variables}
        self.kept = [name for name, columns in self.history.items() if columns]
        self._low = 0  # the earliest front that is computed
        rules: dict[type, Callable[[ir.Variable, Any, _Values, int, Tensor], Tensor]] = {
            ir.Contraction: self._contraction,
            ir.Pointwise: self._pointwise,
            ir.Embedding: self._embedding,
            ir.Reduction: self._reduction,
            Attention: self._attention,
        }
        for v in plan.system.variables:
            if type(v.equation) not in rules and not isinstance(v.equation, ir.Input):
                raise NotUniform(f"no step is written for {type(v.equation).__name__} ({v.place}) yet")
            if isinstance(v.equation, Attention) and v.equation.plain is None:
                raise NotUniform(
                    f"no step is written for attention at {v.place}: its scores go through more than a softmax"
                )
        self.rules = rules
        self.initial = self._initial()

    # -- states --------------------------------------------------------------------------------------------------------

    def _history(self, variable: ir.Variable) -> int:
        """Return how many columns before a chunk are read."""
        columns = self.plan.schedule.lifetimes()[variable.name]
        for reader in self.system.variables:
            equation = reader.equation
            if isinstance(equation, Attention):
                for tap, at_keys in equation.read:
                    if at_keys and tap.source == variable.name:
                        columns = max(columns, self._seen(equation) - 1 + self._late(reader, tap))
        return max(columns, self.ahead) if variable.name == self.system.output else columns

    def _seen(self, equation: Attention) -> int:
        """Return how many keys a query is laid out for."""
        return self.plan.capacity if equation.window is None else min(equation.window, self.plan.capacity)

    def _late(self, reader: ir.Variable, tap: ir.Tap) -> int:
        """Return how many fronts before its reader's a value was computed."""
        return self.delay[reader.name] + tap.offset[0] - self.delay[tap.source]

    def dtype(self, name: str) -> torch.dtype:
        """Return the type of a variable's numbers."""
        equation = self.system[name].equation
        return torch.int64 if isinstance(equation, ir.Input) and equation.integer else self.interface.source.dtype

    def zeros(self) -> tuple[Tensor, ...]:
        """Return what position and states begin with."""
        shapes = ((self.history[name], self.batch, self.system[name].channels) for name in self.kept)
        states = (torch.zeros(s, dtype=self.dtype(name)) for s, name in zip(shapes, self.kept, strict=True))
        return torch.zeros(1, dtype=torch.int64), *states

    @torch.no_grad()
    def _initial(self) -> dict[str, Tensor]:
        """Return the states that do not begin with zeros: what was there before, and what rests on no input."""
        states = {
            name: zero + torch.tensor(self.before.get(name, 0.0)).to(zero.dtype)
            for name, zero in zip(self.kept, self.zeros()[1:], strict=True)
        }
        (given,) = self.system.inputs
        like = torch.full((1, self.batch, self.system[given].channels), self.before.get(given, 0.0))
        self._low = self.plan.first
        for front in range(self.plan.first, 0):
            values = self._block(like.to(self.dtype(given)), torch.tensor([front]), states)
            states = {name: values.whole(name)[1:] for name in self.kept}
        self._low = 0
        return {name: state.clone() for name, state in states.items() if state.any()}

    # -- the step ------------------------------------------------------------------------------------------------------

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Go on with a chunk."""
        number = len(self.interface.source.streamed)
        inputs, at, past = given[:number], given[number], given[number + 1 :]
        states = dict(zip(self.kept, past, strict=True))
        for name, initial in self.initial.items():
            states[name] = torch.where(at == 0, initial, states[name])
        chunk = self.interface.beside(inputs)
        values = self._block(chunk, at, states)
        whole, begin = values.whole(self.system.output), self.history[self.system.output] - self.ahead
        n = chunk.shape[0]
        output = self.interface.as_output(whole[begin : begin + n])
        after = (self.interface.as_output(whole[begin + n : begin + n + 1]),) if self.ahead > 0 else ()
        kept = (values.whole(name)[n:] for name in self.kept)
        return output, *after, at + n, *kept

    def _block(self, chunk: Tensor, at: Tensor, states: dict[str, Tensor]) -> _Values:
        """Compute every variable at the columns of a chunk."""
        n = chunk.shape[0]
        values = _Values(states, {self.system.inputs[0]: chunk})
        fronts = at + torch.arange(n)
        for variables, turns in parts(self.system):
            for i, size in ((i, 1) for i in range(n)) if turns else ((0, n),):
                for v in variables:
                    here = fronts[i : i + size] if turns else fronts
                    new = self.rules[type(v.equation)](v, v.equation, values, i, here)
                    if self.delay[v.name] > self._low:  # it has no point in the first fronts
                        fill = self.before.get(v.name, 0.0)
                        new = torch.where((here >= self.delay[v.name]).reshape(-1, 1, 1), new, fill)
                    values.add(v.name, new)
        return values

    def _read(self, reader: ir.Variable, tap: ir.Tap, values: _Values, i: int, n: Any, back: int = 0) -> Tensor:
        """Return a tap at n columns from number i on, and so many before them."""
        begin = self.history[tap.source] - self._late(reader, tap) + i - back
        found = values.columns(tap.source, begin, n + back)
        channels = tap.channels.tolist()
        if channels == list(range(found.shape[-1])):
            return found
        if channels == list(range(channels[0], channels[0] + len(channels))):
            return found[..., channels[0] : channels[0] + len(channels)]
        return found[..., torch.tensor(channels)]

    # -- equations -----------------------------------------------------------------------------------------------------

    def _contraction(self, v: ir.Variable, equation: ir.Contraction, values: _Values, i: int, here: Tensor) -> Tensor:
        n, groups = here.shape[0], equation.groups
        total = None
        for tap, weight in zip(equation.taps, equation.weights, strict=True):
            read, weight = self._read(v, tap, values, i, n), weight.detach()
            if groups == 1:
                term = read @ weight.mT
            else:
                grouped = read.unflatten(-1, (groups, 1, len(tap.channels) // groups))
                matrix = weight.reshape(groups, v.channels // groups, -1)
                term = (matrix * grouped).sum(-1).flatten(-2)
            total = term if total is None else total + term
        if equation.bias is not None:
            bias = equation.bias.detach()
            total = bias.expand(n, self.batch, v.channels) if total is None else total + bias
        return torch.zeros(n, self.batch, v.channels, dtype=self.dtype(v.name)) if total is None else total

    def _pointwise(self, v: ir.Variable, equation: ir.Pointwise, values: _Values, i: int, here: Tensor) -> Tensor:
        n = here.shape[0]
        operands = []
        for operand in equation.operands:
            if isinstance(operand, ir.Tap):
                operands.append(self._read(v, operand, values, i, n))
            elif isinstance(operand, ir.Constant):
                operands.append(operand.values.detach().expand(n, self.batch, -1))
            else:
                table = operand.values.detach()
                rows = (here - self.delay[v.name]).clamp(0, len(table) - 1)
                operands.append(table[rows].unsqueeze(1).expand(n, self.batch, -1))
        found: Tensor = equation.call(*operands)
        return found

    def _embedding(self, v: ir.Variable, equation: ir.Embedding, values: _Values, i: int, here: Tensor) -> Tensor:
        classes = self._read(v, equation.tap, values, i, here.shape[0]).long()
        return nn.functional.embedding(classes, equation.rows.detach()).flatten(-2)

    def _reduction(self, v: ir.Variable, equation: ir.Reduction, values: _Values, i: int, here: Tensor) -> Tensor:
        n = here.shape[0]
        read = self._read(v, equation.tap, values, i, n).reshape(n * self.batch, *equation.shape)
        found: Tensor = equation.call(read)
        return found.reshape(n, self.batch, v.channels)

    def _attention(self, v: ir.Variable, equation: Attention, values: _Values, i: int, here: Tensor) -> Tensor:
        """Lay out as many keys as a query may see; those before the first position are masked."""
        plain, of_values = equation.plain, equation.value
        assert plain is not None, "others are refused when the step is made"
        assert of_values is not None, "it has a value"
        n, heads, back = here.shape[0], equation.heads, self._seen(equation) - 1
        query = self._read(v, plain.query, values, i, n).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
        key, value = (
            self._read(v, tap, values, i, n, back).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
            for tap in (plain.key, of_values)
        )
        now = (here - self.delay[v.name]).unsqueeze(1)
        point = now[:1] - back + torch.arange(n + back)
        seen = (point >= 0) & (point <= now) & (point > now - back - 1)
        scores = ((query * plain.scale) @ key.mT).masked_fill(~seen, float("-inf"))
        found: Tensor = scores.softmax(-1).to(value.dtype) @ value
        return found.permute(2, 0, 1, 3).flatten(-2)


class _Values:
    """What is known of each variable: columns before the chunk, and those of the chunk that were computed so far."""

    def __init__(self, past: dict[str, Tensor], new: dict[str, Tensor]) -> None:
        self.past, self.new = past, {name: [value] for name, value in new.items()}
        self._whole: dict[str, tuple[int, Tensor]] = {}  # with how many pieces it was made of

    def add(self, name: str, value: Tensor) -> None:
        """Store the next columns."""
        self.new.setdefault(name, []).append(value)

    def whole(self, name: str) -> Tensor:
        """Return all columns."""
        known = [*([self.past[name]] if name in self.past else []), *self.new.get(name, [])]
        if len(known) > 1 and self._whole.get(name, (0,))[0] != len(known):
            self._whole[name] = len(known), torch.cat(known)
        return known[0] if len(known) == 1 else self._whole[name][1]

    def columns(self, name: str, begin: int, n: Any) -> Tensor:
        """Return n columns from number `begin` on, the first one before the chunk being number 0."""
        before, new = len(self.past[name]) if name in self.past else 0, self.new.get(name, [])
        if isinstance(n, int):  # what was computed point by point, or long ago, is there by itself
            if n == 1 and 0 <= begin - before < len(new) and new[begin - before].shape[0] == 1:
                return new[begin - before]
            if begin + n <= before:
                return self.past[name][begin : begin + n]
        return self.whole(name)[begin : begin + n]
