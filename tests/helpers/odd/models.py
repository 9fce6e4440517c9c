"""Models that do, hold or return what few models do, each with its inputs: a factory for each."""

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
from torch.nn.utils import parametrizations, parametrize

B, T, C = 2, 5, 4
Made = tuple[Any, tuple[Any, ...]]


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


class Cyclic(nn.Module):
    """A module within itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.child = nn.Linear(C, C), nn.Identity()
        self.child.parent = self

    def forward(self, x: Tensor) -> Tensor:
        return self.child(self.layer(x))


class Handed(nn.Module):
    """A module that knows another that is not its own, through a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.others = nn.Linear(C, C), [nn.Linear(C, C)]
        self.lock, self.file, self.stream = threading.Lock(), open("/dev/null"), (i for i in range(3))  # noqa: SIM115

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.others[0](self.layer(x))


class Refusing(nn.Linear):
    """A module that refuses what objects may: copies, comparison, truth, text, its length."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("this is not copied")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("this is not pickled")

    def __eq__(self, other: object) -> Any:
        return torch.ones(2)

    __hash__ = nn.Linear.__hash__

    def __bool__(self) -> bool:
        raise TypeError("neither true nor false")

    def __len__(self) -> int:
        raise TypeError("no length")

    def __repr__(self) -> str:
        raise TypeError("no text")

    @property
    def derived(self) -> Any:
        raise RuntimeError("not yet")


class WithoutMode(nn.Linear):
    """A module whose mode cannot be changed."""

    def train(self, _: bool = True) -> Any:
        raise RuntimeError("trained elsewhere")


class WithoutForward(nn.Module):
    """A module without forward."""


class WithoutBeginning(nn.Module):
    """A module that never began."""

    def __init__(self) -> None:  # as users forget it
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class Slow(nn.Module):
    """A module that runs many layers of few numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(40):
            x = self.layer(x).tanh()
        return x


class RaisingParametrization(nn.Module):
    """A parametrisation that fails."""

    def forward(self, w: Tensor) -> Tensor:
        if getattr(self, "armed", False):
            raise ValueError("no weight")
        return w


class Elsewhere(nn.Module):
    """A module whose output loses its samples and places."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1)[:3]


def _deep() -> nn.Module:
    model: nn.Module = nn.Linear(C, C)
    for _ in range(200):
        model = nn.Sequential(model)
    return model


def _unparametrized() -> nn.Module:
    layer = nn.Linear(C, C)
    parametrize.register_parametrization(layer, "weight", RaisingParametrization())
    layer.parametrizations.weight[0].armed = True
    return layer


def _with(layer: nn.Module, act: Callable[[nn.Module], Any]) -> nn.Module:
    act(layer)
    return layer


def _of_inference() -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(C, C)


def _half_on_meta() -> nn.Module:
    return nn.Sequential(nn.Linear(C, C), nn.Linear(C, C, device="meta"))


def _compiled() -> Any:
    return torch.compile(nn.Linear(C, C), backend="eager")


def _scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(nn.Linear(C, C), torch.zeros(B, T, C))


def _quantised() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(C, C)), {nn.Linear}, torch.qint8)


def _expanded() -> nn.Module:
    layer = nn.Linear(C, C)
    layer.weight = nn.Parameter(torch.ones(1).expand(C, C))
    return layer


def _tied() -> nn.Module:
    one, two = nn.Linear(C, C), nn.Linear(C, C)
    two.weight = one.weight
    one.weight.grad = torch.ones(C, C)
    return nn.Sequential(one, two)


def _computed() -> nn.Module:
    layer = nn.Linear(C, C)
    weight = layer.weight * 2
    del layer.weight
    layer.weight = weight
    return layer


MODULES: Mapping[str, Callable[[], Any]] = {
    "refers to itself": Cyclic,
    "knows others": Handed,
    "refuses what objects may": lambda: Refusing(C, C),
    "has no other mode": lambda: WithoutMode(C, C),
    "has no forward": WithoutForward,
    "never began": WithoutBeginning,
    "runs many layers": Slow,
    "loses its axes": Elsewhere,
    "is two hundred deep": _deep,
    "is lazy": lambda: nn.LazyLinear(C),
    "is lazy twice": lambda: nn.Sequential(nn.LazyLinear(C), nn.LazyBatchNorm1d()),
    "has weight norm": lambda: parametrizations.weight_norm(nn.Linear(C, C)),
    "has spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(C, C)),
    "is orthogonal": lambda: parametrizations.orthogonal(nn.Linear(C, C)),
    "cannot make its weight": _unparametrized,
    "is on meta": lambda: nn.Linear(C, C, device="meta"),
    "is half on meta": _half_on_meta,
    "is of inference": _of_inference,
    "is compiled": _compiled,
    "is a trace of torch.jit": _scripted,
    "is quantised": _quantised,
    "is parallel": lambda: nn.DataParallel(nn.Linear(C, C)),
    "is exported": lambda: torch.export.export(nn.Linear(C, C), (torch.zeros(B, T, C),)),
    "is frozen": lambda: nn.Linear(C, C).requires_grad_(False),
    "has expanded weights": _expanded,
    "has tied weights and a gradient": _tied,
    "has a weight that is no parameter": _computed,
    "has no parameters": nn.Identity,
    "is empty": nn.Sequential,
    "has no layer": lambda: nn.ModuleList([nn.Linear(C, C)]),
    "has layers of None": lambda: _with(nn.Linear(C, C), lambda m: m.register_module("none", None)),
    "has a hook that raises": lambda: _with(nn.Linear(C, C), lambda m: m.register_forward_hook(lambda *_: [][0])),
    "has a hook before that returns more": lambda: _with(
        nn.Linear(C, C), lambda m: m.register_forward_pre_hook(lambda _, x: (*x, 1))
    ),
    "has a hook that returns something else": lambda: _with(
        nn.Linear(C, C), lambda m: m.register_forward_hook(lambda *_: "y")
    ),
    "has a hook of its backward pass": lambda: _with(
        nn.Linear(C, C), lambda m: m.register_full_backward_hook(lambda *_: None)
    ),
    "has a hook of its backward pass that raises": lambda: _with(
        nn.Linear(C, C), lambda m: m.register_full_backward_hook(lambda *_: [][0])
    ),
    "has an accumulating hook": lambda: _with(
        nn.Linear(C, C), lambda m: m.weight.register_post_accumulate_grad_hook(lambda _: [][0])
    ),
    "has empty weights": lambda: nn.Linear(C, 0),
    "has weights that are not finite": lambda: _with(
        nn.Linear(C, C), lambda m: m.weight.data.fill_(float("nan"))
    ),
    "is a function": lambda: torch.tanh,
    "is a class": lambda: nn.Linear,
    "is None": lambda: None,
    "is a text": lambda: "linear",
    "is a tensor": lambda: torch.ones(C, C),
}  # fmt: skip


FORMATS = {
    "is float16": torch.float16,
    "is bfloat16": torch.bfloat16,
    "is complex": torch.complex64,
    "is float8": torch.float8_e4m3fn,
}
ODD = (*THEN, *MODULES, *FORMATS)


def odd_model(name: str) -> Made:
    """Make a model by its name, and its inputs."""
    x = torch.randn(B, T, C)
    if name in THEN:
        return Model(THEN[name]), (x,)
    if name in FORMATS:
        return nn.Linear(C, C).to(FORMATS[name]), (x.to(FORMATS[name]),)
    return MODULES[name](), (x,)
