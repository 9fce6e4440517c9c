"""The explicit element graph of a small model: the oracle of `count` and `span`.

`make_fx` unrolls the model into small ATen operations (a fused LSTM too, once mkldnn is off), on concrete numbers. The
edges of one operation are the nonzero entries of its Jacobian, taken by automatic differentiation. Nothing here knows
a rule of `leadline.domains`: padding, masks and dilation show up as zeros in numbers. Parameters must be generic
(random), activations smooth, sizes tiny.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# where the two multiplied operands stand in each contraction; any other operand is only added
FACTORS = {
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.mv.default: (0, 1),
    aten.dot.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.baddbmm.default: (1, 2),
    aten.convolution.default: (0, 1),
}
CONSTANT = -1  # the depth of what depends on no input


@dataclass
class Longest:
    """What the oracle finds: the longest chain of contractions that ends in an output, and the number of edges."""

    steps: int = 0
    connections: int = 0
    macs: int = 0
    by_op: dict[str, int] = field(default_factory=dict)


@contextmanager
def unfused() -> Iterator[None]:
    """Let recurrences and attention fall apart into small operations."""
    fast, mkldnn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(mkldnn)


def brute_force(model: nn.Module, *inputs: Tensor, seed: int = 0) -> Longest:
    """Walk the element graph of `model`, whose parameters (not its buffers) are drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.data.uniform_(0.3, 0.7, generator=generator)
    inputs = tuple(torch.rand(x.shape, generator=generator).double() + 0.1 for x in inputs)
    with unfused():
        graph = make_fx(functionalize(lambda *args: tree_leaves(model(*args))))(*inputs)
        walker = _Walker(graph)
        outputs = walker.walk(inputs)
    walker.found.steps = max(0, *(int(depth.max()) for depth in outputs))
    return walker.found


