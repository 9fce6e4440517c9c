"""A model's weights as a stream read them, to tell at every call whether they are still the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.graph.contents import bytes_of


class WeightsSnapshot:
    """What a model's parameters and buffers were when this was made.

    Every call of a stream asks, so that nothing is walked or gathered: an unchanged model still has the same objects in
    the same places, at the same versions, in storages of the same bytes.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> weights = WeightsSnapshot(model)
    >>> weights.unchanged()
    True
    >>> model.weight.data.zero_()
    tensor([[0., 0.]])
    >>> weights.unchanged(), weights.unchanged(values=False)  # no version was counted
    (False, True)
    """

    def __init__(self, model: nn.Module) -> None:
        holders = [h for m in model.modules() for h in (m._modules, m._parameters, m._buffers)]
        self._places = [(holder, name, value) for holder in holders for name, value in holder.items()]
        self._tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
        self._versions = self._current()
        storages = {t.untyped_storage().data_ptr(): t.detach() for t in self._tensors}
        self._bytes = [(live, live.clone()) for live in map(bytes_of, storages.values()) if live is not None]

    def _current(self) -> list[tuple[int, int]]:
        return [(t.data_ptr(), t._version) for t in self._tensors]

    def unchanged(self, values: bool = True) -> bool:
        """Return whether everything is as it was; `values` also finds changes that count no version."""
        if any(holder.get(name) is not value for holder, name, value in self._places):
            return False
        if self._current() != self._versions:
            return False
        return not values or all(torch.equal(live, then) for live, then in self._bytes)
