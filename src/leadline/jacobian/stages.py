"""Stages are found, not asked for: the links of the chain that a deep network is.

A *chain* is a sequence of calls, each fed by the one before. In order of preference:

1. the time steps of a recurrent layer (`nn.RNN`, `nn.GRU`, `nn.LSTM`), or the fronts of a grid recurrence, each the
   cells that are as many steps away from the first;
2. blocks (modules of one class, with children) between which every path of the gradient must pass: the longest such
   chain, and of equal ones the outermost. A branch inside a residual block fails this test, the block itself passes it;
3. the outermost chain of at least four blocks, or else the longest (skips over several blocks: WaveNet, U-nets);
4. layers without children that hold a matrix; where they read what sums outside of any module made (residuals), their
   stages begin at the sums;
5. the whole model as one stage.

Where modules that are called again and again make most of a chain, those of one of them are the stages. The other
chains of a model, its modules and the steps of each recurrence, stand beside this one (`leadline.jacobian.chains`).

A weight that is parametrised (weight norm, spectral norm) makes its layer neither a block nor a class of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.utils.parametrize import type_before_parametrizations

from leadline.jacobian.calls import GradientFlow, ModuleCall, adds_to, is_cut, is_sum, let_go, node_of, origin, recorded

_GRID = "GridBackward"
"""What autograd calls the grid recurrence (`leadline.grid`)."""

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that only hold others: transparent, their elements are the candidates."""


RUN = 4
"""Fewer equal layers in a row are no repeated part, fewer calls of a module no recurrence."""

ENDED = (0, -1)
"""The last front of a grid ends in an output, as no other does."""

_LOOKS = 5


Along: TypeAlias = Literal["modules", "steps", "fronts"]


@dataclass(frozen=True)
class Chain:
    """The stages of a model: ``(path, nth call)`` of each, in order.

    There are no `calls` where the stages are the time steps of the layer at `recurrent`, the fronts of the module at
    `grid`, or the whole model as one stage; where that takes integers, `source` is the call whose output is its first
    floating activation. `carried` are the leaf positions in ``(args, kwargs)`` at which a stage takes what the one
    before made; `shared` says that stages share a module, so that depth is time, and `passed` that what comes after
    the last one goes around it too: a residual that is added outside; `sums` that stages begin at sums outside of the
    modules. `alike` are the stages that are repeated, where others stand before or after them (-1: all but one);
    `residual` says that each adds to what it takes.

    Of a recurrent module of several layers, `layer` names the one whose steps are the stages, and whether it goes
    backwards; None: the states of all of them cross together. Where fused recurrences are stages among others,
    `layers` says how many each call has, which are stages of their own; `also` are further calls of modules that stand
    for all of their calls, each with its stage and the positions at which it takes what comes from before.
    """

    calls: tuple[tuple[str, int], ...] = ()
    carried: tuple[int, ...] = ()
    recurrent: str | None = None
    grid: str | None = None
    source: tuple[str, int] | None = None
    shared: bool = False
    passed: bool = False
    sums: bool = False
    alike: tuple[int, int] | None = None
    residual: bool = False
    layer: tuple[int, bool] | None = None
    layers: tuple[int, ...] = ()
    also: tuple[tuple[str, int, int, tuple[int, ...]], ...] = ()

    @property
    def first_stages(self) -> tuple[int, ...]:
        """The first stage of each call, and the end: calls of fused recurrences of several layers have several."""
        return (0, *accumulate(self.layers or (1,) * len(self.calls)))

    @property
    def along(self) -> Along:
        """What the stages are."""
        if self.grid is not None:
            return "fronts"
        return "steps" if self.shared else "modules"

    @property
    def name(self) -> str:
        """What the stages are, in words.

        Examples
        --------
        >>> Chain(recurrent="rnn", shared=True, layer=(1, True)).name, Chain(grid="", shared=True).name, Chain().name
        ('the steps of rnn, layer 1 backwards', 'the fronts of the model', 'the modules')
        """
        if self.along == "modules":
            return "the modules"
        paths = dict.fromkeys(path for path, _ in self.calls)
        path = " and ".join(paths) or self.recurrent or self.grid or "the model"
        of_layer = "" if self.layer is None else f", layer {self.layer[0]}{' backwards' if self.layer[1] else ''}"
        return f"the {self.along} of {path}{of_layer}"

    def names(self, boundaries: int) -> tuple[str, ...]:
        """Name the stages between so many boundaries."""
        if self.recurrent is not None:
            of_layer = "" if self.layer is None else f"[layer {self.layer[0]}{' backwards' if self.layer[1] else ''}]"
            return tuple(f"{self.recurrent}{of_layer}[{step}]" for step in range(boundaries - 1))
        if self.grid is not None:
            return tuple(f"{self.grid}[front {front}]" for front in range(boundaries - 1))
        if not self.calls:
            return ("the whole model",)
        named = [f"{path}#{nth}" if nth or self.shared else path for path, nth in self.calls]
        if self.layers:
            each = zip(named, self.layers, strict=True)
            named = [f"{name}[layer {i}]" if n > 1 else name for name, n in each for i in range(n)]
        return tuple(named[: boundaries - 1])


