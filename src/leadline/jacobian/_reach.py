"""How far a gradient reaches along time or over a grid: its size at every offset from an output, and its law."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from leadline.domains._context import context_of
from leadline.domains.arguments import public
from leadline.errors import Diverged, LayoutError, NotDifferentiable, UnknownOp, UsageError, require_seed
from leadline.graph.layout import BATCH, Axes, LayoutLike
from leadline.graph.reading import Reading
from leadline.graph.restoring.flags import flags_kept
from leadline.graph.user_code import running
from leadline.jacobian.activations import FirstActivations, at_positions
from leadline.jacobian.kernels import kept, run_once, same_noise
from leadline.jacobian.laws.distances import DistanceLaw, by_distance, by_offset, fading
from leadline.jacobian.sources import starting_point
from leadline.results import Result

Positions: TypeAlias = "Sequence[int | tuple[int, ...]] | None"
Places: TypeAlias = tuple[tuple[int, ...], ...]
_EXACT = 64
"""Outputs of no more numbers than these are differentiated one by one."""


@dataclass(frozen=True)
class Reach(Result):
    """How the gradient of outputs with respect to inputs depends on the offset between them.

    Attributes
    ----------
    input, axes, positions
        The input that is looked at, its position axes, and the output positions that the gradients start from.
    offsets
        Output position minus input position, along each axis: positive is the past.
    structural
        At which offsets outputs may depend on inputs at all, as `context` finds; None where it cannot tell.
    rms, sem
        Root mean square of the entries of ∂y_p/∂x_(p - offset), over features, samples and positions p; and its
        standard error, 0 where every output was differentiated by itself.
    law
        Of `strength` over distance.
    lost_at
        For each number format the first distance at which a gradient of size 1 is lost, as measured, and beyond that by
        the law; None where the gradient ends before it is lost. Formats of which neither tells are left out.
    seen
        How many positions the outputs may depend on, at most, as `context` finds; None where it cannot tell.
    mode, dtype, seed
        The mode and number format that the model ran in; the seed of the probes and of the model's own noise.
    """

    derived: ClassVar[tuple[str, ...]] = ("half_life", "used")

    input: str
    axes: Axes
    positions: tuple[tuple[int, ...], ...]
    offsets: Int[Tensor, "offsets axes"]
    structural: Bool[Tensor, " offsets"] | None
    rms: Float[Tensor, " offsets"]
    sem: Float[Tensor, " offsets"]
    law: DistanceLaw
    lost_at: Mapping[str, int | None]
    seen: int | None
    mode: Literal["train", "eval"]
    dtype: torch.dtype
    seed: int

    @property
    def strength(self) -> Float[Tensor, " distances"]:
        """Root of the summed squares at each distance 0, 1, …: steps along the grid, in any direction."""
        return by_distance(self.offsets, self.rms)

    @property
    def half_life(self) -> float | None:
        """The distance over which the gradient halves, by the law; None where it does not, or at no fixed distance."""
        return self.law.half_life

    @property
    def used(self) -> float | None:
        """The share of the positions seen that hold 99 % of the squared gradient."""
        if not self.seen:
            return None
        shares = (self.rms**2).sort(descending=True).values.cumsum(0)
        return (int((shares < 0.99 * shares[-1]).sum()) + 1) / self.seen

    @property
    def farthest(self) -> int | None:
        """The distance of the last input that the outputs see; None where it is not known."""
        if self.structural is None:
            return None
        return max(self.offsets[self.structural].abs().sum(1).tolist(), default=0)

    @property
    def spread(self) -> tuple[float, ...]:
        """The standard deviation of the offsets along each axis, each weighed by its squared gradient."""
        weights = (self.rms**2 / (self.rms**2).sum())[:, None]
        mean = (weights * self.offsets).sum(0)
        return tuple((weights * (self.offsets - mean) ** 2).sum(0).sqrt().tolist())

    def within(self, share: float) -> int:
        """Return the distance within which a share of the squared gradient lies.

        Raises `UsageError` where the share is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise UsageError(f"a share is above 0 and at most 1, not {share!r}")
        sums = (self.strength**2).cumsum(0)
        return int((sums < share * sums[-1] * (1 - 1e-12)).sum())

    def __str__(self) -> str:
        near = ", ".join(f"{share:.0%} within {self.within(share)}" for share in (0.5, 0.9, 0.99))
        fades = (
            f"; it halves every {self.half_life:.3g} steps" if self.law.kind == "exponential" and self.half_life else ""
        )
        part = f"; {self.used:.0%} of the {self.seen} positions seen hold 99 % of it" if self.used is not None else ""
        return f"of the squared gradient {near} steps ({self.law.kind}){fades}{part}"


