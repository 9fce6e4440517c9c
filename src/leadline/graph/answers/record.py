"""What was computed, step by step, so that values that rest on no input can be had, though shapes alone are traced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from leadline.graph.restoring.writes import memory, written

NOISE = "random numbers"
HIDDEN = "what torch reads beside the trace"
Rests: TypeAlias = "frozenset[str]"
"""Names of the inputs that a value rests on, and noise; where there are none of these, those of parameters."""
_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


@dataclass(frozen=True)
class _Step:
    op: Any
    arguments: Any
    results: tuple[Tensor, ...]


class Record:
    """Operations on tensors without values, in order, and the real values of what they begin with.

    Tensors are told apart by identity, and what is written in place by the memory that it lies in.
    """

    def __init__(self, parameters: Collection[str]) -> None:
        self._parameters = frozenset(parameters)
        self._steps: list[_Step] = []
        self._makers: dict[int, list[int]] = defaultdict(list)
        self._rests: dict[int, Rests] = {}
        self._symbols: dict[str, Rests] = {}
        self._leaves: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []  # what is freed would leave its number to others
        self._forget()

    def begin(self, tensor: Tensor, name: str | None, real: Tensor | None = None) -> None:
        """Add what steps begin with: a value that is there, or an input; a constant has no name."""
        self._alive.append(tensor)
        if name is not None:
            self._rests[memory(tensor)] = frozenset({name})
        if real is not None:
            self._leaves[id(tensor)] = real

    def rests(self, arguments: Any) -> Rests:
        """Return the names of what arguments rest on."""
        found: set[str] = set()
        for leaf in tree_leaves(arguments):
            if isinstance(leaf, Tensor) and torch._is_functional_tensor(leaf):
                found.add(HIDDEN)
            elif isinstance(leaf, Tensor):
                found |= self._rests.get(memory(leaf), frozenset())
            elif isinstance(leaf, _SYMBOLIC):
                found.update(*(self._symbols.get(symbol, ()) for symbol in _symbols(leaf)))
        return self._decisive(frozenset(found))

    def knows(self, tensor: Tensor) -> bool:
        """Whether a tensor was noted down."""
        return id(tensor) in self._leaves or memory(tensor) in self._makers

    def decided(self, rests: Rests) -> bool:
        """Whether what rests on these is known: parameters, or nothing."""
        return rests <= self._parameters

    def behind(self, symbols: Iterable[str]) -> Rests:
        """Return what numbers rest on that were read from tensors, by their symbols in the trace."""
        return frozenset().union(*(self._symbols.get(symbol, ()) for symbol in symbols))

    def note(self, op: Any, arguments: Any, result: Any) -> None:
        """Add a step."""
        rests = self.rests(arguments)
        if torch.Tag.nondeterministic_seeded in getattr(op, "tags", ()):
            rests = self._decisive(rests | {NOISE})
        results = tuple(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        self._steps.append(_Step(op, arguments, results))
        for place in {memory(tensor) for tensor in (*results, *written(op, arguments))}:
            self._makers[place].append(len(self._steps) - 1)
            self._rests[place] = self._decisive(self._rests.get(place, frozenset()) | rests)
        for leaf in tree_leaves(result):
            for size in leaf.shape if isinstance(leaf, Tensor) else (leaf,):
                if isinstance(size, _SYMBOLIC):
                    self._symbols |= dict.fromkeys(_symbols(size), rests)

    def computed(self, op: Any, arguments: Any) -> Any:
        """Return what an operation gives now, on real values, which `decided` arguments have."""
        with _disable_current_modes(), torch.no_grad():
            self._catch_up(arguments)
            return self._run(op, arguments)

    def _decisive(self, found: Rests) -> Rests:
        return found - self._parameters or found

    def _catch_up(self, arguments: Any) -> None:
        """Carry out all that these arguments rest on and that was not, in order; anew where that comes too late."""
        steps = sorted(self._behind(arguments) - self._done)
        if any(self._overwritten.get(memory(tensor), -1) > i for i in steps for tensor in self._touched(i)):
            self._forget()
            steps = sorted(self._behind(arguments))
        for i in steps:
            step = self._steps[i]
            real = (leaf for leaf in tree_leaves(self._run(step.op, step.arguments)) if isinstance(leaf, Tensor))
            self._values |= {id(hollow): value for hollow, value in zip(step.results, real, strict=True)}
            self._done.add(i)
            self._overwritten |= {memory(tensor): i for tensor in written(step.op, step.arguments)}

    def _forget(self) -> None:
        self._values: dict[int, Tensor] = {}
        self._done: set[int] = set()
        self._overwritten: dict[int, int] = {}

    def _behind(self, arguments: Any) -> set[int]:
        """Return the steps that made or wrote what arguments rest on."""
        stack = [memory(leaf) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        seen, steps = set(stack), set[int]()
        while stack:
            for i in self._makers.get(stack.pop(), ()):
                if i not in steps:
                    steps.add(i)
                    fresh = {memory(tensor) for tensor in self._touched(i)} - seen
                    seen |= fresh
                    stack.extend(fresh)
        return steps

    def _touched(self, step: int) -> Iterator[Tensor]:
        return (leaf for leaf in tree_leaves(self._steps[step].arguments) if isinstance(leaf, Tensor))

    def _run(self, op: Any, arguments: Any) -> Any:
        args, kwargs = tree_map(self._value, arguments)
        return op(*args, **kwargs)

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, torch.device):
            return torch.device("cpu")
        if not isinstance(argument, Tensor):
            return argument
        if id(argument) not in self._values:
            self._values[id(argument)] = self._leaves.get(id(argument), argument).detach().cpu().clone()
            self._alive.append(argument)
        return self._values[id(argument)]


def _symbols(number: Any) -> list[str]:
    return [str(symbol) for symbol in number.node.expr.free_symbols]
