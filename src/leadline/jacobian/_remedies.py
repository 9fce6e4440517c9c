"""What would mend a gradient that vanishes or explodes: each remedy is tried on a copy of the model, and measured."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.errors import Diverged, ModelError, NotDifferentiable
from leadline.graph.reading import Reading
from leadline.grid.cells import LSTMCell
from leadline.jacobian._gradient import GradientDepth, chain_of, differentiated, gradient_of
from leadline.jacobian.boundaries import Visit, replaced
from leadline.jacobian.laws.verdicts import GradientKind
from leadline.jacobian.placements import norms_behind, put_before
from leadline.jacobian.stages import Chain
from leadline.results import Estimate, Result

_ENOUGH = 0.002
"""A rate this near to 0 ends a search."""
_HALVINGS = 9
_SCALES = (1.5, 2.0, 3.0, 5.0, 9.0, 16.0)
_BIASES = (1.0, 2.0, 3.0, 5.0, 8.0)

Setting = Callable[[float], None]
"""Puts a copy of the model into the state that a number stands for."""


@dataclass(frozen=True)
class Remedy:
    """One remedy, in words, with what was set, and what became of the gradient on the copy."""

    name: str
    rate: Estimate
    total: Estimate
    kind: GradientKind


@dataclass(frozen=True)
class Remedies(Result):
    """What `remedies` found.

    Attributes
    ----------
    before
        The gradient of the model as it stands.
    tried
        The remedies that could be tried, with the rate after each: the one nearest to 0 first.
    seed
        Of the probes, of matrices drawn anew, and of the model's own noise.
    """

    before: GradientDepth
    tried: tuple[Remedy, ...]
    seed: int

    @property
    def best(self) -> Remedy | None:
        """The remedy that leaves the least change a stage, if that is less than half of what it was."""
        first = self.tried[0] if self.tried else None
        return first if first is not None and abs(first.rate.value) < abs(self.before.rate.value) / 2 else None

    @property
    def advice(self) -> str:
        """What mends the gradient, of what was tried, with the growth a stage that is left."""
        helps = [each for each in self.tried if abs(each.rate.value) < abs(self.before.rate.value) / 2][:3]
        if not helps:
            return "nothing that was tried halves the rate: --full shows what was"
        tried = "; ".join(f"{each.name} gives {math.exp(each.rate.value):.3g} × a stage" for each in helps)
        return f"tried on a copy: {tried}"

    def __str__(self) -> str:
        before = f"{self.before.kind} at {math.exp(self.before.rate.value):.3g} × a stage"
        after = [f"{each.name}: {math.exp(each.rate.value):.3g} ×" for each in self.tried]
        return "; ".join([before, *after]) if after else f"{before}; nothing that could be tried applies"


@public("remedies")
def remedies(
    model: nn.Module, *inputs: Any, output: str | None = None, probes: int = 8, seed: int = 0, **kwargs: Any
) -> Remedies:
    """Try what may mend the gradient of a model, each remedy on a copy, and measure the gradient again.

    Tried are, where they apply: the scale of the stages' matrices, found by bisection, as they are and as orthogonal
    ones; the bias of forget gates, those of grids too; normalisations that stand behind the branches of residual
    blocks, moved before them; residual connections of scale 1/√L around stages that have none, or their branches scaled
    by it; and a normalisation of what enters each stage. The model itself is left as it was.

    Parameters
    ----------
    model, *inputs, output, probes, **kwargs
        As in `gradient`.
    seed
        Of the probes, of matrices that are drawn anew, and of the model's own noise.

    Raises
    ------
    ModelError
        If the model cannot be called, or copied; and as in `gradient`.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layers = [layer for _ in range(12) for layer in (nn.Linear(32, 32), nn.Tanh())]
    >>> found = remedies(nn.Sequential(*layers), torch.randn(4, 32))
    >>> found.before.kind, abs(found.best.rate.value) < 0.02
    ('vanishing', True)
    """
    return remedies_of(Reading(model, inputs, kwargs, output=output), probes=probes, seed=seed)


def remedies_of(reading: Reading, *, probes: int = 8, seed: int = 0) -> Remedies:
    """Try remedies on copies of a reading's model; see `remedies`."""
    before = reading.once(("gradient", None, probes, seed), lambda: gradient_of(reading, probes=probes, seed=seed))
    trial = _Trial(reading, chain_of(reading), before, probes, seed)
    tried = [*trial.scaled(), *trial.scaled(orthogonal=True), *trial.remembering(), *trial.placed(), *trial.connected()]
    return Remedies(before, tuple(sorted(tried, key=lambda each: abs(each.rate.value))), seed)


