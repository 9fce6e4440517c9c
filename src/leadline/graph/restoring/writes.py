"""Memory that operations write into, told from their schemas; and contents that are copied just before that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Keep: TypeAlias = Callable[[Tensor], object]
"""Called with a tensor whose memory may be written next."""
_ADDRESSES = frozenset(
    {Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.data_ptr, Tensor.storage, Tensor.untyped_storage}
)
"""What lets others write into the memory of a tensor without an operation of torch."""

_STATISTICS = frozenset({"running_mean", "running_var"})
"""What norms write into, and their schemas do not all say so."""


@contextmanager
def before_writes(keep: Keep) -> Iterator[None]:
    """Call `keep` with each tensor that an operation of this thread is about to write into, or gives the address of.

    Examples
    --------
    >>> import torch
    >>> seen, x = [], torch.zeros(3)
    >>> with before_writes(lambda tensor: seen.append(tensor.tolist())):
    ...     x[1:].add_(1).mul(5)
    tensor([5., 5.])
    >>> seen  # what it was
    [[0.0, 0.0]]
    """
    with _Operations(keep), _Addresses(keep):
        yield


class _Operations(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self, keep: Keep) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._keep = keep

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in written(func, (args, kwargs)):
            self._keep(tensor)
        return func(*args, **kwargs)


class _Addresses(TorchFunctionMode):
    def __init__(self, keep: Keep) -> None:
        super().__init__()
        self._keep = keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _ADDRESSES:
            self._keep(args[0])
        return func(*args, **(kwargs or {}))


def written(op: Any, arguments: Any) -> list[Tensor]:
    """Return the tensors that an operation writes into, from its schema."""
    args, kwargs = arguments
    given = (args[place] if place < len(args) else kwargs.get(name) for place, name in _writing(op))
    return [leaf for part in given for leaf in tree_leaves(part) if isinstance(leaf, Tensor)]


@cache
def _writing(op: Any) -> tuple[tuple[int, str], ...]:
    """Return places and names of the arguments into which an operation writes."""
    schema = getattr(op, "_schema", None)
    if schema is None:
        return ()
    named = enumerate(schema.arguments)
    return tuple((i, a.name) for i, a in named if a.name in _STATISTICS or (a.alias_info and a.alias_info.is_write))


def memory(tensor: Tensor) -> int:
    """Identify the storage of a tensor, or of the one that a transform of functions wraps; else, the tensor itself."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else id(tensor)
