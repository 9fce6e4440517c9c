"""What torch does otherwise while a model is traced: branches that nobody needs are left out, others taken at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx
from torch.nn.modules import transformer


@contextmanager
def masks_as_given() -> Iterator[None]:
    """Let torch's transformers take masks as given: causal where the caller says so, read in full elsewhere."""

    def told(mask: Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
        del mask, size
        return is_causal is True

    looking = transformer._detect_is_causal_mask
    transformer._detect_is_causal_mask = told
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = looking


@contextmanager
def branches_at_once() -> Iterator[None]:
    """Let `torch.cond` be the branch that it stands for: constants decide it, and inputs must not, as in any other."""

    def branch(
        pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()
    ) -> Any:
        return true_fn(*operands) if pred else false_fn(*operands)

    whole = torch.cond
    torch.cond = branch
    try:
        yield
    finally:
        torch.cond = whole


@contextmanager
def errors_caught() -> Iterator[None]:
    """Let the trace forget the modules that an error left, which the model's own `try` may catch."""
    call = fx.Tracer.call_module

    def called(tracer: fx.Tracer, *args: Any, **kwargs: Any) -> Any:
        entered = tracer.module_stack.copy()
        try:
            return call(tracer, *args, **kwargs)
        except Exception:
            tracer.module_stack = entered
            raise

    with patch.object(fx.Tracer, "call_module", called):
        yield
