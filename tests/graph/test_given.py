"""Calls as people make them: one tensor twice, any container, models of every make."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline.errors import TraceError, UnknownOp, UsageError
from leadline.graph import trace


class Reading(nn.Module):
    """Reads a tensor out of whatever holds it."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.read, self.linear = read, nn.Linear(4, 4)

    def forward(self, held: Any) -> Tensor:
        return self.linear(self.read(held)).cumsum(1)


@dataclass(frozen=True)
class Frozen:
    a: Tensor
    b: int = field(default=3, init=False)


class Slots:
    __slots__ = ("a", "unset")

    def __init__(self, a: Tensor) -> None:
        self.a = a


class Own:
    def __init__(self, a: Tensor) -> None:
        self.a, self.itself = a, self


x = torch.randn(2, 5, 4)
HELD: dict[str, tuple[Any, Callable[[Any], Tensor]]] = {
    "whole numbers as keys": ({0: x}, lambda d: d[0]),
    "pairs as keys": ({(0, "a"): x}, lambda d: d[0, "a"]),
    "keys that read alike": ({1: x, "1": x * 0}, lambda d: d[1] + d["1"]),
    "defaultdict": (defaultdict(list, a=x), lambda d: d["a"] if d["missing"] == [] else None),
    "OrderedDict": (OrderedDict(a=x), lambda d: d["a"]),
    "UserDict": (UserDict({"a": x}), lambda d: d["a"]),
    "frozen dataclass": (Frozen(x), lambda d: d.a * d.b),
    "namespace": (SimpleNamespace(a=x, n=2), lambda d: d.a * d.n),
    "own class": (Own(x), lambda d: d.itself.a),
    "slots": (Slots(x), lambda d: d.a),
    "deque": (deque([x]), lambda d: d[0]),
    "nested": ({"a": [{"b": (x, 3)}]}, lambda d: d["a"][0]["b"][0]),
}


@pytest.mark.parametrize("name", HELD)
def test_tensors_are_found_in_any_container(name: str) -> None:
    held, read = HELD[name]
    if name == "own class":
        read = lambda d: d.a  # noqa: E731 - the copy holds the original as `itself`
    graph = trace(Reading(read), held)
    assert graph.verified
    assert len(graph.inputs) == (2 if name == "keys that read alike" else 1)
    assert any(ref.node in graph.inputs.values() for node in graph.nodes for ref in node.refs)


@pytest.mark.parametrize(
    "wrap",
    [
        *(Own, Frozen, Slots),
        lambda y: deque([y]),
        lambda y: {0: y},
        lambda y: SimpleNamespace(a=y),
    ],
)
def test_tensors_are_found_in_any_output(wrap: Callable[[Tensor], Any]) -> None:
    class Wrapped(Reading):
        def forward(self, held: Tensor) -> Any:
            return wrap(super().forward(held))

    assert leadline.causality(Wrapped(lambda t: t), x, layout="b t c -> b t v").verdict == "structural"


def test_one_tensor_given_twice_stands_for_two_inputs() -> None:
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    x = torch.randn(2, 5, 16)
    assert leadline.count(attention, x, x, x, need_weights=False).macs == 2 * 5 * 4 * 256 + 2 * 25 * 16 * 2

    class Product(nn.Module):
        def forward(self, a: Tensor, d: dict[str, Tensor]) -> Tensor:
            return a + d["b"].flip(1) * d["c"]

    graph = trace(Product(), x, {"b": x, "c": x})
    assert list(graph.inputs) == ["a", "d.b", "d.c"]
    found = leadline.causality(Product(), x, {"b": x, "c": x}, layout="b t c, b t c, b t c -> b t v")
    assert (found.verdict, found.witness.input) == ("leak", "d.b")


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(4))


MAKES: dict[str, Callable[[], Any]] = {
    "traced": lambda: torch.jit.trace(plain(), x),
    "scripted": lambda: torch.jit.script(plain()),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(plain()).eval()),
    "lazy": lazy,
    "data parallel": lambda: nn.DataParallel(plain()),
    "compiled": lambda: torch.compile(plain(), backend="eager"),
    "exported": lambda: torch.export.export(plain(), (x,)),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(plain()),
    "symbolic": lambda: torch.fx.symbolic_trace(plain()),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("make", MAKES)
def test_models_of_every_make_are_read(make: str) -> None:
    model = MAKES[make]()
    assert leadline.count(model, x).macs == 10 * 2 * 32
    assert leadline.causality(model, x, layout="b t c -> b t v").verdict == "structural"
    assert (leadline.memory(model, x).saved > 0) is (make != "frozen")  # whose weights are constants
    model = model.module() if make == "exported" else model
    stream = leadline.stream(model, x, layout="b t c -> b t v", backend="torch")
    if make != "lazy":
        torch.testing.assert_close(stream.logits(x), plain()(x))


def test_a_lazy_model_stays_lazy() -> None:
    model = lazy()
    leadline.count(model, x)
    assert isinstance(model[0], nn.LazyLinear)
    assert isinstance(model[0].weight, nn.parameter.UninitializedParameter)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a model is a torch\.nn\.Module, not function"):
        leadline.count(lambda x: x, x)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("kind", ["to_sparse", "to_sparse_csr"])
def test_sparse_tensors_are_named(kind: str) -> None:
    class Neighbours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("edges", getattr(torch.eye(5).roll(1, 0), kind)())

        def forward(self, x: Tensor) -> Tensor:
            return (self.edges @ x[0])[None]

    with pytest.raises(UnknownOp, match=r"edges is a sparse_\w+ tensor.*to_dense"):
        leadline.count(Neighbours(), x)
    assert leadline.memory(Neighbours(), x).buffers > 0


class Transforming(nn.Module):
    """Takes derivatives within forward."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.linear = how, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "grad":
            return torch.func.grad(lambda a: (self.linear(a).tanh() ** 2).sum())(x)
        if self.how == "jvp":
            return torch.func.jvp(lambda a: self.linear(a).tanh(), (x,), (torch.ones_like(x),))[1]
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            return torch.autograd.grad((self.linear(y).tanh() ** 2).sum(), y)[0]


@pytest.mark.parametrize("how", ["grad", "jvp", "autograd"])
def test_derivatives_within_forward(how: str) -> None:
    # the export of older versions may refuse torch.autograd.grad: in one sentence, then
    old = how == "autograd" and torch.__version__ < torch.torch_version.TorchVersion("2.11")
    with suppress(TraceError) if old else nullcontext():
        assert leadline.causality(Transforming(how), x, layout="b t c -> b t v").verdict == "structural"
