"""Torch's transformers look whether a mask is causal, for a faster kernel: a branch on values that is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
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
