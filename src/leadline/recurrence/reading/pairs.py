"""Scores of attention as readings: tensors with two dimensions of positions, those of queries and those of keys.

No variable has two such dimensions. What is computed for every pair is a step, of which scores are a reading, like a
field of a variable; a sum over the keys makes one attention of all steps that it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph.table import Form, Pointwise, operation_of
from leadline.recurrence.reading import known
from leadline.recurrence.reading.field import (
    BATCH,
    FEATURE,
    Dims,
    Factor,
    Field,
    Misfit,
    axis_of,
    broadcast,
    features,
    whole,
    widened,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, copied
from leadline.recurrence.scores import Applied, AtKeys, AtQuery, Between, Made, Place, Products, Step

if TYPE_CHECKING:
    from leadline.recurrence.ir import Channels

QUERIES, KEYS = 0, 1  # the roles of positions


@dataclass(frozen=True, eq=False)
class Scores(Field):
    """A reading of a step, whose number is the name of the variable.

    `known` is what is the same for all inputs, by channel of the step, and `truths` says that these are truth values.
    Where nothing but a scale and masks has been applied to one product, and perhaps a softmax at last, `plain` has the
    product's step, the scale, and whether there was the softmax. `masked` says that a table was read. Where a step is
    what stands at the query from so many positions after the key on, and zero before, these are `since`.
    """

    known: Tensor = field(default_factory=known.unknown)
    truths: bool = False
    plain: tuple[int, float, bool] | None = None
    masked: bool = False
    since: int | None = None
    why = "the output is made of scores of attention"

    @property
    def step(self) -> int:
        """The number of the step."""
        return int(self.variable)

    @property
    def single(self) -> bool:
        """Whether there is one number for all keys."""
        return not any(f.role == KEYS for dim in self.dims for f in dim)

    @property
    def selected(self) -> Tensor:
        """What is known, by channel of the reading."""
        return self.known if self.known.shape[2] == 1 else self.known[..., torch.from_numpy(self.channels.reshape(-1))]

    @property
    def hidden(self) -> Tensor:
        """Which scores masks hide."""
        return self.known == -torch.inf


def emitted(low: Lowering, step: Step, dims: Dims, sizes: tuple[int, int], **how: Any) -> Scores:
    """Add a step, and return its reading."""
    low.steps.append(step)
    read = whole(dims, str(len(low.steps) - 1), 2, sizes)
    return Scores(read.dims, read.variable, read.channels, read.shift, read.sizes, **how)


def at_keys(read: Field) -> Field:
    """Return a reading whose positions are those of keys."""
    dims = tuple(tuple(Factor(KEYS, f.size) if f.role == QUERIES else f for f in dim) for dim in read.dims)
    return replace(read, dims=dims)


def column(low: Lowering, read: Field) -> Field:
    """Return the same as a variable of its own where it is shifted or cropped, so that all keys are its positions."""
    if not any(read.shift) and read.sizes == low.range_of(read.variable):
        return read
    return low.emit(copied(low.tap(read)), read.dims, read.sizes, "copy")


def key_tap(low: Lowering, read: Field, channels: Channels, lead: int) -> Any:
    """Return the tap on keys or values, of which there are `lead` more than queries."""
    return low.tap(read, channels, (-lead,))


def joint(values: Iterable[Any], shape: Sequence[int]) -> tuple[Dims, tuple[int, int], list[Any]]:
    """Return the dimensions to which scores and fields broadcast, the queries and keys, and all aligned to them.

    The positions of a field are those of queries or of keys, as its dimension stands; without scores that say which,
    the first dimension of positions is that of the queries.
    """
    rank, found = len(shape), list(values)
    reads = [value for value in found if isinstance(value, Field)]
    places = {f.role: rank - len(s.dims) + d for s in reads if isinstance(s, Scores)
              for d, dim in enumerate(s.dims) for f in dim if f.role >= 0}  # fmt: skip
    of = {id(r): [rank - len(r.dims) + d for d, dim in enumerate(r.dims) for f in dim if f.role >= 0] for r in reads}
    for place in sorted({p for r in reads if not isinstance(r, Scores) for p in of[id(r)]}):
        if place not in places.values():
            if len(places) > 1:
                raise Misfit("scores are combined with a tensor whose axes stand for different things")
            places[QUERIES if QUERIES not in places else KEYS] = place
    aligned = [at_keys(v) if isinstance(v, Field) and not isinstance(v, Scores) and of[id(v)] == [places.get(KEYS)]
               else v for v in found]  # fmt: skip
    dims = widened(broadcast([v.dims for v in aligned if isinstance(v, Field)]), shape)
    sizes = tuple(next((f.size for dim in dims for f in dim if f.role == role), 1) for role in (QUERIES, KEYS))
    return dims, (sizes[0], sizes[1]), aligned


def spread(read: Field, dims: Dims) -> Channels:
    """Return a reading's channels for all features of `dims`, of whose positions it may be the same for all."""
    carried = {f.role for dim in read.dims for f in dim if f.role != FEATURE}
    shape: list[int] = []
    for target, own in zip(dims, ((),) * (len(dims) - len(read.dims)) + read.dims, strict=True):
        sizes = [f.size for f in target if f.role == FEATURE]
        if own == target:
            shape += sizes
        elif all(f.size == 1 for f in own) and not any(f.role in carried for f in target):
            shape += [1] * len(sizes)
        else:
            raise Misfit("scores are combined with a tensor whose axes stand for different things")
    return np.array(np.broadcast_to(read.channels.reshape(shape), features(dims)))


