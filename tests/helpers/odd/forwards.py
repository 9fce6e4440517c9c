"""Models whose forward pass does or returns what few do."""

from __future__ import annotations

import dataclasses
import random
import threading
import warnings
from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

B, T, C = 2, 5, 4


class Model(nn.Module):
    """A linear layer, and whatever `then` makes of the input and what the layer returned."""

    def __init__(self, then: Callable[[Model, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.then, self.layer = then, nn.Linear(C, C)

    def forward(self, x: Tensor) -> Any:
        return self.then(self, x, self.layer(x))


def _raising(error: BaseException) -> Callable[..., Any]:
    def then(*_: Any) -> Any:
        raise error

    return then


class Mute(Exception):
    """An error whose text fails."""

    def __str__(self) -> str:
        raise RuntimeError


class NotAnException(BaseException):
    """What is no `Exception`."""


class Outcome:
    """An object of the user's own."""

    def __init__(self, y: Any) -> None:
        self.y = y


@dataclasses.dataclass
class Output:
    """A dataclass of the user's."""

    y: Tensor
    more: Any = None


Pair = namedtuple("Pair", "y z")


def _does(*acts: Callable[[], Any]) -> Callable[..., Any]:
    def then(_: Model, _x: Tensor, y: Tensor) -> Tensor:
        for act in acts:
            act()
        return y

    return then


def _backward(_: Model, x: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        z = (x.detach().requires_grad_() ** 2).sum()
        z.backward()
    return y


def _own_backward(m: Model, x: Tensor, y: Tensor) -> Tensor:
    y.sum().backward()
    return m.layer(x)


def _own_gradient(m: Model, x: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        g = torch.autograd.grad(m.layer(x.detach()).sum(), m.layer.weight, create_graph=True)[0]
    return y + g.sum()


def _energy(m: Model, x: Tensor, _: Tensor) -> Tensor:
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        return torch.autograd.grad(m.layer(at).tanh().sum(), at)[0]


def _trained_in_forward(m: Model, x: Tensor, _: Tensor) -> Tensor:
    optimizer = torch.optim.SGD(m.parameters(), 0.1)
    with torch.enable_grad():
        m.layer(x.detach()).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return m.layer(x)


def _inference(_: Model, _x: Tensor, y: Tensor) -> Tensor:
    with torch.inference_mode():
        return y + 1


def _gradients_off(_: Model, _x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return y + 1


def _threads(_: Model, _x: Tensor, y: Tensor) -> Tensor:
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(y.detach() * 2))
    thread.start()
    thread.join()
    return y + found[0]


def _yields(_: Model, _x: Tensor, y: Tensor) -> Any:
    yield y


async def _awaits(_: Model, _x: Tensor, y: Tensor) -> Any:
    return y


def _containing_itself(_: Model, _x: Tensor, y: Tensor) -> Any:
    found: list[Any] = [y]
    found.append(found)
    return found


def _hooked(y: Tensor, hook: Any) -> Tensor:
    if y.requires_grad:
        y.register_hook(hook)
    return y


def _forever(m: Model, x: Tensor, y: Tensor) -> Any:
    return _forever(m, x, y)


def _own_class(m: Model, _x: Tensor, y: Tensor) -> Tensor:
    m.__class__ = type("Other", (Model,), {})
    return y


def _own_forward(m: Model, _x: Tensor, y: Tensor) -> Tensor:
    m.forward = lambda x: m.layer(x) * 2
    return y


def _fewer_each_time(m: Model, _x: Tensor, y: Tensor) -> Any:
    m.calls = getattr(m, "calls", 0) + 1
    return (y,) * (1 + m.calls % 3)


class Ruled(torch.autograd.Function):
    """A function with a backward pass of its own that raises."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(*_: Any) -> Any:
        raise ValueError("no backward")


class Squared(torch.autograd.Function):
    """A function with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return 2 * ctx.saved_tensors[0] * grad


THEN: Mapping[str, Callable[..., Any]] = {
    "raises ValueError": _raising(ValueError("too short")),
    "raises an empty AssertionError": _raising(AssertionError()),
    "raises an error whose text fails": _raising(Mute()),
    "raises no Exception": _raising(NotAnException("of my own")),
    "raises KeyboardInterrupt": _raising(KeyboardInterrupt()),
    "exits": _raising(SystemExit(3)),
    "raises GeneratorExit": _raising(GeneratorExit()),
    "raises StopIteration": _raising(StopIteration()),
    "raises KeyError": _raising(KeyError("mask")),
    "raises NotImplementedError": _raising(NotImplementedError()),
    "raises a group": _raising(BaseExceptionGroup("several", [ValueError("one"), KeyError("two")])),
    "recurs without end": _forever,
    "prints": _does(lambda: print("hello")),
    "warns": _does(lambda: warnings.warn("careful", stacklevel=1)),
    "calls backward on its own": _backward,
    "calls backward through its weights": _own_backward,
    "takes a gradient of its own": _own_gradient,
    "is the gradient of an energy": _energy,
    "trains in forward": _trained_in_forward,
    "switches gradients off": _gradients_off,
    "runs in inference mode": _inference,
    "detaches": lambda _, _x, y: y.detach(),
    "seeds": _does(lambda: torch.manual_seed(7), lambda: random.seed(7), lambda: np.random.seed(7)),  # noqa: NPY002
    "changes the default type": _does(lambda: torch.set_default_dtype(torch.float64)),
    "changes the default device": _does(lambda: torch.set_default_device("meta")),
    "leaves gradients off": _does(lambda: torch.set_grad_enabled(False)),
    "asks for deterministic kernels": _does(lambda: torch.use_deterministic_algorithms(True)),
    "changes the threads": _does(lambda: torch.set_num_threads(2)),
    "changes flags of backends": _does(lambda: setattr(torch.backends.mkldnn, "enabled", False)),
    "leaves autocast on": _does(lambda: torch.set_autocast_enabled("cpu", True)),
    "runs under autocast": lambda m, x, _: _autocast(m, x),
    "draws": lambda _, _x, y: y + torch.rand_like(y) + random.random(),
    "runs threads": _threads,
    "is a generator": _yields,
    "is a coroutine": _awaits,
    "returns None": lambda *_: None,
    "returns a number": lambda _, _x, _y: 3,
    "returns a text": lambda _, _x, _y: "y",
    "returns an array": lambda _, _x, y: y.detach().numpy(),
    "returns an empty list": lambda *_: [],
    "returns what contains itself": _containing_itself,
    "returns keys of any kind": lambda _, _x, y: {0: y, None: y, (1, 2): y + 1, "0": y},
    "returns a dataclass": lambda _, _x, y: Output(y, [y, "more"]),
    "returns a named tuple": lambda _, _x, y: Pair(y, None),
    "returns an object": lambda _, _x, y: Outcome(y),
    "returns a distribution": lambda _, _x, y: torch.distributions.Categorical(logits=y),
    "returns a set": lambda _, _x, y: {y},
    "returns its input": lambda _, x, _y: x,
    "returns a view": lambda _, x, _y: x[:, :2],
    "returns its parameter": lambda m, _x, _y: m.layer.weight,
    "returns a constant": lambda _, _x, _y: torch.ones(B, T, C),
    "returns one number": lambda _, _x, y: y.sum(),
    "returns nothing of it": lambda _, _x, y: y[:, :0],
    "returns truths": lambda _, _x, y: y > 0,
    "returns integers": lambda _, _x, y: y.argmax(-1),
    "returns complex numbers": lambda _, _x, y: torch.fft.fft(y),
    "returns a sparse tensor": lambda _, _x, y: y.to_sparse(),
    "returns a nested tensor": lambda _, _x, y: torch.nested.as_nested_tensor(list(y)),
    "returns something without values": lambda _, _x, y: y.to("meta"),
    "returns what is not finite": lambda _, _x, y: y / 0,
    "returns float16": lambda _, _x, y: y.half(),
    "branches on its input": lambda _, x, y: y if x.sum() > 0 else -y,
    "reads a number off": lambda _, x, y: y * x.max().item(),
    "selects": lambda _, x, y: y[x > 0],
    "finds places": lambda _, x, y: y.flatten()[x.flatten().nonzero().flatten()],
    "goes through numpy": lambda _, _x, y: torch.from_numpy(np.tanh(y.detach().numpy())),
    "goes through lists": lambda _, _x, y: torch.tensor(y.tolist()),
    "loops while": lambda _, _x, y: _halved(y),
    "depends on the size": lambda _, x, y: y * x.shape[1] if x.shape[1] > 4 else y,
    "returns something else each time": _fewer_each_time,
    "resizes its input": lambda _, x, y: y + x.resize_(1, 1),
    "turns its input": lambda _, x, y: y + x.transpose_(0, 1).sum(),
    "swaps the data of its input": lambda _, x, y: setattr(x, "data", x.data * 2) or y + x,
    "asks for its input's gradient": lambda _, x, y: y + x.detach().requires_grad_(),
    "detaches its input": lambda _, x, y: y + x.detach_(),
    "becomes another class": _own_class,
    "changes its forward": _own_forward,
    "hooks its tensors": lambda _, _x, y: _hooked(y, lambda g: g * 2),
    "raises in backward": lambda _, _x, y: Ruled.apply(y),
    "squares in a function of its own": lambda _, _x, y: Squared.apply(y),
    "raises in a hook of its gradient": lambda _, _x, y: _hooked(y, lambda _: [][0]),
    "frees its input": lambda _, x, y: (x.untyped_storage().resize_(0), y)[1],
}


def _autocast(m: Model, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return m.layer(x)


def _halved(y: Tensor) -> Tensor:
    while y.abs().max() > 0.1:
        y = y / 2
    return y