def find_stages(model: nn.Module, run: Callable[[], Tensor]) -> Chain:
    """Find the stages of a model by one recorded forward pass.

    `run` calls the model and returns the output that gradients start from; the floating parameters and inputs must
    require gradients.
    """
    with recorded(model) as calls:
        output = run()
    flow = GradientFlow(calls)
    found = stages_among(calls, output, flow)
    nodes = flow.nodes()
    del calls, output, flow
    let_go(nodes)
    return found


def stages_among(calls: Sequence[ModuleCall], output: Tensor, flow: GradientFlow, *, fronts: bool = True) -> Chain:
    """Find the stages among the calls of one forward pass, which made the output that gradients start from.

    Without `fronts` a grid recurrence is a module as others are.
    """
    end = node_of(output)
    used = [i for i in range(len(calls)) if flow.depends(end, i)]
    looped = loops(calls, used, flow)
    again = {calls[loop[0]].path for loop in looped}
    recurrent = [call for call in calls if isinstance(call.module, nn.RNNBase) and not call.module.bidirectional]
    if recurrent and recurrent[0].path not in again:
        return Chain(recurrent=recurrent[0].path, shared=True)
    over = grids(calls) if fronts else []
    if over:
        return Chain(grid=calls[over[0]].path, shared=True, alike=ENDED)
    blocks = best_blocks(calls, blocks_among(calls, used, flow), flow, end)
    best = blocks or longest(calls, layers_among(calls, used), flow)
    best = _of_one(best, looped) if _again(calls, best) else best
    if len(best) < 2:
        sources = (call for call in calls if call.path and call.outputs and not call.inputs)
        entry = next((call for call in sources if end not in call.outputs.values()), None)
        return Chain(source=(entry.path, entry.nth) if entry else None)
    return chain_of_calls(calls, best, flow, end, blocks=bool(blocks))


def chain_of_calls(
    calls: Sequence[ModuleCall], best: Sequence[int], flow: GradientFlow, end: Node, *, blocks: bool
) -> Chain:
    """Return the chain whose stages are some calls, two or more; `blocks` are no layers of different kinds."""
    first, second, shared = best[0], best[1], _again(calls, best)
    return Chain(
        calls=tuple((calls[i].path, calls[i].nth) for i in best),
        carried=carried_by(calls, first, second, flow),
        shared=shared,
        sums=not blocks and not shared and _between_sums(calls, best, flow),
        residual=_all_add(calls, best, flow),
        alike=None if blocks else repeated([form_of(calls[i].module) for i in best]),
        passed=shared and _goes_around(calls, best, flow, end),
    )


