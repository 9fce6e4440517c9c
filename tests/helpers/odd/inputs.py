"""Inputs that few give, for models that take them as they come."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from helpers.odd.forwards import B, C, T
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode


class Plain(Tensor):
    """A subclass that adds nothing."""


class Named(Tensor):
    """A subclass whose functions fail."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "linear" in getattr(func, "__name__", ""):
            raise TypeError("not with this")
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapped(Tensor):
    """A tensor around another."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapped:
        made: Wrapped = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, strides=inner.stride())
        made.inner = inner
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, _: Any, _size: Any, _stride: Any) -> Wrapped:
        return Wrapped(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = torch.utils._pytree.tree_map_only(Wrapped, lambda x: x.inner, (args, kwargs or {}))
        return torch.utils._pytree.tree_map_only(Tensor, Wrapped, func(*args, **kwargs))


def _quiet(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def _fake() -> Tensor:
    with FakeTensorMode():
        return torch.randn(B, T, C)


def _inference() -> Tensor:
    with torch.inference_mode():
        return torch.randn(B, T, C)


def _itself() -> list[Any]:
    found: list[Any] = [torch.randn(B, T, C)]
    found.append(found)
    return found


def _of_a_graph() -> Tensor:
    return torch.randn(B, T, C, requires_grad=True) * 2


def _freed() -> Tensor:
    x = torch.randn(B, T, C)
    x.untyped_storage().resize_(0)
    return x


def _numbers() -> Iterator[Tensor]:
    yield torch.randn(B, T, C)


def _symbols(dtype: torch.dtype) -> Tensor:
    return torch.randint(0, 2, (B, T)).to(dtype)


X: Callable[..., Tensor] = torch.randn

INPUTS: Mapping[str, Callable[[], Any]] = {
    "nested": lambda: _quiet(lambda: torch.nested.nested_tensor([X(2, C), X(3, C)])),
    "jagged": lambda: torch.nested.nested_tensor([X(2, C), X(3, C)], layout=torch.jagged),
    "sparse": lambda: X(B, T, C).to_sparse(),
    "sparse and hybrid": lambda: X(B, T, C).to_sparse(2),
    "sparse rows": lambda: _quiet(lambda: X(T, C).to_sparse_csr()),
    "on meta": lambda: X(B, T, C, device="meta"),
    "fake": _fake,
    "of inference": _inference,
    "quantised": lambda: _quiet(lambda: torch.quantize_per_tensor(X(B, T, C), 0.1, 0, torch.quint8)),
    "of oneDNN": lambda: X(B, T, C).to_mkldnn(),
    "complex": lambda: X(B, T, C, dtype=torch.complex64),
    "conjugate": lambda: X(B, T, C, dtype=torch.complex64).conj(),
    "truths": lambda: X(B, T, C) > 0,
    "symbols": lambda: _symbols(torch.int64),
    "symbols of uint8": lambda: _symbols(torch.uint8),
    "symbols of uint64": lambda: _symbols(torch.uint64),
    "symbols below zero": lambda: -_symbols(torch.int64) - 1,
    "huge symbols": lambda: _symbols(torch.int64) + 2**62,
    "float16": lambda: X(B, T, C).half(),
    "bfloat16": lambda: X(B, T, C).bfloat16(),
    "float64": lambda: X(B, T, C).double(),
    "float8": lambda: X(B, T, C).to(torch.float8_e5m2),
    "no samples": lambda: X(0, T, C),
    "no places": lambda: X(B, 0, C),
    "no features": lambda: X(B, T, 0),
    "one number": lambda: X(()),
    "one axis": lambda: X(C),
    "many axes": lambda: X((1,) * 24 + (C,)),
    "wrong features": lambda: X(B, T, C + 1),
    "not finite": lambda: X(B, T, C) / 0,
    "not numbers": lambda: X(B, T, C) * float("nan"),
    "asking for a gradient": lambda: X(B, T, C, requires_grad=True),
    "of a graph": _of_a_graph,
    "a parameter": lambda: nn.Parameter(X(B, T, C)),
    "transposed": lambda: X(C, T, B).permute(2, 1, 0),
    "expanded": lambda: X(1, 1, C).expand(B, T, C),
    "overlapping": lambda: X(B * T * C).as_strided((B, T, C), (1, 2, 1)),
    "without memory": _freed,
    "a subclass": lambda: X(B, T, C).as_subclass(Plain),
    "a subclass that fails": lambda: X(B, T, C).as_subclass(Named),
    "a tensor around another": lambda: Wrapped(X(B, T, C)),
    "masked": lambda: _quiet(lambda: torch.masked.masked_tensor(X(B, T, C), X(B, T, C) > 0)),
    "packed": lambda: nn.utils.rnn.pack_padded_sequence(X(B, T, C), [5, 3], batch_first=True),
    "an array": lambda: np.zeros((B, T, C), dtype=np.float32),
    "a text": lambda: "x",
    "nothing": lambda: None,
    "a number": lambda: 3,
    "a list of tensors": lambda: [X(B, T, C), X(B, T, C)],
    "a set of tensors": lambda: {X(B, T, C)},
    "a dict": lambda: {"x": X(B, T, C), 3: X(B)},
    "an empty list": list,
    "a list that contains itself": _itself,
    "a generator": _numbers,
    "a module": lambda: nn.Linear(C, C),
    "a function": lambda: torch.tanh,
    "a class": lambda: Tensor,
}


class Lenient(nn.Module):
    """A model that makes something of almost any input: the sum of its tensors, or ones, through a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.table = nn.Linear(C, C), nn.Embedding(4, C)

    def forward(self, x: Any) -> Any:
        if isinstance(x, list | tuple | set):
            x = next(iter(x))
        elif isinstance(x, dict):
            x = x["x"]
        if isinstance(x, Tensor) and not x.is_floating_point() and not x.is_complex() and x.dtype != torch.bool:
            return self.layer(self.table(x))
        return self.layer(x) if isinstance(x, Tensor) else self.layer(torch.ones(B, T, C))


class Taking(nn.Module):
    """A model that takes everything, and reads none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(C, C)

    def forward(self, *_: Any) -> Tensor:
        return self.layer(torch.ones(B, T, C))


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(C, C),
    "lenient": Lenient,
    "convolution": lambda: nn.Conv1d(T, C, 3, padding=1),
    "recurrent": lambda: nn.GRU(C, C, batch_first=True),
    "embedding": lambda: nn.Embedding(4, C),
    "attention": lambda: nn.TransformerEncoderLayer(C, 2, 8, batch_first=True).eval(),
    "identity": nn.Identity,
    "taking": Taking,
}