@dataclass(frozen=True)
class _Trial:
    """Copies of one model, and how they are measured."""

    reading: Reading
    chain: Chain
    before: GradientDepth
    probes: int
    seed: int

    def scaled(self, *, orthogonal: bool = False) -> Iterator[Remedy]:
        """Scale the stages' matrices, as they are or as orthogonal ones."""
        model = self._copy()
        held = matrices(model, self.chain)
        if orthogonal:
            generator = torch.Generator().manual_seed(self.seed)
            held = [matrix for matrix in held if matrix.ndim == 2 and not len(matrix) % matrix.shape[1]]
            for matrix in held:
                _draw_orthogonal(matrix, generator)
        originals = [matrix.detach().clone() for matrix in held]

        def put(scale: float) -> None:
            with torch.no_grad():
                for matrix, original in zip(held, originals, strict=True):
                    matrix.copy_(scale * original)

        at_one = self._gradient(model) if orthogonal else self.before
        grows = at_one is not None and at_one.rate.value > 0
        scales = [1.0, *(1 / scale if grows else scale for scale in _SCALES)]
        value = self._search(model, put, scales, by_ratio=True) if held else None
        if value is not None:
            put(value)
            name = "orthogonal matrices" if orthogonal else "matrices"
            yield from self._measured(f"{name} × {value:.3g}", model)

    def remembering(self) -> Iterator[Remedy]:
        """Move the bias of gates that keep the state, of LSTMs and GRUs."""
        model = self._copy()
        held = list(_forget_biases(model, self.chain))
        originals = [part.detach().clone() for part in held]

        def put(bias: float) -> None:
            with torch.no_grad():
                for part, original in zip(held, originals, strict=True):
                    part.copy_(original + bias)

        sign = -1.0 if self.before.rate.value > 0 else 1.0
        value = self._search(model, put, [sign * bias for bias in _BIASES], by_ratio=False) if held else None
        if value is not None:
            put(value)
            yield from self._measured(f"forget bias {value:+.3g}", model)

    def placed(self) -> Iterator[Remedy]:
        """Move the normalisations of residual blocks to before their branches."""
        with differentiated(self.reading) as (_, _, run):
            found = norms_behind(self.reading.model, run)
        if found:
            model = self._copy()
            put_before(model, found)
            yield from self._measured("normalisations before the branches", model)

    def connected(self) -> Iterator[Remedy]:
        """Change what goes from one stage to the next: residual connections, their scale, a normalisation."""
        if not self.chain.calls or self.chain.shared:
            return
        scale = len(self.chain.calls) ** -0.5
        added = "branches" if self.chain.residual else "residual connections, branches"
        ways: dict[str, Visit] = {
            f"{added} × 1/√L = {scale:.3g}": _Added(scale, anew=not self.chain.residual),
            "what enters each stage normalised": _normalised,
        }
        for name, change in ways.items():
            model = self._copy()
            _between(model, self.chain, change)
            yield from self._measured(name, model)

    def _copy(self) -> nn.Module:
        try:
            return copy.deepcopy(self.reading.model)
        except Exception as error:
            raise ModelError(f"the model cannot be copied, so nothing can be tried on it: {error}") from error

    def _gradient(self, model: nn.Module) -> GradientDepth | None:
        """Measure a copy; None where it has no gradient."""
        reading = Reading(model, self.reading.inputs, self.reading.kwargs, output=self.reading.given_output)
        try:
            return gradient_of(reading, probes=self.probes, seed=self.seed, ahead=False, every=False)
        except (NotDifferentiable, Diverged):
            return None

    def _measured(self, name: str, model: nn.Module) -> Iterator[Remedy]:
        found = self._gradient(model)
        if found is not None:
            yield Remedy(name, found.rate, found.total, found.kind)

    def _search(self, model: nn.Module, put: Setting, values: Sequence[float], *, by_ratio: bool) -> float | None:
        """Return the value at which the rate is nearest to 0: between two of different sign by bisection."""
        tried: dict[float, float] = {}

        def rate(value: float) -> float:
            put(value)
            found = self._gradient(model)
            tried[value] = math.copysign(math.inf, value) if found is None else found.rate.value
            return tried[value]

        first = rate(values[0])
        for low, high in pairwise(values):
            if abs(first) < _ENOUGH:
                break
            if first * (second := rate(high)) <= 0:
                for _ in range(_HALVINGS):
                    middle = math.sqrt(low * high) if by_ratio else (low + high) / 2
                    at = rate(middle)
                    if abs(at) < _ENOUGH:
                        break
                    low, high = (middle, high) if at * first > 0 else (low, middle)
                break
            first = second
        best = min(tried, key=lambda value: abs(tried[value]))
        return best if math.isfinite(tried[best]) else None


