"""Modules that are or hold what few are or hold."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from helpers.odd.forwards import B, C, T
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize


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
