"""Where normalisations stand in residual blocks, and the same blocks with them before the branches.

``norm(x + f(x))`` and ``x + norm(f(x))`` become ``x + f(norm(x))``. They are found in autograd's graph of one forward
pass, whatever the blocks are written as: a normalisation of the sum of x and a function of x, or of that function. On a
copy the norm hands on what it takes. Where every way from x into the function is through modules that take x as it is,
these are given the norm of x. Else, where x is what a module takes, and its result what the module returns, the module
itself is given n, the norm of x, and makes n + f(n) of it, from which ``x + f(n)`` follows.

Source: Xiong et al., On layer normalization in the Transformer architecture (2020).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils import _pytree as pytree

from leadline.jacobian.boundaries import replaced
from leadline.jacobian.calls import GradientFlow, ModuleCall, is_cut, is_sum, let_go, node_of, recorded

Begins: TypeAlias = "tuple[tuple[str, int, tuple[int, ...]], ...]"


@dataclass(frozen=True)
class Placed:
    """A call of a normalisation behind a branch, and the calls that the branch `begins` with, or the `block` around it.

    Each with the leaf positions, in ``(args, kwargs)``, at which it takes what the branch is added to.
    """

    norm: tuple[str, int]
    begins: Begins
    block: bool = False


def norms_behind(model: nn.Module, run: Callable[[], Tensor]) -> tuple[Placed, ...]:
    """Find the normalisations that stand behind branches, in all of their calls, by one recorded forward pass."""
    with recorded(model) as calls:
        output = run()
    flow = GradientFlow(calls)
    end = node_of(output)
    norms = [i for i, call in enumerate(calls) if _is_norm(call.module)]
    behind = [i for i in norms if flow.depends(end, i)]
    sums = [node for node in flow.nodes() if is_sum(node)]
    found = {i: placed for i in behind if (placed := _placed(calls, i, sums, end)) is not None}
    elsewhere = {calls[i].path for i in norms if i not in found}
    nodes = flow.nodes()
    del flow, output, end, sums, calls
    let_go(nodes)
    return tuple(placed for placed in found.values() if placed.norm[0] not in elsewhere)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation, by its name: it has no children and no matrix."""
    bare = next(module.children(), None) is None and all(p.ndim < 2 for p in module.parameters())
    return bare and "norm" in type(module).__name__.lower()


def _placed(calls: Sequence[ModuleCall], at: int, sums: Sequence[Node], end: Node) -> Placed | None:
    """Return how a call of a normalisation stands behind a branch, if it does, and nothing else takes what it takes."""
    call = calls[at]
    if len(call.inputs) != 1 or len(call.outputs) != 1:
        return None
    (taken,), (made,) = call.inputs.values(), call.outputs.values()
    if not is_cut([end], [made], [taken]):
        return None
    ways = [(x, branch, made) for x, branch in _summands(taken)] if is_sum(taken) else []
    ways += [(x, taken, each) for each in sums for x, y in _summands(each) if y is made]
    for x, branch, result in ways:
        begins = _begins(calls, at, x, branch)
        if begins:
            return Placed((call.path, call.nth), begins)
        around = _block(calls, at, x, result) if not is_cut([branch], [], [x]) else ()
        if around:
            return Placed((call.path, call.nth), around, block=True)
    return None


def _block(calls: Sequence[ModuleCall], norm: int, x: Node, result: Node) -> Begins:
    """Return the call that makes a result of x, and holds the normalisation; none if there is none."""
    for i in reversed(calls[norm].enclosing):
        if [*calls[i].outputs.values()] == [result] and [*calls[i].inputs.values()] == [x]:
            return ((calls[i].path, calls[i].nth, tuple(calls[i].inputs)),)
    return ()


def _summands(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield what a sum adds, each as the first of the two."""
    first, second = (
        parent for parent, _ in node.next_functions if parent is not None and not hasattr(parent, "variable")
    )
    yield first, second
    yield second, first


def _begins(calls: Sequence[ModuleCall], norm: int, x: Node, branch: Node) -> Begins:
    """Return the calls that take x and lead to the branch, if no other way leads there; none else."""
    around = {norm, *calls[norm].enclosing}
    taking = [i for i, call in enumerate(calls) if x in call.inputs.values() and i not in around]
    taking = [i for i in taking if not {*taking} & {*calls[i].enclosing}]
    taking = [i for i in taking if not is_cut([branch], [], [*calls[i].outputs.values()])]
    through = [node for i in taking for node in calls[i].outputs.values()]
    if not taking or branch is x or not is_cut([branch], through, [x]):
        return ()
    return tuple(
        (calls[i].path, calls[i].nth, tuple(place for place, node in calls[i].inputs.items() if node is x))
        for i in taking
    )


def put_before(model: nn.Module, found: Sequence[Placed]) -> None:
    """Let normalisations of a copy of a model stand before the branches that they are behind of."""
    counts: dict[str, int] = {}
    norms = {placed.norm[0]: model.get_submodule(placed.norm[0]) for placed in found}
    applied = {path: norm.forward for path, norm in norms.items()}
    for norm in norms.values():
        norm.forward = _as_it_is
    model.register_forward_pre_hook(lambda *_: counts.clear())
    given = {(path, nth): (places, applied[placed.norm[0]]) for placed in found for path, nth, places in placed.begins}
    around = {path for placed in found if placed.block for path, _, _ in placed.begins}
    for path in around:
        block, ((place,), applies) = model.get_submodule(path), given[path, 0]
        block.forward = _beside(block.forward, place, applies)
    for path in dict.fromkeys(path for path, _ in given if path not in around):
        model.get_submodule(path).register_forward_pre_hook(_normed(path, counts, given), with_kwargs=True)


def _as_it_is(x: Tensor, *_: Any, **__: Any) -> Tensor:
    """Stand for a normalisation that has moved."""
    return x


def _beside(block: Callable[..., Tensor], place: int, norm: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return ``x + f(norm(x))`` of a block that makes ``x + f(x)`` of an x at a place among what it takes."""

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        x: Tensor = pytree.tree_leaves((args, kwargs))[place]
        n = norm(x)
        given, named = replaced((args, kwargs), (place,), 0, lambda *_: [n])
        return x + (block(*given, **named) - n)

    return forward


def _normed(path: str, counts: dict[str, int], given: dict[tuple[str, int], tuple[tuple[int, ...], Any]]) -> Any:
    """Return a hook that gives each call of a module the norm of what it takes."""

    def hook(_: nn.Module, args: Any, kwargs: Any) -> Any:
        nth = counts.get(path, 0)
        counts[path] = nth + 1
        places, norm = given.get((path, nth), ((), None))
        if not places:
            return None
        leaves = pytree.tree_leaves((args, kwargs))
        once = norm(leaves[places[0]])  # of the same value wherever it is taken
        return replaced((args, kwargs), places, 0, lambda _, tensors: [once for _ in tensors])

    return hook