def _goes_around(calls: Sequence[ModuleCall], chain: Sequence[int], flow: GradientFlow, end: Node) -> bool:
    """Whether what follows a call is made of what the call takes too: after the one before the last, if there is one.

    What follows the last one may also be made of earlier states, by whatever reads them all.
    """
    entering = [
        [calls[i].inputs[place] for place in carried_by(calls, before, i, flow)] for before, i in pairwise(chain[-3:])
    ]
    if len(entering) < 2:
        return not is_cut([end], [*calls[chain[-1]].outputs.values()], entering[-1])
    return not is_cut(entering[1], [*calls[chain[-2]].outputs.values()], entering[0])


def grids(calls: Sequence[ModuleCall]) -> list[int]:
    """Return the calls that are grid recurrences over the cells of their inputs, of nested ones the innermost."""
    over = [i for i, call in enumerate(calls) if any(node.name() == _GRID for node in call.outputs.values())]
    inner = [i for i in over if not any(i in calls[j].enclosing for j in over)]
    return [i for i in inner if calls[i].cells]


def loops(calls: Sequence[ModuleCall], used: Sequence[int], flow: GradientFlow) -> list[list[int]]:
    """Return the calls of each module that is called again and again, fed by its last call alone: a looped recurrence.

    Of modules within each other the outermost that is one; of those that take the same state the first.
    """
    groups: dict[str, list[int]] = {}
    for i in used:
        if any(parameter.ndim >= 2 for parameter in calls[i].module.parameters()):
            groups.setdefault(calls[i].path, []).append(i)
    found: dict[str, list[int]] = {}
    states = set[Node]()
    for path, group in groups.items():
        within = any(calls[j].path in found for j in calls[group[0]].enclosing)
        chain = [] if within or len(group) < RUN else longest(calls, group, flow)
        if len(chain) >= RUN and _alone(calls, chain, flow):
            entering = carried_by(calls, chain[-2], chain[-1], flow)
            taken = {calls[chain[-1]].inputs[place] for place in entering}
            if not taken & states:
                states |= taken
                found[path] = chain
    return list(found.values())


def _alone(calls: Sequence[ModuleCall], chain: Sequence[int], flow: GradientFlow) -> bool:
    """Whether nothing but what a call takes leads from one step to the next: looked at in a few of the steps."""
    entering = [
        [calls[i].inputs[place] for place in carried_by(calls, before, i, flow)] for before, i in pairwise(chain)
    ]
    made = [[*calls[i].outputs.values()] for i in chain]
    places = {1 + round(look * (len(entering) - 2) / (_LOOKS - 1)) for look in range(_LOOKS)}
    return all(is_cut(entering[at], entering[at - 1], [node for nodes in made[:at] for node in nodes]) for at in places)


def _again(calls: Sequence[ModuleCall], chain: Sequence[int]) -> bool:
    """Whether a chain holds calls of one module."""
    return len({calls[i].path for i in chain}) < len(chain)


def _of_one(chain: list[int], looped: Sequence[list[int]]) -> list[int]:
    """Return the loop that makes most of a chain, or the chain."""
    return next((loop for loop in looped if 2 * len({*loop} & {*chain}) > len(chain)), chain)


def blocks_among(calls: Sequence[ModuleCall], used: Sequence[int], flow: GradientFlow) -> list[list[int]]:
    """Return the longest chain of each class of blocks, leaving out calls inside a call of the same class."""
    groups: dict[Any, list[int]] = {}
    for i in used:
        module, kind = calls[i].module, type_before_parametrizations(calls[i].module)
        has_children = not _is_layer(module) and next(module.parameters(), None) is not None
        nested = any(type_before_parametrizations(calls[j].module) is kind for j in calls[i].enclosing)
        if has_children and kind in CONTAINERS:  # one that is called again and again is a step
            groups.setdefault(module, []).append(i)
        elif has_children and not nested:
            groups.setdefault(kind, []).append(i)
    chains = [longest(calls, group, flow) for group in groups.values()]
    return [chain for chain in chains if len(chain) > 1]


def layers_among(calls: Sequence[ModuleCall], used: Sequence[int]) -> list[int]:
    """Return the calls of layers without children that hold a matrix and take something that has a gradient."""
    leaves = [i for i in used if calls[i].inputs and _is_layer(calls[i].module)]
    return [i for i in leaves if any(p.ndim >= 2 for p in calls[i].module.parameters())]


