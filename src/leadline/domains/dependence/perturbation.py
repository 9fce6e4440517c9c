"""Ask the real model whether an output element changes when an input element does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import undisturbed

_SEED = 11  # noise of dropout, the same in every run
_NOISE = 1e-5  # relative: what summation in another order, or a Fourier transform, may change


class Prober:
    """Perturbs one input element at a time; the model is left as it was."""

    def __init__(self, reading: Reading) -> None:
        self.call, self.able = reading.call, reading.has_values

    def changes(self, output: str, out: tuple[int, ...], name: str, at: tuple[int, ...]) -> bool:
        """Tell whether the output element moved under any of several perturbations, by more than rounding."""
        if not self.able:
            return False
        base = self._base[output]
        for value in _others(self.call.tensors[name], at):
            tensor = self.call.tensors[name].detach().clone()
            tensor[at] = value
            try:
                moved = self._run({name: tensor})[output]
            except (IndexError, RuntimeError):  # a token outside the vocabulary
                continue
            if _differs(base, moved, out):
                return True
        return False

    @cached_property
    def _base(self) -> dict[str, Tensor]:
        return self._run({})

    def _run(self, replaced: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with undisturbed(self.call.model, self.call.given, lazily=True) as before, before.contents.watched():
            torch.manual_seed(_SEED)
            outputs = self.call(*(replaced.get(name, tensor.detach()) for name, tensor in self.call.tensors.items()))
            return dict(zip(self.call.outputs, (tensor.clone() for tensor in outputs), strict=True))


def _others(tensor: Tensor, at: tuple[int, ...]) -> Iterator[Any]:
    """Yield other values for one element: for integers, ones that occur in the tensor first."""
    here = tensor[at]
    if tensor.dtype is torch.bool:
        yield ~here
    elif tensor.is_floating_point() or tensor.is_complex():
        scale = tensor.abs().amax().clamp(min=1.0)
        for step in (10 * scale, -scale, scale, -10 * scale, 0.1 * scale):  # a far input moves an output little
            yield here + step
    else:
        candidates = [int(v) for v in torch.unique(tensor)[:3]] + [0, 1, int(here) + 1, int(here) - 1]
        yield from dict.fromkeys(v for v in candidates if v != int(here) and v >= 0)


def _differs(base: Tensor, moved: Tensor, out: tuple[int, ...]) -> bool:
    a, b = base[out], moved[out]
    if not base.is_floating_point():
        return bool(a != b)
    if bool(a.isnan() & b.isnan()) or bool(a == b):
        return False
    finite = torch.cat([base.flatten(), moved.flatten()]).abs()
    finite = finite[finite.isfinite()]
    scale = float(finite.max()) if finite.numel() else 1.0
    return not bool((a - b).abs() <= _NOISE * scale)