class _Walker:
    def __init__(self, graph: torch.fx.GraphModule) -> None:
        self.graph = graph
        self.value: dict[torch.fx.Node, Any] = {}
        self.depth: dict[torch.fx.Node, Any] = {}
        self.unit: dict[torch.fx.Node, Any] = {}
        self.support: dict[torch.fx.Node, dict[tuple[int | None, torch.fx.Node], Tensor]] = {}
        self.found = Longest()

    def walk(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        feed = iter(inputs)
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.value[node] = next(feed)
                self.depth[node] = torch.zeros(self.value[node].shape, dtype=torch.long)
                self.unit[node] = torch.ones(self.value[node].shape, dtype=torch.bool)
            elif node.op == "get_attr":
                self.value[node] = getattr(self.graph, node.target)
                self.depth[node] = torch.full(self.value[node].shape, CONSTANT)
                self.unit[node] = self.depth[node] >= 0
            elif node.op == "call_function":
                self._call(node)
            else:
                ends = [n for n in tree_leaves(node.args) if n is not None]
        self._count(self._used(ends))
        return [self.depth[n] for n in ends]

    def _call(self, node: torch.fx.Node) -> None:
        value = self._run(node)
        self.value[node] = value
        if not isinstance(value, Tensor):  # several results, of which getitem takes one
            reached = [self._reach(node, i, v) for i, v in enumerate(value)]
            self.depth[node], self.unit[node] = map(list, zip(*reached, strict=True))
        elif node.target.__name__ == "getitem":
            self.depth[node], self.unit[node] = (of[node.args[0]][node.args[1]] for of in (self.depth, self.unit))
        else:
            self.depth[node], self.unit[node] = self._reach(node, None, value)

    def _run(self, node: torch.fx.Node, instead: dict[torch.fx.Node, Tensor] | None = None) -> Any:
        """Do one operation, on copies, since some work in place."""
        values = self.value | (instead or {})
        copies = {n: v.clone() if isinstance(v, Tensor) else v for n, v in values.items() if n in node.all_input_nodes}
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), copies.__getitem__)
        return node.target(*args, **kwargs)

    def _reach(self, node: torch.fx.Node, pick: int | None, value: Tensor) -> tuple[Tensor, Tensor]:
        """Longest chain into each element of one result, one more where the operand is multiplied; and the units.

        A sum of products of units is a unit, whichever of its terms exist.
        """
        depth, unit = torch.full((value.numel(),), CONSTANT), torch.zeros(value.numel(), dtype=torch.bool)
        for operand in node.all_input_nodes:
            if not isinstance(self.unit[operand], Tensor) or not bool(self.unit[operand].any()):
                continue
            support = self._jacobian(node, operand, pick) != 0
            self.support.setdefault(node, {})[pick, operand] = support | self._own(node, operand, support)
            before, units = self.depth[operand].reshape(1, -1), self.unit[operand].reshape(1, -1)
            multiplied = any(operand is node.args[i] for i in FACTORS.get(node.target, ()))
            through = torch.where(support & (before >= 0), before + int(multiplied), CONSTANT)
            if through.numel():
                depth = torch.maximum(depth, through.amax(1))
                unit |= (support & units).any(1) | multiplied
        return depth.reshape(value.shape), unit.reshape(value.shape)

    def _own(self, node: torch.fx.Node, operand: torch.fx.Node, support: Tensor) -> Tensor:
        """A softmax's weight rests on its own logit, though where no other is left the derivative is zero."""
        if "softmax" not in node.target.__name__:
            return torch.zeros((), dtype=torch.bool)
        return torch.eye(support.shape[0], dtype=torch.bool) & (self.value[operand].flatten() > -torch.inf)

    def _jacobian(
        self,
        node: torch.fx.Node,
        operand: torch.fx.Node,
        pick: int | None = None,
        values: dict[torch.fx.Node, Tensor] | None = None,
    ) -> Tensor:
        values = values or {}

        def alone(x: Tensor) -> Tensor:
            result = self._run(node, values | {operand: x})
            return result if pick is None else result[pick]

        with torch.enable_grad():
            jacobian = torch.autograd.functional.jacobian(
                alone, values.get(operand, self.value[operand]), vectorize=True
            )
        return jacobian.reshape(-1, self.value[operand].numel())

    def _used(self, ends: list[torch.fx.Node]) -> dict[torch.fx.Node, Tensor]:
        """Mark the elements that are read on the way to some output, for each node (several results: for each one)."""
        used: dict[Any, Tensor] = {}

        def mark(key: Any, mask: Tensor) -> None:
            used[key] = mask | used[key] if key in used else mask

        for node in ends:
            mark(node, torch.ones(self.depth[node].numel(), dtype=torch.bool))
        for node in reversed(self.graph.graph.nodes):
            if node in used and getattr(node.target, "__name__", "") == "getitem":
                mark((node.args[0], node.args[1]), used[node])
            for (pick, operand), support in self.support.get(node, {}).items():
                key = node if pick is None else (node, pick)
                if key in used:
                    mark(operand, support[used[key]].any(0))
        return used

    def _count(self, used: dict[torch.fx.Node, Tensor]) -> None:
        for node in self.graph.graph.nodes:
            if node.target in FACTORS:
                none = torch.zeros(self.value[node].numel(), dtype=torch.bool)
                self._count_one(node, used.get(node, none))

    def _count_one(self, node: torch.fx.Node, used: Tensor) -> None:
        """Count products of two elements, neither of them zero, at least one of them a unit, into a used element."""
        left, right = (node.args[i] for i in FACTORS[node.target])
        found = self.found
        if node.target is aten.convolution.default:
            exists = (self._jacobian(node, left) != 0) & self.unit[left].reshape(1, -1)
            exists &= (self.value[left].reshape(1, -1) != 0) & used.unsqueeze(1)
            count = int(exists.sum())
            places = left if node.args[6] else node  # transposed: every input place writes all taps
            found.macs += self.value[places].numel() * self.value[right][0].numel()
        else:
            a, b = (self.value[n].reshape(-1, *self.value[n].shape[-2:]) for n in (left, right))
            u, w = (self.unit[n].reshape(t.shape) for n, t in ((left, a), (right, b)))
            products = (a != 0)[..., :, :, None] & (b != 0)[..., None, :, :]
            units = u[..., :, :, None] | w[..., None, :, :]
            kept = used.reshape(a.shape[0], a.shape[1], 1, b.shape[2])
            count = int((products & units & kept).sum())
            found.macs += products.numel()
        found.connections += count
        found.by_op[node.name] = count