@public("reach")
def reach(
    model: nn.Module,
    *inputs: Any,
    layout: LayoutLike = None,
    output: str | None = None,
    positions: Positions = None,
    probes: int = 8,
    seed: int = 0,
    **kwargs: Any,
) -> Reach:
    """Measure how large the gradient of an output is at every input position, by their offset.

    What an output may see is `context`; this is how much of it a gradient can teach. Outputs are differentiated one by
    one where a position has few numbers, else along `probes` random directions. Integer inputs are measured at their
    first floating activations. The model runs in its own mode and number format and is left as it was.

    Parameters
    ----------
    model, *inputs, layout, output, **kwargs
        As in `read`. The input looked at is the first that has axes.
    positions
        Output positions that gradients start from; default: the middle and the end of every axis.
    probes
        Random directions for each position.
    seed
        Of the probes, and of the model's own noise.

    Raises
    ------
    LayoutError
        If the input lacks a position axis of the output's, or a position lies outside.
    NotDifferentiable
        If no gradient arrives, or integers do not show which axes of their first activation are positions.
    Diverged
        If the output, or the gradient, is not finite.

    References
    ----------
    Luo et al., Understanding the effective receptive field in deep convolutional neural networks (2016).

    Examples
    --------
    >>> layer = nn.RNN(1, 1, nonlinearity="relu", batch_first=True)
    >>> _ = [nn.init.constant_(p, 0.5) for p in layer.parameters()]
    >>> found = reach(layer, torch.ones(1, 30, 1), layout="b t c -> b t v", output="[0]", positions=[29])
    >>> found.within(0.99), round(found.half_life, 6)  # it halves at each step
    (3, 1.0)
    """
    reading = Reading(model, inputs, kwargs, layout=layout, output=output)
    return reach_of(reading, positions, probes=probes, seed=seed)


def reach_of(
    reading: Reading, positions: Positions = None, *, probes: int = 8, seed: int = 0, exact: int = _EXACT
) -> Reach:
    """Measure the reach of a reading's model, worked out once; see `reach`.

    Outputs of up to `exact` numbers, or as many as there are probes, are differentiated one by one.
    """
    require_seed(seed)
    if probes < 2:
        raise UsageError(f"the reach takes at least two probes, for an error; got probes={probes}")
    places, few = _places(reading, positions), max(probes, exact)
    return reading.once(("reach", places, probes, seed, few), lambda: _measured(reading, places, probes, seed, few))


def _measured(reading: Reading, places: Places, probes: int, seed: int, few: int) -> Reach:
    name = next(iter(reading.input_axes))
    if not reading.has_values:
        raise NotDifferentiable("a gradient needs numbers, and the model or its inputs have none (the meta device)")
    with kept(reading.model, reading.inputs, reading.kwargs), run_once(), same_noise(seed), torch.enable_grad():
        with flags_kept():  # which a model may change while it runs
            end, leaves = _run(reading, name)
        generator = torch.Generator().manual_seed(seed)
        maps = []
        for place in places:
            singly = end[_index(reading, place)].numel() <= few
            gradients = _gradients(reading, end, leaves, place, None if singly else probes, generator)
            squares = torch.stack([_squares(reading, name, gradient) for gradient in gradients])
            error = torch.zeros_like(squares[0]) if singly else squares.var(0) / len(squares)
            maps.append((squares.mean(0), error))
    offsets, rms, sem = by_offset(places, maps)
    if not bool(torch.isfinite(rms).all()):
        raise Diverged("the gradient is not finite on its way back: look for a root or logarithm of 0, or an overflow")
    if not bool(rms.any()):
        raise NotDifferentiable(f"no gradient comes from the outputs at {list(places)} back to {name!r}")
    maps_seen = _seen(reading, places)
    seen = None if maps_seen is None else max(int(each.sum()) for each in maps_seen)
    structural = None if maps_seen is None else _anywhere(places, maps_seen)
    law, lost_at = fading(offsets, rms, end.dtype, structural)
    mode: Literal["train", "eval"] = "train" if reading.model.training else "eval"
    along = _along(reading)
    return Reach(name, along, places, offsets, structural, rms, sem, law, lost_at, seen, mode, end.dtype, seed)


def _along(reading: Reading) -> Axes:
    """Return the position axes of the output, which the first input must have too."""
    name, axes = next(iter(reading.input_axes.items()))
    along = tuple(axis for axis in reading.layout.positions if axis in reading.output_axes)
    if not along:
        raise LayoutError(f"there is no distance from {name} to the output: they share no position axes")
    if not set(along) <= set(axes):
        raise LayoutError(
            f"the output has the position axes {along}, and {name} the axes {axes}: offsets take the same"
        )
    return along


