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

A weight that is parametrised (weight norm, spectral norm) makes its layer neither a block nor a class of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from leadline.jacobian.calls import GradientFlow, ModuleCall, adds_to, is_cut, is_sum, let_go, node_of, origin, recorded

_GRID = "GridBackward"
"""What autograd calls the grid recurrence (`leadline.grid`)."""

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that only hold others: transparent, their elements are the candidates."""


_RUN = 4
"""Fewer equal layers in a row are no repeated part."""


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

    def names(self, boundaries: int) -> tuple[str, ...]:
        """Name the stages between so many boundaries."""
        if self.recurrent is not None:
            return tuple(f"{self.recurrent}[{step}]" for step in range(boundaries - 1))
        if self.grid is not None:
            return tuple(f"{self.grid}[front {front}]" for front in range(boundaries - 1))
        if not self.calls:
            return ("the whole model",)
        return tuple(f"{path}#{nth}" if nth or self.shared else path for path, nth in self.calls[: boundaries - 1])


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
    recurrent = [call for call in calls if isinstance(call.module, nn.RNNBase) and not call.module.bidirectional]
    if recurrent:
        return Chain(recurrent=recurrent[0].path, shared=True)
    grid = _grid(calls) if fronts else None
    if grid is not None:
        return Chain(grid=grid.path, shared=True, alike=(0, -1))  # the last one ends in an output
    end = node_of(output)
    used = [i for i in range(len(calls)) if flow.depends(end, i)]
    blocks = _best_blocks(calls, _blocks(calls, used, flow), flow, end)
    best = blocks or _longest(calls, _layers(calls, used), flow)
    if len(best) < 2:
        sources = (call for call in calls if call.path and call.outputs and not call.inputs)
        entry = next((call for call in sources if end not in call.outputs.values()), None)
        return Chain(source=(entry.path, entry.nth) if entry else None)
    first, second, *_, last = *best, best[-1]
    entering = [calls[last].inputs[i] for i in _carried(calls, best[-2], last, flow)]
    shared = len({calls[i].path for i in best}) < len(best)
    return Chain(
        calls=tuple((calls[i].path, calls[i].nth) for i in best),
        carried=_carried(calls, first, second, flow),
        shared=shared,
        sums=not blocks and not shared and _between_sums(calls, best, flow),
        residual=_all_add(calls, best, flow),
        alike=None if blocks else _repeated([_form(calls[i].module) for i in best]),
        passed=shared and not is_cut([end], list(calls[last].outputs.values()), entering),
    )


def _grid(calls: Sequence[ModuleCall]) -> ModuleCall | None:
    """Return the first call that is a grid recurrence over the cells of its input, and of nested ones the innermost."""
    over = [i for i, call in enumerate(calls) if any(node.name() == _GRID for node in call.outputs.values())]
    inner = [calls[i] for i in over if not any(i in calls[j].enclosing for j in over)]
    return inner[0] if inner and inner[0].cells else None


def _blocks(calls: Sequence[ModuleCall], used: Sequence[int], flow: GradientFlow) -> list[list[int]]:
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
    chains = [_longest(calls, group, flow) for group in groups.values()]
    return [chain for chain in chains if len(chain) > 1]


def _layers(calls: Sequence[ModuleCall], used: Sequence[int]) -> list[int]:
    """Return the calls of layers without children that hold a matrix and take something that has a gradient."""
    leaves = [i for i in used if calls[i].inputs and _is_layer(calls[i].module)]
    return [i for i in leaves if any(p.ndim >= 2 for p in calls[i].module.parameters())]


def _form(module: nn.Module) -> tuple[Any, ...]:
    """Return what makes layers alike: their class and the shapes of their parameters."""
    return type_before_parametrizations(module), *(tuple(p.shape) for p in module.parameters())


def _repeated(forms: Sequence[Any]) -> tuple[int, int] | None:
    """Return where the longest run of equal forms begins and ends, if it has four of them or more.

    Examples
    --------
    >>> _repeated("abbbbc"), _repeated("abc")
    ((1, 5), None)
    """
    ends = [0, *(place for place, (a, b) in enumerate(pairwise(forms), 1) if a != b), len(forms)]
    start, stop = max(pairwise(ends), key=lambda run: run[1] - run[0])
    return (start, stop) if stop - start >= _RUN else None


def _is_layer(module: nn.Module) -> bool:
    """Whether a module has no children; what computes its weights is none."""
    return all(name == "parametrizations" for name, _ in module.named_children())


def _carried(calls: Sequence[ModuleCall], before: int, after: int, flow: GradientFlow) -> tuple[int, ...]:
    """Return the input positions of one call that depend on the outputs of another."""
    return tuple(i for i, node in calls[after].inputs.items() if flow.depends(node, before))


def _between_sums(calls: Sequence[ModuleCall], layers: Sequence[int], flow: GradientFlow) -> bool:
    """Whether most layers of a chain read what a sum outside of them made."""
    entering = [
        calls[i].inputs[place] for before, i in pairwise(layers) for place in _carried(calls, before, i, flow)[:1]
    ]
    return 2 * sum(is_sum(origin(node)) for node in entering) > len(entering)


def _all_add(calls: Sequence[ModuleCall], chain: Sequence[int], flow: GradientFlow) -> bool:
    """Whether what enters each stage is a sum with what entered the one before, alone or among others."""
    entering = [
        calls[i].inputs[place] for before, i in pairwise(chain) for place in _carried(calls, before, i, flow)[:1]
    ]
    return len(entering) > 1 and all(adds_to(node, before) for before, node in pairwise(entering))


def _longest(calls: Sequence[ModuleCall], group: Sequence[int], flow: GradientFlow) -> list[int]:
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
            if length[j] >= length[i] and _carried(calls, j, i, flow):
                length[i], previous[i] = length[j] + 1, j
        longest_so_far.append(max(length[i], longest_so_far[-1] if longest_so_far else 0))
    chain: list[int] = []
    last = max(group, key=lambda i: length[i], default=None)
    while last is not None:
        chain.append(last)
        last = previous[last]
    return chain[::-1]


def _best_blocks(calls: Sequence[ModuleCall], chains: Sequence[list[int]], flow: GradientFlow, end: Any) -> list[int]:
    """Choose among chains of blocks by the rules 2 and 3 above."""

    def outermost(chain: list[int]) -> int:
        return -sum(type(calls[j].module) not in CONTAINERS for j in calls[chain[0]].enclosing)

    def is_cut_between_all(chain: list[int]) -> bool:
        between = [[calls[j].inputs[i] for i in _carried(calls, before, j, flow)] for before, j in pairwise(chain)]
        return all(is_cut([end], boundary, between[0]) for boundary in between[1:])

    cuts = list(filter(is_cut_between_all, chains))
    if cuts:
        return max(cuts, key=lambda chain: (len(chain), outermost(chain)))
    long = [chain for chain in chains if len(chain) >= 4]
    return max(long, key=outermost) if long else max(chains, key=len, default=[])
