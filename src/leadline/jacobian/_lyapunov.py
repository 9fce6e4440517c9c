"""Lyapunov spectra: the rates at which a recurrence stretches and forgets, by repeated QR.

Columns Q are carried through the Jacobian of each step and orthonormalised again, ``J_t Q = Q' R``; the mean of
``ln |R_ii|`` is the i-th exponent. The first ones are growth rates of gradients through time, whatever the norm of a
single step says.

Source: Benettin, Galgani, Giorgilli and Strelcyn, Lyapunov characteristic exponents for smooth dynamical systems
(1980).
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.errors import Diverged, NotDifferentiable, UsageError, require_seed
from leadline.graph.assignments import traced_assignments
from leadline.graph.containers import hollow
from leadline.graph.given import refuse_unbegun, refuse_unusable
from leadline.graph.restoring.undisturbed import restored
from leadline.graph.sparse import refuse_all_but_dense
from leadline.graph.user_code import running
from leadline.jacobian._jacobian import batched
from leadline.jacobian.kernels import plain_kernels, run_once, without_torch_warnings
from leadline.jacobian.laws.series import mean_of_series
from leadline.results import Estimate, Result


@dataclass(frozen=True)
class LyapunovSpectrum(Result):
    """Exponents per step, largest first.

    Attributes
    ----------
    exponents
        With standard errors that allow for the correlation of successive steps. Minus infinity: forgotten within one
        step, beneath what the number format resolves.
    steps, transient
        Steps that were averaged, and those before them that were dropped.
    seed
        Of the first columns.
    """

    exponents: tuple[Estimate, ...]
    steps: int
    transient: int
    seed: int

    @property
    def largest(self) -> Estimate:
        """The rate at which almost every perturbation grows, per step."""
        return self.exponents[0]


@public("lyapunov")
def lyapunov(
    step: Callable[..., Any],
    state: Tensor | Sequence[Tensor],
    *,
    steps: int | None = None,
    inputs: Iterable[Any] | None = None,
    k: int | None = None,
    transient: int | None = None,
    seed: int = 0,
) -> LyapunovSpectrum:
    """Return the k largest Lyapunov exponents of a recurrence along the trajectory from `state`.

    Parameters
    ----------
    step
        Takes a state (and an input, if there are any) to the next state; or a cell of `torch.nn`.
    state
        One tensor, or several (an LSTM's ``(h, c)``); unbatched, or a batch of one.
    steps
        How many; default: as many as there are inputs.
    inputs
        One per step; None: an autonomous map.
    k
        How many exponents; default: all.
    transient
        Steps to drop before averaging; default: a fifth.
    seed
        Of the first columns.

    Raises
    ------
    UsageError
        If neither `steps` nor `inputs` are given, or too few to average, or no exponent is asked for.
    NotDifferentiable
        If the state is not floating, empty, or another in number format or size after a step.
    Diverged
        If the state leaves the finite numbers.
    ModelError
        If a step raises.

    Examples
    --------
    >>> found = lyapunov(lambda x: torch.tensor([2.0, 0.5]) * x, torch.ones(2), steps=40)
    >>> [round(exponent.value, 4) for exponent in found.exponents]
    [0.6931, -0.6931]
    """
    if steps is None and inputs is None:
        raise UsageError("say how long: give steps=, or inputs=, one per step")
    refuse_unbegun(step)
    require_seed(seed)
    parts = _parts(state)
    n = _size(parts)
    if k is not None and k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    drawn = torch.randn(n, min(k or n, n), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start = drawn.to(parts[0].device, torch.promote_types(parts[0].dtype, torch.float32))
    if isinstance(step, nn.RNNCellBase):  # takes its input first
        cell, step = step, lambda state, x: cell(x, state)
    series = exponents_through(_jacobians(step, parts, inputs, steps), start)
    return averaged(series, transient, seed, 8 * torch.finfo(parts[0].dtype).eps)


def exponents_through(
    multiplies: Iterable[Callable[[Tensor], Tensor]], Q: Float[Tensor, "n k"]
) -> Float[Tensor, "steps k"]:
    """Return ``ln |R_ii|`` of each step, for a sequence of linear maps that are given as their action on columns."""
    Q = torch.linalg.qr(Q)[0]
    rows: list[Tensor] = []
    for multiply in multiplies:
        image = multiply(Q)
        if not bool(torch.isfinite(image).all()):
            raise Diverged(f"the derivative of step {len(rows) + 1} is not finite: look for a root or logarithm of 0")
        Q, R = torch.linalg.qr(image)
        stretch = R.diagonal().abs().double()
        lost = stretch <= 10 * torch.finfo(Q.dtype).eps * torch.linalg.vector_norm(image, ord=torch.inf)
        rows.append(torch.where(lost, 0.0, stretch).log())
    return torch.stack(rows).cpu() if rows else Q.new_zeros(0, Q.shape[1]).cpu()


def averaged(
    series: Float[Tensor, "steps k"], transient: int | None, seed: int, resolution: float = 1e-15
) -> LyapunovSpectrum:
    """Average local stretching rates, each known to the `resolution`, over time, dropping the transient."""
    total = len(series)
    dropped = total // 5 if transient is None else transient
    if dropped < 0:
        raise UsageError(f"transient counts the first steps, to be dropped: it cannot be {dropped}")
    kept = series[dropped:]
    if len(kept) < 2:
        raise UsageError(f"{total} steps less {dropped} of transient leave too few to average")
    lost = torch.isinf(kept).any(dim=0)
    found = [
        Estimate(-math.inf, 0.0, len(kept), seed)
        if gone
        else mean_of_series(column.numpy(), seed, resolution=resolution)
        for column, gone in zip(kept.T, lost.tolist(), strict=True)
    ]
    found.sort(key=lambda estimate: -estimate.value)
    return LyapunovSpectrum(tuple(found), len(kept), dropped, seed)


def _parts(state: Any) -> list[Tensor]:
    """Return the tensors of a state, which have to be dense and to hold values."""
    parts = list(state) if isinstance(state, list | tuple) else [state]
    refuse_unusable(parts)
    for part in parts:
        if not isinstance(part, Tensor):
            raise UsageError(f"a state is a tensor, or several in a tuple, not {type(part).__name__}")
        refuse_all_but_dense("the state", part)
        if hollow(part):
            raise NotDifferentiable("the state has no values: a trajectory begins somewhere")
    return parts


def _size(parts: Sequence[Tensor]) -> int:
    """Return how many numbers a state holds, which have to be floating."""
    n = sum(part.numel() for part in parts)
    if n == 0:
        raise NotDifferentiable(f"the state has no elements, its shapes are {[tuple(part.shape) for part in parts]}")
    if not all(part.is_floating_point() for part in parts):
        kinds = ", ".join(sorted({str(part.dtype) for part in parts}))
        raise NotDifferentiable(f"the state is {kinds}, which has no derivative: give floating numbers")
    if any(part.dtype.itemsize == 1 for part in parts):
        raise NotDifferentiable(f"the state is {parts[0].dtype}, in which nothing is added: give it in another format")
    return n


def _jacobians(
    step: Callable[..., Any], parts: list[Tensor], inputs: Iterable[Any] | None, steps: int | None
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Run the recurrence, yielding the action of each step's Jacobian on columns."""
    shapes = [part.shape for part in parts]
    sizes = [part.numel() for part in parts]
    flat = torch.cat([part.detach().flatten() for part in parts])

    def flow(vector: Tensor, *x: Any) -> Tensor:
        states = [piece.reshape(shape) for piece, shape in zip(torch.split(vector, sizes), shapes, strict=True)]
        with run_once():
            after = step(states[0] if len(states) == 1 else tuple(states), *x)
        parts = [after] if isinstance(after, Tensor) else after
        return torch.cat([part.flatten() for part in parts])  # a copy: the state may be one that the step holds

    given = itertools.repeat(()) if inputs is None else ((x,) for x in inputs)
    for place, x in enumerate(itertools.islice(given, steps)):
        with restored(step, x), running("the step", (flat, x)), torch.set_grad_enabled(place == 0):
            after = flow(flat.requires_grad_(place == 0), *x)
        _check(after, flat, place)
        flat, after = flat.detach(), after.detach()
        yield partial(_pushed, flow, flat, x)
        flat = after


def _check(after: Tensor, before: Tensor, place: int) -> None:
    """Complain about a state that cannot be the next one; the first is recorded, so that its source can be seen."""
    if after.shape != before.shape or after.dtype != before.dtype:
        raise NotDifferentiable(
            f"step {place + 1} takes a state of {before.numel()} numbers ({before.dtype}) to one of {after.numel()} "
            f"({after.dtype}): it must return the next state, and that alone"
        )
    if hollow(after):
        raise NotDifferentiable(f"the state has no values after step {place + 1}: no trajectory goes on from there")
    if place == 0 and not after.requires_grad:
        raise NotDifferentiable("the next state does not depend on the state, or is detached from it")
    if not bool(torch.isfinite(after.detach()).all()):
        raise Diverged(f"the state is not finite after step {place + 1}: no exponents exist")


def _pushed(flow: Callable[..., Tensor], at: Tensor, x: tuple[Any, ...], V: Tensor) -> Tensor:
    """Multiply columns by the Jacobian of one step."""

    def push(v: Tensor) -> Tensor:
        pushed: Tensor = torch.func.jvp(lambda state: flow(state, *x), (at,), (v,))[1]
        return pushed

    silent = without_torch_warnings()
    with (
        running("the step", (at, x)),
        restored(flow, x),
        torch.no_grad(),
        plain_kernels(),
        traced_assignments(),
        silent,
    ):
        return batched(push, V.T.to(at.dtype)).T.to(V.dtype)