def matrices(model: nn.Module, chain: Chain) -> list[Tensor]:
    """Return the matrices of the stages; of a recurrence those from a state to the next."""
    paths = [chain.recurrent if chain.recurrent is not None else chain.grid] if not chain.calls else []
    paths += [path for path, _ in dict.fromkeys(chain.calls)]
    found: dict[int, tuple[str, Tensor]] = {}
    for path in paths:
        if path is not None:
            held = model.get_submodule(path).named_parameters()
            found |= {id(p): (name, p) for name, p in held if p.ndim >= 2 and p.is_floating_point()}
    between = [p for name, p in found.values() if any(word in name for word in ("_hh", "north", "west"))]
    return between or [p for _, p in found.values()]


def _draw_orthogonal(matrix: Tensor, generator: torch.Generator) -> None:
    """Put orthogonal blocks, one for each gate, in the place of a matrix."""
    size = matrix.shape[1]
    with torch.no_grad():
        for block in matrix.split(size):
            drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
            block.copy_(torch.linalg.qr(drawn).Q)


def _forget_biases(model: nn.Module, chain: Chain) -> Iterator[Tensor]:
    """Yield the biases of the gates that keep the state.

    They are the second part of both PyTorch's LSTM and GRU, and the last two of five of a grid's LSTM.
    """
    paths = {path for path, _ in chain.calls} | {chain.recurrent}
    if chain.grid is not None:
        held = dict(model.get_submodule(chain.grid).named_parameters(recurse=False))
        north, bias = held.get("weight_north"), held.get("bias")
        if north is not None and bias is not None and bias.shape[-1] == LSTMCell.gates * north.shape[-1]:
            yield bias[..., 3 * north.shape[-1] :]
    for path in (path for path in paths if path is not None):
        for module in model.get_submodule(path).modules():
            if isinstance(module, nn.LSTM | nn.GRU | nn.LSTMCell | nn.GRUCell):
                biases = (p for name, p in module.named_parameters() if name.startswith("bias_hh"))
                yield from (bias[module.hidden_size : 2 * module.hidden_size] for bias in biases)


def _between(model: nn.Module, chain: Chain, change: Visit) -> None:
    """Let a change stand before each stage of a copy."""

    def before(stage: int) -> Any:
        return lambda _, args, kwargs: replaced((args, kwargs), chain.carried, stage, change)

    for stage, (path, _) in enumerate(chain.calls):
        model.get_submodule(path).register_forward_pre_hook(before(stage), with_kwargs=True)


class _Added:
    """Adds what entered a stage to a part of what comes out of it, where their shapes allow; `anew` if nothing did."""

    def __init__(self, scale: float, *, anew: bool) -> None:
        self.scale, self.anew, self.before = scale, anew, list[Tensor]()

    def __call__(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        if stage and [t.shape for t in tensors] == [t.shape for t in self.before]:
            kept = 0.0 if self.anew else self.scale
            tensors = [(1 - kept) * x + self.scale * t for x, t in zip(self.before, tensors, strict=True)]
        self.before = tensors
        return tensors


def _normalised(stage: int, tensors: list[Tensor]) -> list[Tensor]:
    """Divide what enters a stage by its root mean square, sample by sample."""
    return [_by_rms(t) if stage and t.ndim > 1 else t for t in tensors]


def _by_rms(t: Tensor) -> Tensor:
    return t * torch.rsqrt(t.square().mean(list(range(1, t.ndim)), keepdim=True) + 1e-6)
