"""What stands in the memory of tensors, copied so that it can be written back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes, is_traceable_wrapper_subclass

from leadline.graph.containers import hollow
from leadline.graph.restoring.writes import before_writes, memory

COPIED = 2**31
"""So many bytes are copied, the smallest storages first; others share memory with their copy until it is written."""
AT_ONCE = 2**26
"""So many bytes are copied at once, the smallest storages first, even where that may wait: watching costs too."""


class Contents:
    """The contents of storages as they were when they were first asked for.

    Those that are `lazy` copy what is large only when it is about to be written, which is seen while they are
    `watched`: whatever may write runs within.

    Examples
    --------
    >>> tensor = torch.ones(3)
    >>> contents = Contents()
    >>> contents.copy([tensor])
    >>> tensor[1:].zero_()
    tensor([0., 0.])
    >>> contents.restore()
    >>> tensor
    tensor([1., 1., 1.])
    """

    def __init__(self, *, lazy: bool = False) -> None:
        self._lazy = lazy
        self._held: dict[int, tuple[Tensor, Tensor]] = {}  # by storage: it, and what stood in it
        self._waiting: dict[int, Tensor] = {}  # what was not written so far
        self._bytes = 0

    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Copy what stands in the memory of tensors, where that has not been done yet."""
        found: dict[int, Tensor] = {}
        for tensor in tensors:
            whole = bytes_of(tensor)
            if whole is not None and (place := memory(whole)) not in self._held:
                found[place] = whole
        for place, whole in sorted(found.items(), key=lambda item: item[1].nbytes):
            if self._lazy and self._bytes + whole.nbytes > AT_ONCE:
                self._waiting[place] = whole
            else:
                self._keep(place, whole)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Copy what waits for it before it is written; nothing is watched where nothing waits."""
        with before_writes(self._about_to_be_written) if self._waiting else nullcontext():
            yield

    def _about_to_be_written(self, tensor: Tensor) -> None:
        """Copy what stands there; all that waits, where the memory is of parts that the tensor does not tell."""
        told = tensor.layout is torch.strided and not is_traceable_wrapper_subclass(tensor)
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            for place in (memory(tensor),) if told else tuple(self._waiting):
                if (whole := self._waiting.pop(place, None)) is not None:
                    self._keep(place, whole)

    def _keep(self, place: int, whole: Tensor) -> None:
        self._bytes += whole.nbytes
        self._held[place] = whole, whole.clone() if self._bytes <= COPIED else _shared_until_written(whole)

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether a tensor looks at memory that is held here, or may do so."""
        whole = bytes_of(tensor)
        return whole is None or memory(whole) in self._held or memory(whole) in self._waiting

    def written(self, *tensors: Tensor) -> bool:
        """Whether the memory of some tensors has changed; of any that is held, where none is given."""
        wholes = [bytes_of(tensor) for tensor in tensors]
        places = [memory(whole) for whole in wholes if whole is not None] if tensors else self._held
        return any(_differ(*self._held[place]) for place in places if place in self._held)

    def restore(self) -> None:
        """Write back what has changed."""
        for live, then in self._held.values():
            _grow_back(live, then)
            if _differ(live, then):
                live.copy_(then)


def bytes_of(tensor: Tensor) -> Tensor | None:
    """Return a view of all bytes under a tensor, as the widest whole numbers that fit; None if it has no memory."""
    if hollow(tensor) or tensor.layout is not torch.strided:
        return None
    try:
        storage = tensor.untyped_storage()
        whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
    except (RuntimeError, NotImplementedError):  # a tensor that has no memory of its own
        return None
    if storage.nbytes() > 0 and _address(whole) == 0:  # one that stands around others, and claims their size
        return None
    kinds = (torch.int64, torch.int32, torch.uint8)
    return whole.view(next(kind for kind in kinds if storage.nbytes() % kind.itemsize == 0))


def _shared_until_written(whole: Tensor) -> Tensor:
    try:
        return torch._lazy_clone(whole)
    except RuntimeError:  # memory that torch did not allocate
        return whole.clone()


def _differ(live: Tensor, then: Tensor) -> bool:
    return _address(live) != _address(then) and not torch.equal(live, then)


def _grow_back(live: Tensor, then: Tensor) -> None:
    """Give a storage the size that it had."""
    if live.untyped_storage().nbytes() != then.nbytes:
        live.untyped_storage().resize_(then.nbytes)


def _address(tensor: Tensor) -> int:
    """Return where a tensor's memory begins, without asking for a copy of one's own of it."""
    address: int = torch._C._data_address(tensor)  # type: ignore[attr-defined]
    return address
