"""How far a gradient reaches: gains per stage, the law of growth over depth and over time, and the verdict."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.errors import LeadlineError, UsageError, require_seed
from leadline.graph.reading import Reading
from leadline.graph.restoring.snapshot import Snapshot
from leadline.graph.user_code import running
from leadline.jacobian.chains.finding import find_chains
from leadline.jacobian.chains.judging import GradientChain, Sampled, alive, judged, stages_between
from leadline.jacobian.kernels import kept, plain_kernels, run_once
from leadline.jacobian.probes import Tape, backward_norms, cut_open, forward_norms
from leadline.jacobian.sources import scalar, starting_point, with_gradient
from leadline.jacobian.stages import Chain


@dataclass(frozen=True)
class GradientDepth(GradientChain):
    """What `gradient` found: through its first chain, as a `GradientChain` says it, and through those beside it.

    The first chain is the steps of the first recurrence, if there is one, else the modules: its stages, rate, law and
    verdict, and whatever else a `GradientChain` has, stand here.

    Attributes
    ----------
    beside
        The other chains: the modules, where the first one is of steps, and the steps of each other recurrence, layer by
        layer. Only their backward gains are measured.
    not_measured
        Chains through which no gradient could be measured, and why.
    chains
        All of them, the first one too.
    modules
        That of the modules; None where none was measured.
    mode, dtype, seed
        The mode and number format that the model ran in; the seed of the probes.
    """

    beside: tuple[GradientChain, ...]
    not_measured: Mapping[str, str]
    mode: Literal["train", "eval"]
    dtype: torch.dtype
    seed: int

    @property
    def chains(self) -> tuple[GradientChain, ...]:
        """All chains, the first one too."""
        own = {field.name: getattr(self, field.name) for field in fields(GradientChain)}
        return (GradientChain(**own), *self.beside)

    @property
    def modules(self) -> GradientChain | None:
        """The chain of modules, also where that of a recurrence's steps comes first; None if it was not measured."""
        return next((chain for chain in self.chains if chain.along == "modules"), None)


@public("gradient")
def gradient(
    model: nn.Module,
    *inputs: Any,
    output: str | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    probes: int = 8,
    seed: int = 0,
    **kwargs: Any,
) -> GradientDepth:
    """Measure how the gradient grows or shrinks through the stages of a model, as it stands.

    Stages are found (see `leadline.jacobian.stages`): modules, and beside them the steps of each recurrence. The model
    runs in its own mode and number format and is left as it was. Models that take integers are measured from their
    first floating activation.

    Parameters
    ----------
    model, *inputs, **kwargs
        The model and what it is called with.
    output
        The output that gradients start from, by name or path (``"logits"``, ``"[0]"``); default: the first that is
        differentiable.
    loss
        Takes the model's output and returns a scalar: then its gradient is measured instead of random probes.
    probes
        How many random cotangents.
    seed
        Of the probes, and of the model's own noise (dropout).

    Raises
    ------
    NotDifferentiable
        If no gradient exists: integer, empty or detached outputs, empty stages.
    Diverged
        If an activation is not finite, or the gradient.
    UsageError
        If no output bears the name given, or the loss is not a scalar.
    ModelError
        If the model or the loss raises.

    Examples
    --------
    >>> layers = [layer for _ in range(12) for layer in (nn.Linear(1, 1), nn.Sigmoid())]
    >>> depth = gradient(nn.Sequential(*layers), torch.zeros(1, 1))
    >>> depth.kind, depth.rate.value < -1.386  # a factor of 1/4 a stage
    ('vanishing', True)

    Of a recurrence of two layers the steps of both together, the layers, and the steps of each:

    >>> found = gradient(nn.GRU(3, 4, num_layers=2), torch.randn(9, 1, 3))
    >>> [chain.name.removeprefix("the ") for chain in found.chains]
    ['steps of the model', 'modules', 'steps of the model, layer 0', 'steps of the model, layer 1']
    """
    reading = Reading(model, inputs, kwargs, output=output)
    return gradient_of(reading, loss=loss, probes=probes, seed=seed)


