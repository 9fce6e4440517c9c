"""All chains of a model: the one that `leadline.jacobian.stages` prefers, the modules, the steps of each recurrence.

Depth and time stand beside each other. Along depth a recurrence is a stage as others are, one for each of its layers,
and a module that is called at every step stands for all of its calls: what enters it are the inputs of all steps
together. Along time each layer of a recurrence, each direction and each looped cell has a chain of its own, and each
grid recurrence one of fronts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from leadline.jacobian.calls import GradientFlow, ModuleCall, let_go, node_of, recorded
from leadline.jacobian.stages import (
    ENDED,
    Chain,
    best_blocks,
    blocks_among,
    chain_of_calls,
    form_of,
    grids,
    layers_among,
    longest,
    loops,
    repeated,
    stages_among,
)


def find_chains(model: nn.Module, run: Callable[[], Tensor]) -> tuple[Chain, ...]:
    """Find the chains of a model by one recorded forward pass, the preferred one first; see `find_stages`."""
    with recorded(model) as calls:
        output = run()
    flow = GradientFlow(calls)
    first = stages_among(calls, output, flow)
    beside = [chain for chain in chains_among(calls, output, flow) if not _same(chain, first)]
    nodes = flow.nodes()
    del calls, output, flow
    let_go(nodes)
    return (first, *beside) if first.shared or first.calls or not beside else tuple(beside)


def chains_among(calls: Sequence[ModuleCall], output: Tensor, flow: GradientFlow) -> Iterator[Chain]:
    """Yield the chain of modules, and those of the steps of each recurrence, that lead to an output."""
    end = node_of(output)
    used = [i for i in range(len(calls)) if flow.depends(end, i)]
    modules = _modules(calls, used, flow, end)
    if modules is not None:
        yield modules
    looped = loops(calls, used, flow)
    for loop in looped:
        yield chain_of_calls(calls, loop, flow, end, blocks=True)
    again = {calls[loop[0]].path for loop in looped}
    for path in dict.fromkeys(calls[i].path for i in used if layered(calls[i].module) is not None):
        if path not in again:
            yield from _layers_of(path, next(calls[i].module for i in used if calls[i].path == path))
    over = dict.fromkeys(calls[i].path for i in grids(calls) if i in used)
    yield from (Chain(grid=path, shared=True, alike=ENDED) for path in over)


def layered(module: nn.Module) -> tuple[int, int] | None:
    """Return how many layers and directions a fused recurrence has; None for other modules, and for one of its kind.

    What a user's own class makes of a layer is not known.
    """
    own = type(module).forward in (nn.RNN.forward, nn.GRU.forward, nn.LSTM.forward)
    if not (isinstance(module, nn.RNNBase) and own):
        return None
    return module.num_layers, 1 + module.bidirectional


def _layers_of(path: str, module: nn.Module) -> Iterator[Chain]:
    """Yield the steps of each layer and direction of a fused recurrence."""
    layers, directions = layered(module) or (0, 0)
    if layers == directions == 1:
        yield Chain(recurrent=path, shared=True)
        return
    for layer in range(layers):
        for backwards in (False, True)[:directions]:
            yield Chain(recurrent=path, shared=True, layer=(layer, backwards))


def _modules(calls: Sequence[ModuleCall], used: Sequence[int], flow: GradientFlow, end: Node) -> Chain | None:
    """Return the chain of modules, each standing for all of its calls; None where it has a single stage."""
    firsts, every = list[int](), dict[str, list[int]]()
    for i in used:
        if calls[i].path not in every:
            firsts.append(i)
        every.setdefault(calls[i].path, []).append(i)
    blocks = best_blocks(calls, blocks_among(calls, firsts, flow), flow, end)
    best = blocks or longest(calls, layers_among(calls, firsts), flow)
    layers = tuple((layered(calls[i].module) or (1, 1))[0] if len(every[calls[i].path]) == 1 else 1 for i in best)
    if sum(layers) < 2:
        return None
    if len(best) > 1:
        chain = chain_of_calls(calls, best, flow, end, blocks=bool(blocks))
    else:
        chain = Chain(calls=((calls[best[0]].path, calls[best[0]].nth),), carried=(0,))
    others = tuple(
        (calls[i].path, calls[i].nth, stage, _from_before(calls[i], before, chain.carried, flow))
        for stage, first in enumerate(best)
        for before, i in pairwise(every[calls[first].path])
    )
    alike = (
        None if blocks else repeated([form for i, n in zip(best, layers, strict=True) for form in _forms(calls[i], n)])
    )
    return replace(
        chain,
        layers=layers if max(layers) > 1 else (),
        also=others,
        alike=alike,
        sums=chain.sums and not others,  # the cells of a loop end in sums of their own
    )


def _forms(call: ModuleCall, layers: int) -> list[tuple[Any, ...]]:
    """Return what makes stages alike; of a fused recurrence for each of its layers."""
    module = call.module
    if not isinstance(module, nn.RNNBase) or layers == 1:
        return [form_of(module)]
    held = module.all_weights[:: 1 + module.bidirectional]
    return [(type(module), *(tuple(weight.shape) for weight in weights)) for weights in held]


def _from_before(call: ModuleCall, before: int, carried: Sequence[int], flow: GradientFlow) -> tuple[int, ...]:
    """Return at which positions a call takes what its module did not make in the call before."""
    return tuple(p for p in carried if p in call.inputs and not flow.depends(call.inputs[p], before))


def _same(chain: Chain, first: Chain) -> bool:
    """Whether a chain says nothing that the first does not."""
    if not first.shared:
        return chain.along == first.along and bool(first.calls)
    if not chain.shared:
        return False
    return chain == first or (bool(chain.calls) and {*chain.calls} <= {*first.calls})
