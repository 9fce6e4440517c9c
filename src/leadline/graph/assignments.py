"""What a forward pass assigns to parameters, so that a trace sees it: through `.data`, and tensors in their places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.overrides import TorchFunctionMode

from leadline.errors import TraceError

_TRACED = (FakeTensor, FunctionalTensor)
# a descriptor of C's, whose methods its type does not tell
_READ, _WRITTEN = torch.Tensor.data.__get__, torch.Tensor.data.__set__  # type: ignore[attr-defined]


class _TracedData(TorchFunctionMode):
    """Put operations in the place of `.data`, which no trace records: it is detached, and is written by copying."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take `.data` of a traced tensor apart, and call any other function as it is."""
        if func == _READ and isinstance(args[0], _TRACED):
            return args[0].detach()
        if func == _WRITTEN and (isinstance(args[0], _TRACED) or is_functorch_wrapped_tensor(args[1])):
            written, value = args[0], args[1]
            if written.shape != value.shape or written.dtype != value.dtype:
                raise TraceError(
                    f"forward assigns a tensor of shape {tuple(value.shape)}, {value.dtype}, to the .data of one of "
                    f"shape {tuple(written.shape)}, {written.dtype}: make it a tensor of its own instead"
                )
            with torch.no_grad():
                written.copy_(value)
            return None
        return func(*args, **(kwargs or {}))


@contextmanager
def traced_assignments() -> Iterator[None]:
    """Trace writes through `.data`, and let a traced tensor take the place of a parameter.

    Under the transforms of `torch.func` too a tensor is written by copying, which they refuse: assigned, what they wrap
    would outlive them, and end the process.

    In forward itself only a parameter may (WeightDrop in evaluation mode, where dropout returns the parameter that it
    takes); what is traced is none, and replay tells whether forward accepts it.
    """
    assign = nn.Module.__setattr__

    def assigned(module: nn.Module, name: str, value: Any) -> None:
        held = module.__dict__.get("_parameters", {})
        if name in held and isinstance(value, _TRACED) and not isinstance(value, nn.Parameter):
            held[name] = value
        else:
            assign(module, name, value)

    # export asks the class, so that it is the class that answers otherwise for a while
    nn.Module.__setattr__ = assigned  # type: ignore[method-assign, assignment]
    try:
        with _TracedData():
            yield
    finally:
        nn.Module.__setattr__ = assign  # type: ignore[method-assign]