def _places(reading: Reading, positions: Positions) -> Places:
    """Return the output positions that were asked for, each a place along every axis."""
    along, sizes = _along(reading), dict(zip(reading.output_axes, reading.output_shape, strict=True))
    if positions is None:
        middle, last = tuple(sizes[axis] // 2 for axis in along), tuple(sizes[axis] - 1 for axis in along)
        return (middle, last) if middle != last else (last,)
    given = [(place,) if isinstance(place, int) else tuple(place) for place in positions]
    if not given:
        raise UsageError("positions=[] leaves no output to start from: leave it out, or name one")
    for place in given:
        if len(place) != len(along) or not all(-sizes[a] <= at < sizes[a] for a, at in zip(along, place, strict=False)):
            whole = " x ".join(f"{axis}={sizes[axis]}" for axis in along)
            raise LayoutError(f"{place} is not a position of the output, which has {whole}")
    return tuple(tuple(at % sizes[a] for a, at in zip(along, place, strict=True)) for place in given)


def _run(reading: Reading, name: str) -> tuple[Tensor, list[Tensor]]:
    """Run the model; return the output and the leaves that stand for an input: itself, or its first activations."""
    start = reading.tensors[name].detach().clone()
    floats = start.is_floating_point() or start.is_complex()
    leaf = start.requires_grad_() if floats else start
    args, kwargs = reading.call.replaced({name: leaf.clone() if floats else leaf})  # the model may write into it
    first = FirstActivations(leaf)
    with running(type(reading.model).__name__, (args, kwargs)), nullcontext() if floats else first:
        result = reading.model(*args, **kwargs)
    if not floats and not first.found:
        raise NotDifferentiable(f"nothing that floats was computed from the integers of {name!r} before the output")
    return starting_point(result, reading.output), [leaf] if floats else first.found


def _index(reading: Reading, place: tuple[int, ...]) -> tuple[Any, ...]:
    """Return what selects a place of the output."""
    at = dict(zip(_along(reading), place, strict=True))
    return tuple(at.get(axis, slice(None)) for axis in reading.output_axes)


def _gradients(
    reading: Reading,
    end: Tensor,
    leaves: Sequence[Tensor],
    place: tuple[int, ...],
    probes: int | None,
    generator: torch.Generator,
) -> Iterator[Sequence[Tensor | None]]:
    """Yield gradients of what the output holds at a place: of each number, or of so many random sums of them.

    Their mean square is that of the rows of the Jacobian.
    """
    shape = end[_index(reading, place)].shape
    entries = math.prod(shape)
    for number in range(entries if probes is None else probes):
        if probes is None:
            chosen = torch.arange(entries) == number
        else:
            chosen = torch.randn(entries, generator=generator) / math.sqrt(entries)
        cotangent = torch.zeros_like(end)
        cotangent[_index(reading, place)] = chosen.reshape(shape).to(end)
        with running(f"the backward pass of {type(reading.model).__name__}", (end,)):
            found = torch.autograd.grad(end, leaves, cotangent, retain_graph=True, allow_unused=True)
        yield found


def _squares(reading: Reading, name: str, gradients: Sequence[Tensor | None]) -> Float[Tensor, "..."]:
    """Return the mean square of the entries of a gradient at every position, in double precision.

    Features are averaged; samples are summed, since an output rests on its own.
    """
    shape, axes, along = reading.input_shape(name), reading.input_axes[name], _along(reading)
    total, features = torch.zeros([shape[axes.index(axis)] for axis in along], dtype=torch.float64), 0
    for gradient in gradients:
        if gradient is None:
            continue
        parts = gradient.unsqueeze(-1) if gradient.shape == shape else at_positions(gradient, shape, name)
        squares = parts.detach().abs().double().square()
        left = [place for place in range(squares.ndim) if place == len(axes) or axes[place] not in along]
        features += math.prod(squares.shape[place] for place in left if place == len(axes) or axes[place] != BATCH)
        squares = squares.sum(left) if left else squares
        held = [axis for axis in axes if axis in along]
        total += squares.permute([held.index(axis) for axis in along]).cpu()
    return total / max(features, 1)


def _seen(reading: Reading, places: Places) -> list[Bool[Tensor, "..."]] | None:
    """Return what the output at each place sees, at most, along its axes; None where an operation has no rule."""
    name, along = next(iter(reading.input_axes)), _along(reading)
    maps = []
    try:
        for place in places:
            at = dict(zip(along, place, strict=True))
            found = context_of(reading, tuple(at[a] for a in reading.output_axes if a in at), longer=False)
            others = [place for place, axis in enumerate(found.axes[name]) if axis not in along]
            seen = found.seen[name].sum(others) > 0 if others else found.seen[name]
            held = [axis for axis in found.axes[name] if axis in along]
            maps.append(seen.permute([held.index(axis) for axis in along]))
    except UnknownOp:
        return None
    return maps


def _anywhere(places: Places, maps: Sequence[Bool[Tensor, "..."]]) -> Bool[Tensor, " offsets"]:
    """Return at which offsets from its place some map is true."""
    marks = [each.double() for each in maps]
    return by_offset(places, [(each, torch.zeros_like(each)) for each in marks])[1] > 0