def table(tensor: Tensor, dims: Dims) -> Tensor:
    """Return a fixed tensor, which broadcasts to `dims`, as (queries, keys, channels), 1 where all is the same."""
    tensor = tensor.detach().reshape((1,) * (len(dims) - tensor.ndim) + tensor.shape)
    factors = [(f, size > 1) for dim, size in zip(dims, tensor.shape, strict=True) for f in dim]
    parts = [[i for i, (f, _) in enumerate(factors) if f.role == role] for role in (BATCH, QUERIES, KEYS, FEATURE)]
    shape = [f.size if there else 1 for f, there in factors]
    samples, queries, keys = (math.prod(shape[i] for i in part) for part in parts[:3])
    full = tensor.reshape(shape).permute([i for part in parts for i in part])
    full = full.reshape(samples, queries, keys, *(shape[i] for i in parts[3]))
    if samples > 1 and not bool(((full == full[:1]) | full.isnan()).all()):
        raise Misfit("a fixed tensor differs between the samples of a batch")
    full = full[0]
    if any(size > 1 for size in full.shape[2:]):
        full = full.expand(queries, keys, *(f.size for f, _ in factors if f.role == FEATURE))
    return known.shrunk(full.reshape(queries, keys, -1))


def place_of(low: Lowering, value: Any, dims: Dims, lead: int) -> tuple[Place, Tensor]:
    """Return an operand of a step over `dims`, and what is known of it."""
    if isinstance(value, Fixed):
        values = table(value.tensor, dims)
        return Between(values), known.numbers(values)
    channels = spread(value, dims).reshape(-1)
    if isinstance(value, Scores):
        found = value.known if value.known.shape[2] == 1 else value.known[..., torch.from_numpy(channels)]
        return Made(value.step, channels), found
    if any(f.role == KEYS for dim in value.dims for f in dim):
        return AtKeys(key_tap(low, column(low, value), channels, lead)), known.unknown()
    return AtQuery(low.tap(value, channels)), known.unknown()


@dataclass(frozen=True)
class Function:
    """A function number by number: its name, what the table says of it, its literals, and itself on named tensors.

    `truths` says whether it gives truth values.
    """

    name: str
    facts: Pointwise | None
    literals: Mapping[str, Any]
    call: Callable[[Mapping[str, Tensor]], Tensor]
    truths: bool = False

    def leaves(self, name: str, fixed: Mapping[str, Tensor]) -> Tensor | None:
        """Return where the function leaves its operand of a name as it is, the others being fixed; None: not known."""
        form, operands = (None, ()) if self.facts is None else (self.facts.form, self.facts.operands)
        if form is Form.COPY:
            return torch.ones(1, 1, 1, dtype=torch.bool)
        if form is Form.CHOICE and operands[0] in fixed:
            return fixed[operands[0]] == (1 if operands[1] == name else 0)
        others = [value for key, value in fixed.items() if key != name]
        if len(others) != 1 or len(fixed) > 1 or self.literals.get("alpha", 1) != 1:
            return None
        if form is Form.SUM or (form is Form.DIFFERENCE and operands[0] == name):
            return others[0] == 0
        return others[0] == 1 if form is Form.PRODUCT else None

    def factor(self, name: str, fixed: Mapping[str, Tensor]) -> float | None:
        """Return the number by which the function multiplies its operand of a name; None: it does something else."""
        given = {**self.literals, **{key: float(value) for key, value in fixed.items() if value.numel() == 1}}
        others = [given.get(key) for key in ("self", "other") if key != name]
        if self.facts is None or len(others) != 1 or not isinstance(others[0], int | float):
            return None
        if self.facts.form is Form.QUOTIENT:
            return 1 / others[0] if name == "self" and not given.get("rounding_mode") else None
        return float(others[0]) if self.facts.form is Form.PRODUCT else None


