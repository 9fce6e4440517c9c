"""Models that change while they run, one of each kind: what must be as it was after any function of leadline."""

from __future__ import annotations

import functools
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

B, T, C = 2, 5, 4
REMEMBERED: dict[int, Tensor] = {}
_LAST: Tensor | None = None


@functools.lru_cache(maxsize=4)
def future(length: int) -> Tensor:
    """A mask made once for each length, as published models keep them."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


@dataclass
class Cache:
    """Keys of earlier calls, as an object of its own."""

    seen: int = 0
    keys: list[Tensor] = field(default_factory=list)
    by_name: dict[str, Any] = field(default_factory=dict)


class Slotted:
    """State without a `__dict__`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Tensor | None = None


class Stateful(nn.Module):
    """A linear layer whose forward keeps something somewhere; `way` changes the state, and may change the output."""

    shared: Tensor | None = None
    counted: dict[str, int] = {}  # noqa: RUF012 - of the class, as published models have it

    def __init__(self, way: Callable[[Stateful, Tensor, Tensor], Tensor | None]) -> None:
        super().__init__()
        self.way, self.layer, self.norm = way, nn.Linear(C, C), nn.BatchNorm1d(C)
        self.scale = nn.Parameter(torch.ones(C))
        self.register_buffer("table", torch.zeros(8, C))
        self.register_buffer("ready", torch.tensor(False))
        self.kept: list[Any] = []
        self.nested: dict[str, Any] = {"inner": [{}, (deque(maxlen=2), set(), OrderedDict())]}
        self.cache, self.slots = Cache(), Slotted()
        self.calls, self.built, self.hidden = 0, False, None
        self.plain, self.numbers = torch.zeros(8, C), np.zeros(3)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        found = self.way(self, x, y)
        return y if found is None else found


def _assigned(name: str, value: Callable[[Stateful, Tensor], Any]) -> Callable[[Stateful, Tensor, Tensor], None]:
    return lambda m, _, y: setattr(m, name, value(m, y))


def _then(*steps: Callable[[], Any]) -> None:
    for step in steps:
        step()


def _hidden(m: Stateful, _: Tensor, y: Tensor) -> Tensor:
    before = torch.zeros_like(y[:, :1]) if m.hidden is None else m.hidden
    m.hidden = y[:, -1:].detach() + before
    return y + before


def _lazy_buffer(m: Stateful, _: Tensor, y: Tensor) -> Tensor:
    if "mask" not in m._buffers:
        m.register_buffer("mask", torch.ones(T, T).tril(), persistent=False)
    return m.mask @ y


def _lazy_parameter(m: Stateful, _: Tensor, y: Tensor) -> Tensor:
    if not hasattr(m, "late"):
        m.late = nn.Parameter(torch.ones(y.shape[-1]))
    return y * m.late


def _lazy_module(m: Stateful, _: Tensor, y: Tensor) -> Tensor:
    if not hasattr(m, "drawn"):
        m.drawn = nn.Dropout(0.0)
    return m.drawn(y)


def _initialised(m: Stateful, _: Tensor, y: Tensor) -> Tensor:
    if not m.built:
        m.scale.data, m.built = torch.full((C,), 0.5), True
    return y * m.scale


def _filled(m: Stateful, _: Tensor, y: Tensor) -> Tensor:
    if not m.built:
        m.plain[: y.shape[1]] = torch.arange(y.shape[1])[:, None] * 0.1
        m.built = True
    return y + m.plain[: y.shape[1]]


def _global(_m: Stateful, _x: Tensor, y: Tensor) -> Tensor:
    global _LAST
    _LAST = torch.ones(C)
    REMEMBERED[len(REMEMBERED)] = y
    return y * _LAST


def _class_attribute(_m: Stateful, _: Tensor, y: Tensor) -> Tensor:
    if Stateful.shared is None:
        Stateful.shared = torch.ones(C)
    Stateful.counted["calls"] = Stateful.counted.get("calls", 0) + 1
    return y * Stateful.shared


def _masked_weight(m: Stateful, x: Tensor, _: Tensor) -> Tensor:
    m.layer.weight.data *= torch.ones(C, C).tril()
    return m.layer(x)


