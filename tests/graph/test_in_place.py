"""Single operations that are made functional by themselves, and those that must not be."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from leadline.graph import in_place, trace
from leadline.graph.in_place import returning


class Of(nn.Module):
    """A function of a linear layer's output and of the input."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(self.linear(x), x)


def then(first: object, second: Tensor) -> Tensor:
    """Return `second` after `first` was done."""
    del first
    return second


ALONE = {
    "relu_": lambda y, _: y.relu_().add_(1).mul_(2),
    "itself": lambda y, _: y.add_(y),
    "read before": lambda y, _: (lambda z: then(y.add_(1), z * y))(y * 2),
    "read after": lambda y, _: then(y.add_(1), y * 2),
    "both": lambda y, _: (y, y.add_(1)),
    "copy_": lambda y, x: then((z := torch.empty(2, 4)).copy_(x), z + y),
    "mask": lambda y, x: y.masked_fill_(x > 0, 0.0),
    "to a power": lambda y, x: y.abs_().pow_(-0.5).pow_(x),
    "floor_divide_": lambda y, x: y.floor_divide_(2).floor_divide_(x),
    "transpose_": lambda y, _: y.transpose_(0, 1) * 2,
    "other strides": lambda y, _: y.t().add_(torch.ones(4, 2)).reshape(-1),
    "diff": lambda y, _: torch.diff(y, prepend=y[:, :1]),
    "trapezoid": lambda y, _: torch.trapezoid(y),
}
TOGETHER = {
    "a slice": lambda y, _: (lambda v: then(y.add_(1), v + y[:, 1:]))(y[:, 1:]),
    "a view": lambda y, _: (lambda v: then(y.relu_(), v))(y.view(-1)),
    "through a view": lambda y, _: (lambda v: then(v.add_(1), v + y.view(-1)))(y.view(-1)),
    "one of two parts": lambda y, _: (lambda v: then(v[0].add_(1), v[1] + y[:, :2]))(y.chunk(2, -1)),
    "expanded": lambda y, _: (lambda v: then(y.add_(1), v))(y.expand(3, 2, 4)),
    "detached": lambda y, _: (lambda v: then(y.add_(1), v))(y.detach()),
    "an element": lambda y, _: then(y.__setitem__((slice(None), 0), 5.0), y),
    "a wider type": lambda y, _: y.add_(torch.ones(4, dtype=torch.float64)),
    "products": lambda y, x: nn.functional.bilinear(y, x, torch.ones(3, 4, 4)),
}


@pytest.mark.parametrize("name", [*ALONE, *TOGETHER])
def test_graphs_replay_and_only_what_nobody_else_reads_is_rewritten_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    make_functional = in_place.make_functional

    def noted(program: torch.export.ExportedProgram) -> bool:
        found.append(make_functional(program))
        return found[-1]

    monkeypatch.setattr(sys.modules["leadline.graph.trace"], "make_functional", noted)
    graph = trace(Of((ALONE | TOGETHER)[name]), torch.randn(2, 4))
    assert graph.verified
    assert found == [name in ALONE]
    assert not any(node.op.split(".")[1].endswith("_") for node in graph.nodes if node.target is not None)


def test_what_returns_a_result_takes_what_writes_it_takes() -> None:
    schemas = [schema.name for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")]
    names = {name.removeprefix("aten::") for name in schemas if name.endswith("_") and not name.endswith("__")}
    found = 0
    for name in names:
        packet = getattr(torch.ops.aten, name)
        for target in (getattr(packet, overload) for overload in packet.overloads()):
            functional = returning(target)
            if functional is not None:
                found += 1
                types = [[str(a.type) for a in each._schema.arguments] for each in (target, functional)]
                assert types[0] == types[1], target
                assert not functional._schema.is_mutable
    assert found > 150
    assert returning(torch.ops.aten.pow_.Scalar) is torch.ops.aten.pow.Tensor_Scalar
    assert returning(torch.ops.aten.polygamma_.default) is None