def apply(low: Lowering, function: Function, values: Mapping[str, Any], shape: Sequence[int]) -> Scores:
    """Apply a function to scores, fields and fixed tensors, broadcast."""
    dims, sizes, aligned = joint(values.values(), shape)
    read = dict(zip(values, aligned, strict=True))
    places = {name: place_of(low, value, dims, sizes[1] - sizes[0]) for name, value in read.items()}
    truths = frozenset(name for name, value in read.items() if _of_truths(value))
    kept = {name: found for name, (_, found) in places.items()}
    found = known.shrunk(known.applied(function.facts, function.literals, function.call, kept, truths))
    fixed = {name: found for name, found in kept.items() if isinstance(read[name], Fixed)}
    tables = any(t.shape[:2] != (1, 1) for t in fixed.values())
    masked = tables or any(value.masked for value in read.values() if isinstance(value, Scores))
    alone = [name for name, value in read.items() if not isinstance(value, Fixed)]
    plain = None
    if len(alone) == 1 and isinstance(own := read[alone[0]], Scores):
        plain = _plain(own, function, alone[0], fixed, found)
        if (same := _same(low, own, function, alone[0], fixed, found, dims)) is not None:
            return replace(same, plain=plain, masked=masked)

    def call(*tensors: Tensor) -> Tensor:
        return function.call(dict(zip(read, tensors, strict=True)))

    single = not any(f.role == KEYS for dim in dims for f in dim)
    operands = tuple(place for place, _ in places.values())
    channels = math.prod(features(dims))
    step = Applied(function.name, operands, call, channels, function.literals, tuple(read), single=single)
    return emitted(low, step, dims, sizes, known=found, truths=function.truths, plain=plain, masked=masked)


def _of_truths(value: Any) -> bool:
    return value.tensor.dtype is torch.bool if isinstance(value, Fixed) else getattr(value, "truths", False)


def _same(
    low: Lowering, own: Scores, function: Function, name: str, fixed: Mapping[str, Tensor], found: Tensor, dims: Dims
) -> Scores | None:
    """Return the same scores where a mask changes none but those of keys that no query may see; None: it does."""
    left = function.leaves(name, fixed)
    if left is None or own.single or not fixed or not bool((left | known.beyond(*own.sizes)).all()):
        return None
    channels = spread(own, dims)
    if found.shape[2] > 1:
        if len(set(channels.reshape(-1).tolist())) < channels.size:
            return None
        wide = torch.full((*found.shape[:2], low.steps[own.step].channels), torch.nan, dtype=torch.float64)
        wide[..., torch.from_numpy(channels.reshape(-1))] = found
        found = wide
    return replace(own, dims=dims, channels=channels, known=found)


def _plain(
    own: Scores, function: Function, name: str, fixed: Mapping[str, Tensor], found: Tensor
) -> tuple[int, float, bool] | None:
    """Return what is left of `Scores.plain`: copies, scales and masks keep it."""
    copies = function.facts is not None and function.facts.form is Form.COPY
    if own.plain is None or copies or own.plain[2]:
        return own.plain if copies else None
    left, factor = function.leaves(name, fixed), function.factor(name, fixed)
    if factor is not None:
        return own.plain[0], own.plain[1] * factor, False
    return own.plain if left is not None and bool((left | (found == -torch.inf)).all()) else None


def chosen(low: Lowering, scores: Scores, seen: Any, level: float) -> Scores:
    """Put a number where scores are not seen."""

    def call(tensors: Mapping[str, Tensor]) -> Tensor:
        own = tensors["self"]
        return torch.where(tensors["condition"], own, torch.full((), level, dtype=own.dtype))

    choice = Function("where", operation_of("aten.where.self").pointwise, {"other": level}, call)
    return apply(low, choice, {"condition": seen, "self": scores}, scores.shape)


def for_rows(channels: Channels, rows: Sequence[Factor]) -> Channels:
    """Return channels (…, features) for each feature that shares a dimension with the positions of queries."""
    count = math.prod(features((tuple(rows),)))
    flat = channels.reshape(-1, 1, channels.shape[-1] if channels.ndim else 1)
    return np.repeat(flat, count, 1).reshape(-1)


def multiplied(low: Lowering, query: Field, key: Field, shape: Sequence[int]) -> Scores:
    """Return the products of queries (…, positions, features) and keys (…, positions, features)."""
    rows = [f.role for f in query.dims[-2]]
    if rows.count(QUERIES) != 1 or BATCH in rows or axis_of(key.dims[-2]) is None:
        raise Misfit("two computed tensors are multiplied that are not queries and keys along positions")
    key = at_keys(column(low, key))
    lead = widened(broadcast([query.dims[:-2], key.dims[:-2]]), shape[:-2])
    q, k = (spread(read, (*lead, *read.dims[-2:])) for read in (query, key))
    sizes = query.sizes[0], key.sizes[0]
    if sizes[0] > sizes[1]:
        raise Misfit("there are fewer keys than queries")
    heads, k = math.prod(features((*lead, query.dims[-2]))), for_rows(k, query.dims[-2])
    step = Products(low.tap(query, q), key_tap(low, key, k, sizes[1] - sizes[0]), heads)
    dims = (*lead, query.dims[-2], key.dims[-2])
    return emitted(low, step, dims, sizes, plain=(len(low.steps), 1.0, False))