def _new_weight(m: Stateful, x: Tensor, _: Tensor) -> Tensor:
    m.layer.weight.data = m.layer.weight.data * torch.ones(C, C).tril()
    return m.layer(x)


def _written_weight(m: Stateful, x: Tensor, _: Tensor) -> Tensor:
    with torch.no_grad():
        m.layer.weight.mul_(0.5)
    return m.layer(x)


def _hooked(m: Stateful, _x: Tensor, _y: Tensor) -> None:
    m.layer.register_forward_hook(lambda _m, _i, output: m.kept.append(output))


def _input_changed(_m: Stateful, x: Tensor, y: Tensor) -> Tensor:
    x.mul_(1.5)
    return y


KINDS: dict[str, Callable[[Stateful, Tensor, Tensor], Tensor | None]] = {
    "a list of activations": lambda m, _, y: m.kept.append(y),
    "a list of detached activations": lambda m, _, y: m.kept.append(y.detach()),
    "containers in containers": lambda m, _, y: _then(
        lambda: m.nested["inner"][0].update(y=y),
        lambda: m.nested["inner"][1][0].append(y),
        lambda: m.nested["inner"][1][1].add(y),
        lambda: m.nested["inner"][1][2].update(y=y),
    ),
    "an attribute": _assigned("last", lambda _, y: y),
    "an attribute that was there": _assigned("plain", lambda _, y: y.detach()),
    "a counter": lambda m, _, y: setattr(m, "calls", m.calls + 1) or y * (1 + 0.1 * m.calls),
    "an object": lambda m, _, y: _then(
        lambda: m.cache.keys.append(y), lambda: setattr(m.cache, "seen", 1), lambda: m.cache.by_name.update(y=y)
    ),
    "slots": lambda m, _, y: setattr(m.slots, "value", y),
    "a state carried on": _hidden,
    "a table filled once": _filled,
    "a buffer made in forward": _lazy_buffer,
    "a parameter made in forward": _lazy_parameter,
    "a module made in forward": _lazy_module,
    "a buffer written": lambda m, _, y: m.table[:T].copy_(torch.ones(T, C)).sum() + y,
    "a buffer counted up": lambda m, _, y: m.ready.fill_(True) + y,
    "a buffer assigned": _assigned("table", lambda m, _: m.table + 1),
    "a buffer deleted": lambda m, _, _y: delattr(m, "ready") if "ready" in m._buffers else None,
    "statistics": lambda m, _, y: m.norm(y.mT).mT,
    "a weight initialised by the first call": _initialised,
    "a weight masked through .data": _masked_weight,
    "a weight assigned through .data": _new_weight,
    "a weight written": _written_weight,
    "a gradient": lambda m, _, _y: setattr(m.scale, "grad", torch.ones(C)),
    "a flag of a weight": lambda m, _, _y: _then(lambda: m.scale.requires_grad_(False)),
    "a mode": lambda m, _, _y: _then(lambda: m.norm.train(not m.norm.training)),
    "a hook": _hooked,
    "a cached mask": lambda _, _x, y: (y @ y.mT).masked_fill(future(y.shape[1]), -torch.inf).softmax(-1) @ y,
    "a global": _global,
    "an attribute of the class": _class_attribute,
    "numbers of numpy": lambda m, _, _y: m.numbers.__setitem__(0, 1.0),
    "a generator of its own": lambda m, _, y: y + torch.rand(C, generator=m.generator).mean() * 0,
    "torch's noise": lambda _, _x, y: functional.dropout(y, 0.5, True),
    "Python's and numpy's noise": lambda _, _x, y: y * random.random() + np.random.rand(),  # noqa: NPY002
    "its input": _input_changed,
    "an error after a change": lambda m, _, y: _then(lambda: m.kept.append(y), lambda: m.missing),
    "an error within vmap": lambda m, _, y: torch.vmap(lambda row: m.kept.append(row) or row.item())(y),
    "an end of the process": lambda m, _, y: _then(lambda: m.kept.append(y), lambda: exit(3)),
}  # fmt: skip


def stateful(kind: str) -> tuple[nn.Module, Tensor]:
    """A model of a kind, in evaluation mode, and its input."""
    return Stateful(KINDS[kind]).train("statistics" in kind), torch.randn(B, T, C)
