"""Hutchinson's probes: push random vectors through all stages at once, back from the output and forward from the first.

For a Jacobian J and a standard normal v, ``E‖Jᵀv‖² = ‖J‖_F²``. One backward pass yields one sample of it for every
stage, because autograd returns the gradients of all boundaries together.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from leadline.errors import Diverged, NotDifferentiable
from leadline.graph.restoring.undisturbed import restored
from leadline.jacobian.boundaries import visited
from leadline.jacobian.calls import node_of, origin
from leadline.jacobian.kernels import plain_kernels, same_noise, without_torch_warnings
from leadline.jacobian.stages import Chain


@dataclass
class Tape:
    """One forward pass, cut open at its boundaries: the tensors that cross each, and those that gradients start from.

    Through time (shared stages) gradients start from the last state alone: those from every step's output would hide
    how little of the last one arrives at the first. Where only what crosses is of interest, the end is whatever the
    model returned. Where stages begin at sums outside of modules, what crosses is known by its place in the graph.
    `first` is the stage at which something floating crosses first: a cell may make its first state itself.
    """

    crossing: list[list[Any]]
    ends: list[Any]
    entries: list[int]
    dtype: torch.dtype
    first: int = 0


def cut_open(model: nn.Module, chain: Chain, run: Callable[[], Any], seed: int) -> Tape:
    """Run the model once, keeping what crosses each boundary between stages, made differentiable.

    Gradients start from what `run` returns, unless the stages are shared. Raises `NotDifferentiable` if a stage has no
    elements to differentiate; `Diverged` if an activation is not finite; the first such stage is named.
    """
    crossing: dict[int, list[Tensor]] = {}
    every_call = {stage for _, _, stage, _ in chain.also}

    def copied(boundary: int, tensors: list[Tensor]) -> list[Tensor]:
        leaves = [t if t.requires_grad else t.detach().clone().requires_grad_() for t in tensors]
        # One tensor stands for all its uses, also those past the stage (a residual added outside of it). Of several,
        # one may come from another (an LSTM's h from its c): copies separate them. What enters a module at each of many
        # steps is taken without its uses as a state, which are the way through time.
        apart = boundary in every_call
        leaves = [t.clone() for t in leaves] if apart or len(leaves) > 1 else leaves
        crossing[boundary] = [*(crossing.get(boundary, []) if apart else []), *leaves]
        return [t.clone() for t in leaves]  # the next stage may change its input in place

    with visited(model, chain, copied), same_noise(seed):
        output = run()
    if chain.passed:  # what the last step adds itself to is the state after it, if the model returns that
        alone = crossing.pop(len(chain.calls))
        if isinstance(output, Tensor) and output.shape == alone[0].shape:
            crossing[len(chain.calls)] = [output]
    present = [i for i in sorted(crossing) if crossing[i]]
    boundaries = [crossing[i] for i in present]
    if not boundaries:
        raise NotDifferentiable("no floating activation was found between the inputs and the output")
    names = chain.names(present[-1] + 2)[present[0] :]
    for name, tensors in zip(names, boundaries, strict=False):
        if any(t.numel() == 0 for t in tensors):
            raise NotDifferentiable(f"what enters stage {name!r} has no elements: give longer inputs")
        if not all(bool(torch.isfinite(t.detach()).all()) for t in tensors):
            raise Diverged(f"what enters stage {name!r} is not finite: check inputs and initialisation")
    ends = boundaries[-1] if chain.shared and len(boundaries) > 1 else [output]
    entries, dtype = [sum(t.numel() for t in tensors) for tensors in boundaries], boundaries[0][0].dtype
    if not chain.sums:
        return Tape(boundaries, ends, entries, dtype, present[0])
    edges = [[_beginning(t) for t in tensors] for tensors in boundaries]
    return Tape(edges, ends, [sum(map(_entries, each)) for each in edges], dtype, present[0])


def _beginning(tensor: Tensor) -> GradientEdge:
    """Return the place in the graph where what enters a layer begins: a sum, or what another layer made."""
    made = origin(node_of(tensor))
    return get_gradient_edge(tensor) if made is node_of(tensor) else GradientEdge(made, 0)


def _entries(edge: GradientEdge) -> int:
    return math.prod(edge.node._input_metadata[edge.output_nr].shape)


def backward_norms(
    tape: Tape, probes: int, generator: torch.Generator
) -> tuple[Float[Tensor, "probes boundaries"], bool]:
    """Return squared norms of the gradient at every boundary, NaN where none arrives, and whether their mean is exact.

    A scalar end is a loss. Where the ends have no more entries than there are probes, each entry has its own.
    """
    flat = [t for tensors in tape.crossing for t in tensors]
    rows = []
    cotangents, exact = _cotangents(tape.ends, probes, generator)
    for cotangent in cotangents:
        gradients = torch.autograd.grad(tape.ends, flat, cotangent, retain_graph=True, allow_unused=True)
        rows.append(_squares(tape.crossing, gradients))
    return torch.stack(rows), exact


def _cotangents(ends: Sequence[Tensor], probes: int, generator: torch.Generator) -> tuple[Iterator[list[Tensor]], bool]:
    """Return what gradients start from: the entries, one by one, if they are few, else random vectors."""
    entries = sum(t.numel() for t in ends)
    if entries > probes:
        return ([normal_like(t, generator) for t in ends] for _ in range(probes)), False

    def unit(place: int) -> list[Tensor]:  # so long that the mean of the squares is the whole norm's
        flat = torch.zeros(entries, dtype=torch.float64)
        flat[place] = math.sqrt(entries)
        parts = torch.split(flat, [t.numel() for t in ends])
        return [part.reshape(t.shape).to(t) for part, t in zip(parts, ends, strict=True)]

    return (unit(place) for place in range(entries)), True


def _squares(crossing: Sequence[Sequence[Any]], values: Sequence[Tensor | None]) -> Float[Tensor, "boundaries"]:
    """Add up the squares of the tensors of each boundary: NaN where none has a value, infinity if one is not finite."""
    values = list(values)
    totals = []
    for tensors in crossing:
        own = [v.detach().double().square().sum().item() for v in (values.pop(0) for _ in tensors) if v is not None]
        total = sum(own) if own else math.nan
        totals.append(total if math.isfinite(total) or not own else math.inf)
    return torch.tensor(totals, dtype=torch.float64)


def forward_norms(
    model: nn.Module, chain: Chain, run: Callable[[], Any], probes: int, generator: torch.Generator, seed: int
) -> tuple[Float[Tensor, "probes boundaries"] | None, str]:
    """Return squared norms of random tangents carried forward from the first boundary, and the method that did it.

    Forward mode first; where an operation has no forward derivative, the double-backward trick; where that fails too,
    None, with the method saying why. What `run` returns does not matter here.
    """
    if chain.grid is not None:
        return None, "none, backward only: fronts are taken by what drives them, which carries nothing on"
    if chain.sums:
        return None, "none, backward only: stages begin at sums, which no module takes as they are"
    try:
        rows = [_by_forward_mode(model, chain, run, generator, seed) for _ in range(probes)]
        return torch.stack(rows), "forward mode"
    except (RuntimeError, NotImplementedError):
        pass
    try:
        with plain_kernels():
            tape = cut_open(model, chain, run, seed)
            return _by_double_backward(tape, probes, generator), "double backward"
    except (RuntimeError, NotImplementedError) as error:
        return None, f"none, backward only: {str(error).splitlines()[0]}"


def _by_forward_mode(
    model: nn.Module, chain: Chain, run: Callable[[], Any], generator: torch.Generator, seed: int
) -> Float[Tensor, "boundaries"]:
    """Carry one random tangent through the model with dual numbers."""
    squares: dict[int, Tensor] = {}

    def carried(boundary: int, tensors: list[Tensor]) -> list[Tensor]:
        if not squares and tensors:
            tensors = _with_tangents(tensors, [normal_like(t, generator) for t in tensors])
        if tensors:  # at once: the next stage may change tangents in place
            squares[boundary] = _squares([tensors], [forward_ad.unpack_dual(t).tangent for t in tensors])[0]
        return tensors

    with restored(model), torch.no_grad(), plain_kernels(), without_torch_warnings(), forward_ad.dual_level():
        with visited(model, chain, carried), same_noise(seed):
            run()
        return torch.stack([squares[i] for i in sorted(squares) if not (chain.passed and i == len(chain.calls))])


def _with_tangents(tensors: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    """Give tensors tangents: a single one in place, for all its uses; of several, each a copy (see `cut_open`)."""
    if len(tensors) == 1:
        return [tensors[0].add_(forward_ad.make_dual(torch.zeros_like(tensors[0]), tangents[0]))]
    return [forward_ad.make_dual(t.detach().clone(), tangent) for t, tangent in zip(tensors, tangents, strict=True)]


def _by_double_backward(tape: Tape, probes: int, generator: torch.Generator) -> Float[Tensor, "probes boundaries"]:
    """Carry random tangents by differentiating the gradient, which is linear in its cotangent, by that cotangent."""
    first, later = tape.crossing[0], [t for tensors in tape.crossing[1:] for t in tensors]
    cotangents = [torch.zeros_like(t, requires_grad=True) for t in later]
    gradients = torch.autograd.grad(later, first, cotangents, create_graph=True, allow_unused=True)
    used = [i for i, gradient in enumerate(gradients) if gradient is not None and gradient.requires_grad]
    rows = []
    for _ in range(probes):
        tangents = [normal_like(t, generator) for t in first]
        carried = torch.autograd.grad(
            [gradients[i] for i in used], cotangents, [tangents[i] for i in used], retain_graph=True, allow_unused=True
        )
        rows.append(_squares(tape.crossing, [*tangents, *carried]))
    return torch.stack(rows)


def normal_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers in the shape, type and place of a tensor."""
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    return drawn.to(dtype=tensor.dtype, device=tensor.device)
