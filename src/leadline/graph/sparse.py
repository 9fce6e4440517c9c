"""Tensors that are not dense: no rule knows them, but a model may hold some that its forward pass does not use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from leadline.errors import UnknownOp
from leadline.graph.containers import wraps


class Sparse:
    """Stands for a sparse parameter or buffer: whatever is done with it is refused."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        self._refused = _refusal(name, tensor)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # Python, and torch, ask all objects for some of these
            raise AttributeError(name)
        raise UnknownOp(self._refused)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        """Refuse an operation."""
        del func, types
        given = [*args, *(kwargs or {}).values()]
        raise UnknownOp(next(part for part in given if isinstance(part, cls))._refused)

    def _operate(self, *_: Any) -> NoReturn:
        raise UnknownOp(self._refused)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _operate
    __truediv__ = __pow__ = __neg__ = __getitem__ = _operate


def refuse_sparse(tensors: Mapping[str, Tensor]) -> None:
    """Refuse inputs that are sparse: `UnknownOp`."""
    for name, tensor in tensors.items():
        if is_sparse(tensor):
            raise UnknownOp(_refusal(name, tensor))


def refuse_all_but_dense(name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is sparse, nested, quantised or laid out for other kernels: `UnknownOp`.

    Examples
    --------
    >>> refuse_all_but_dense("the state", torch.eye(2).to_sparse())
    Traceback (most recent call last):
        ...
    leadline.errors.UnknownOp: the state is a sparse_coo tensor, and rules know dense ones alone: give it by .to_dense()
    """
    if tensor.is_nested:
        raise UnknownOp(f"{name} is a nested tensor, and rules know dense ones alone: give it padded, with a mask")
    if tensor.is_quantized:
        raise UnknownOp(f"{name} is quantised, and rules know plain numbers alone: give it by .dequantize()")
    if wraps(tensor):
        raise UnknownOp(
            f"{name} is a {type(tensor).__name__} around other tensors, and rules know plain ones alone: give it as one"
        )
    refuse_sparse({name: tensor})


def is_sparse(tensor: Tensor) -> bool:
    """Whether a tensor has another layout than strides."""
    return tensor.layout is not torch.strided and tensor.layout is not torch.jagged


def _refusal(name: str, tensor: Tensor) -> str:
    kind = str(tensor.layout).removeprefix("torch.").strip("_")
    return f"{name} is a {kind} tensor, and rules know dense ones alone: give it by .to_dense()"


@contextmanager
def sparse_aside(model: nn.Module) -> Iterator[None]:
    """Let what refuses to be used stand for a model's sparse tensors."""
    with ExitStack() as stack:
        for path, module in model.named_modules():
            for own in (module._parameters, module._buffers):
                if any(tensor is not None and is_sparse(tensor) for tensor in own.values()):
                    stack.enter_context(_aside(path, module, own))
        yield


@contextmanager
def _aside(path: str, module: nn.Module, own: dict[str, Any]) -> Iterator[None]:
    whole = dict(own)
    gone = {name: tensor for name, tensor in whole.items() if tensor is not None and is_sparse(tensor)}
    for name, tensor in gone.items():
        del own[name]
        vars(module)[name] = Sparse(f"{path}.{name}".removeprefix("."), tensor)
    try:
        yield
    finally:
        for name in gone:
            vars(module).pop(name, None)
        own.clear()
        own.update(whole)