def gradient_of(
    reading: Reading,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    probes: int = 8,
    seed: int = 0,
    ahead: bool = True,
    every: bool = True,
) -> GradientDepth:
    """Measure the gradient of a reading's model, which is not traced for it; see `gradient`.

    Forward gains are measured too, if `ahead`; through the chains beside the first one, if `every`.
    """
    require_seed(seed)
    if probes < 1:
        raise UsageError(f"the gradient takes at least one probe, got probes={probes}")
    model, beside, missing = reading.model, list[GradientChain](), dict[str, str]()
    with differentiated(reading, loss) as (beginning, call, run):
        first, *others = find_chains(model, run)
        measuring = _Measuring(model, beginning, call, run, probes, seed, scalar_end=loss is not None)
        found, dtype = measuring(first, ahead=ahead)
        for chain in others if every else ():
            try:
                beside.append(measuring(chain, ahead=False)[0])
            except (LeadlineError, RuntimeError) as error:
                missing[chain.name] = str(error)
        mode: Literal["train", "eval"] = "train" if model.training else "eval"
    own = {field.name: getattr(found, field.name) for field in fields(found)}
    return GradientDepth(**own, beside=tuple(beside), not_measured=missing, mode=mode, dtype=dtype, seed=seed)


@dataclass(frozen=True)
class _Measuring:
    """How the gradient of one model is measured along a chain: the state that it begins in, and how it is run."""

    model: nn.Module
    beginning: Snapshot
    call: Callable[[], Any]
    run: Callable[[], Tensor]
    probes: int
    seed: int
    scalar_end: bool

    def __call__(self, chain: Chain, *, ahead: bool) -> tuple[GradientChain, torch.dtype]:
        """Measure the gradient along a chain; forward gains too, if `ahead`."""
        model, seed = self.model, self.seed
        generator = torch.Generator().manual_seed(seed)
        probes = 1 if self.scalar_end and not chain.shared else self.probes
        tape = self._tape(chain)
        backward, exact = backward_norms(tape, probes, generator)
        dtype, entries, first = tape.dtype, np.array(tape.entries), tape.first
        del tape
        self.beginning.restore()
        forward, method = None, "not asked for"
        if ahead:
            forward, method = forward_norms(model, chain, self.call, self.probes, generator, seed)
        names = chain.names(first + len(entries) + 1)[first:]
        squares = alive(backward.numpy(), names)
        measured = squares.shape[1]
        usable = squares.mean(axis=0) / entries[:measured] > torch.finfo(dtype).smallest_normal ** 2
        single = bool(entries.max() == 1)
        how = Sampled(seed, 8 * torch.finfo(dtype).eps, exact, single=single, alike=chain.alike)
        stages = stages_between(names, squares, forward.numpy() if forward is not None else None, how)
        found = judged(stages, squares, usable, how, dtype, method=method, name=chain.name, along=chain.along)
        return found, dtype

    def _tape(self, chain: Chain) -> Tape:
        self.beginning.restore()
        try:
            return cut_open(self.model, chain, self.run, self.seed)
        except RuntimeError:  # kernels of its own that cannot be cut
            self.beginning.restore()
            with plain_kernels():
                return cut_open(self.model, chain, self.run, self.seed)


@contextmanager
def differentiated(
    reading: Reading, loss: Callable[[Any], Tensor] | None = None
) -> Iterator[tuple[Snapshot, Callable[[], Any], Callable[[], Tensor]]]:
    """Yield the state that a reading's model began in, a call of it, and one that returns what gradients start from."""
    model, output = reading.model, reading.given_output
    with kept(model, reading.inputs, reading.kwargs) as beginning, run_once(), torch.enable_grad():
        leaves = {name: with_gradient(tensor) for name, tensor in reading.tensors.items()}

        def call() -> Any:  # of copies, which the model may write into
            given, named = reading.call.replaced({name: leaf.clone() for name, leaf in leaves.items()})
            return model(*given, **named)

        def run() -> Tensor:
            return starting_point(call(), output) if loss is None else scalar(loss(call()))

        with running(type(model).__name__, (reading.inputs, reading.kwargs)):
            yield beginning, call, run


def chain_of(reading: Reading) -> Chain:
    """Return the stages that `gradient` would find first."""
    with differentiated(reading) as (_, _, run):
        return find_chains(reading.model, run)[0]