def form_of(module: nn.Module) -> tuple[Any, ...]:
    """Return what makes layers alike: their class and the shapes of their parameters."""
    return type_before_parametrizations(module), *(tuple(p.shape) for p in module.parameters())


def repeated(forms: Sequence[Any]) -> tuple[int, int] | None:
    """Return where the longest run of equal forms begins and ends, if it has four of them or more.

    Examples
    --------
    >>> repeated("abbbbc"), repeated("abc")
    ((1, 5), None)
    """
    ends = [0, *(place for place, (a, b) in enumerate(pairwise(forms), 1) if a != b), len(forms)]
    start, stop = max(pairwise(ends), key=lambda run: run[1] - run[0])
    return (start, stop) if stop - start >= RUN else None


def _is_layer(module: nn.Module) -> bool:
    """Whether a module has no children; what computes its weights is none."""
    return all(name == "parametrizations" for name, _ in module.named_children())


def carried_by(calls: Sequence[ModuleCall], before: int, after: int, flow: GradientFlow) -> tuple[int, ...]:
    """Return the input positions of one call that depend on the outputs of another."""
    return tuple(i for i, node in calls[after].inputs.items() if flow.depends(node, before))


def _between_sums(calls: Sequence[ModuleCall], layers: Sequence[int], flow: GradientFlow) -> bool:
    """Whether most layers of a chain read what a sum outside of them made."""
    entering = [
        calls[i].inputs[place] for before, i in pairwise(layers) for place in carried_by(calls, before, i, flow)[:1]
    ]
    return 2 * sum(is_sum(origin(node)) for node in entering) > len(entering)


def _all_add(calls: Sequence[ModuleCall], chain: Sequence[int], flow: GradientFlow) -> bool:
    """Whether what enters each stage is a sum with what entered the one before, alone or among others."""
    entering = [
        calls[i].inputs[place] for before, i in pairwise(chain) for place in carried_by(calls, before, i, flow)[:1]
    ]
    return len(entering) > 1 and all(adds_to(node, before) for before, node in pairwise(entering))


def longest(calls: Sequence[ModuleCall], group: Sequence[int], flow: GradientFlow) -> list[int]:
    """Return the longest chain of calls within a group; parallel ones (heads, experts, projections) drop out."""
    length: dict[int, int] = {}
    longest_so_far: list[int] = []
    previous: dict[int, int | None] = {}
    for place, i in enumerate(group):
        length[i], previous[i] = 1, None
        for earlier in range(place - 1, -1, -1):
            if longest_so_far[earlier] < length[i]:
                break
            j = group[earlier]
            if length[j] >= length[i] and carried_by(calls, j, i, flow):
                length[i], previous[i] = length[j] + 1, j
        longest_so_far.append(max(length[i], longest_so_far[-1] if longest_so_far else 0))
    chain: list[int] = []
    last = max(group, key=lambda i: length[i], default=None)
    while last is not None:
        chain.append(last)
        last = previous[last]
    return chain[::-1]


def best_blocks(calls: Sequence[ModuleCall], chains: Sequence[list[int]], flow: GradientFlow, end: Any) -> list[int]:
    """Choose among chains of blocks by the rules 2 and 3 above."""

    def outermost(chain: list[int]) -> int:
        return -sum(type(calls[j].module) not in CONTAINERS for j in calls[chain[0]].enclosing)

    def is_cut_between_all(chain: list[int]) -> bool:
        between = [[calls[j].inputs[i] for i in carried_by(calls, before, j, flow)] for before, j in pairwise(chain)]
        return all(is_cut([end], boundary, between[0]) for boundary in between[1:])

    cuts = list(filter(is_cut_between_all, chains))
    if cuts:
        return max(cuts, key=lambda chain: (len(chain), outermost(chain)))
    long = [chain for chain in chains if len(chain) >= 4]
    return max(long, key=outermost) if long else max(chains, key=len, default=[])
