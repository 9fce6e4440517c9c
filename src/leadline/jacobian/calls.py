"""What happened in one forward pass: which modules were called, in which order, and what flowed between them.

The flow is read from autograd's own graph, which the eager model builds anyway: a call depends on another if the graph
leads from its inputs to the other's outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.utils import _pytree as pytree


def differentiable(tree: Any) -> dict[int, Tensor]:
    """Return the tensors of a tree of values that autograd can differentiate, by their position among its leaves."""
    leaves = enumerate(pytree.tree_leaves(tree))
    return {i: t for i, t in leaves if isinstance(t, Tensor) and t.is_floating_point() and t.requires_grad}


def node_of(tensor: Tensor) -> Node:
    """Return the node of autograd's graph that a tensor comes from (for a leaf: the one that accumulates into it)."""
    return get_gradient_edge(tensor).node


def _base(tensor: Tensor) -> list[Node]:
    """Return the node of what a tensor is a view of, if it is one."""
    base = tensor._base
    return [] if base is None or not base.requires_grad else [node_of(base)]


@dataclass
class ModuleCall:
    """The call number `nth` (from 0) of a module, which began within the calls `enclosing` (indices, outermost first).

    `inputs` and `outputs` are the nodes of the differentiable tensors that went in (by leaf position in ``(args,
    kwargs)``) and came out. Where an output is a view of what the call made, `bases` are the nodes of that: a later
    write in place leads back to it, around the view. `cells`: the first input and the output are tensors of channels at
    the cells of one grid, ``(b, h, w, k)``.
    """

    path: str
    module: nn.Module
    nth: int
    enclosing: tuple[int, ...]
    inputs: dict[int, Node] = field(default_factory=dict)
    outputs: dict[int, Node] = field(default_factory=dict)
    bases: set[Node] = field(default_factory=set)
    cells: bool = False

    @property
    def name(self) -> str:
        """The module's path, with the number of the call if the module was called before."""
        return f"{self.path}#{self.nth}" if self.nth else self.path


@contextmanager
def recorded(model: nn.Module, wrap: Callable[[Any], Any] = lambda hook: hook) -> Iterator[list[ModuleCall]]:
    """Record every call of `model` and its submodules, in order of entry, while the context is open.

    `wrap` makes of each hook what is registered.
    """
    calls: list[ModuleCall] = []
    running: list[int] = []
    counts: dict[str, int] = {}
    handles = []

    def entering(path: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            nth = counts[path] = counts.get(path, -1) + 1
            nodes = {i: node_of(t) for i, t in differentiable((args, kwargs)).items()}
            calls.append(ModuleCall(path, module, nth, tuple(running), nodes))
            running.append(len(calls) - 1)

        return hook

    def leaving(module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG001
        call, made = calls[running.pop()], differentiable(output)
        call.cells = _same_cells(args, output)
        call.outputs = {i: node_of(t) for i, t in made.items()}
        given = {node for t in differentiable(args).values() for node in (node_of(t), *_base(t))}
        call.bases = {node for t in made.values() for node in _base(t)} - given

    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(wrap(entering(path)), with_kwargs=True))
        handles.append(module.register_forward_hook(wrap(leaving)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _same_cells(args: Any, output: Any) -> bool:
    if not (args and isinstance(args[0], Tensor) and isinstance(output, Tensor)):
        return False
    return args[0].ndim == output.ndim == 4 and args[0].shape[:3] == output.shape[:3]


class GradientFlow:
    """Which calls' outputs the nodes of autograd's graph depend on; one linear pass over the graph."""

    def __init__(self, calls: Sequence[ModuleCall]) -> None:
        self._own: dict[Node, int] = {}
        for i, call in enumerate(calls):
            for node in {*call.outputs.values(), *call.bases}:
                self._own[node] = self._own.get(node, 0) | 1 << i
        self._reached: dict[Node, int] = {}

    def depends(self, node: Node, call: int) -> bool:
        """Whether a node is, or descends from, an output of the call with that index."""
        return bool(self._mask(node) >> call & 1)

    def _mask(self, root: Node) -> int:
        """Return the calls that `root` depends on, as the bits of an integer."""
        stack = [root]
        while stack:
            node = stack[-1]
            parents = [parent for parent, _ in node.next_functions if parent is not None]
            missing = [parent for parent in parents if parent not in self._reached]
            if missing and node not in self._reached:
                stack.extend(missing)
                continue
            stack.pop()
            mask = self._own.get(node, 0)
            for parent in parents:
                mask |= self._reached[parent]
            self._reached[node] = mask
        return self._reached[root]

    def nodes(self) -> list[Node]:
        """Return the nodes that were asked about, each after those that it was made of."""
        return list(self._reached)


def let_go(nodes: list[Node]) -> None:
    """Forget nodes of a graph, each before those that it was made of, which it would take along otherwise.

    Torch lets go of nodes that Python has looked at one within the other: a chain of some ten thousand of them overruns
    the stack, which ends the process.
    """
    while nodes:
        nodes.pop()


def origin(node: Node) -> Node:
    """Return what a value is made of alone, by paddings, functions and normalisations: a sum, or what a layer made.

    Examples
    --------
    >>> import torch
    >>> x = torch.ones(1, requires_grad=True)
    >>> h = 2 * x + x.exp()
    >>> origin(node_of(h.relu())) is node_of(h), is_sum(node_of(h)), is_sum(node_of(x.exp()))
    (True, True, False)
    """
    while True:
        parents = _made(node)
        leaves = [p.variable for p, _ in node.next_functions if p is not None and hasattr(p, "variable")]
        if len(parents) != 1 or any(leaf.ndim >= 2 for leaf in leaves):
            return node
        node = parents[0]


def is_sum(node: Node) -> bool:
    """Whether a node adds two values that are both made of others, as a residual connection does."""
    return len(_made(node)) == 2 and node.name().startswith(("AddBackward", "SubBackward"))


def adds_to(node: Node, other: Node) -> bool:
    """Whether a node is another one plus something, by sums alone.

    Examples
    --------
    >>> import torch
    >>> x = torch.ones(1, requires_grad=True) * 2
    >>> adds_to(node_of(x + x.exp() + 1), node_of(x)), adds_to(node_of(2 * x), node_of(x))
    (True, False)
    """
    stack = [node]
    while stack:
        node = stack.pop()
        if node is other:
            return True
        if node.name().startswith("AddBackward"):
            stack.extend(parent for parent, _ in node.next_functions if parent is not None)
    return False


def _made(node: Node) -> list[Node]:
    """Return what a node is made of, without the parameters and inputs."""
    return [parent for parent, _ in node.next_functions if parent is not None and not hasattr(parent, "variable")]


def is_cut(start: Sequence[Node], cut: Sequence[Node], goal: Sequence[Node]) -> bool:
    """Whether every path of autograd's graph from `start` back to `goal` passes through `cut`.

    Examples
    --------
    >>> import torch
    >>> x = torch.ones(1, requires_grad=True)
    >>> h = 2 * x
    >>> y = 3 * h
    >>> is_cut([y.grad_fn], [h.grad_fn], [node_of(x)]), is_cut([(y + x).grad_fn], [h.grad_fn], [node_of(x)])
    (True, False)
    """
    closed, goals = set(cut), set(goal)
    seen: set[Node] = set()
    stack = [node for node in start if node not in closed]
    while stack:
        node = stack.pop()
        if node in goals:
            return False
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent, _ in node.next_functions if parent is not None and parent not in closed)
    return True
