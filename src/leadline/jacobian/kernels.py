"""Kernels that can be differentiated in every mode, the model's own state kept, and torch's noise silenced.

Some fused kernels have no forward-mode derivative and no second one: oneDNN's LSTM, flash attention on the CPU and the
fast path of `nn.MultiheadAttention`. Each has a plain counterpart, and a global flag that chooses it.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint as checkpoint
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from leadline.graph.restoring.snapshot import Snapshot
from leadline.graph.restoring.undisturbed import restored


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Choose the kernels that have derivatives in every mode; the flags are restored on leaving."""
    onednn, fast_path = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mkldnn.enabled = onednn
        torch.backends.mha.set_fastpath_enabled(fast_path)


class _Once:
    """Stands for `torch.utils.checkpoint`'s function that runs a part of a model again."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:  # noqa: ARG004 - torch's
        """Run it once."""
        return function(*args)


def _nothing_again(*args: Any, **kwargs: Any) -> Iterator[None]:  # noqa: ARG001 - torch's
    """Stand for what torch does before and after a part that it will run again."""
    yield


@contextmanager
def run_once() -> Iterator[None]:
    """Keep what activation checkpoints would compute again: neither kind of them can be differentiated in every way."""
    generator = "_checkpoint_without_reentrant_generator"  # from torch 2.14 on, what calls it has another name
    again = {"CheckpointFunction": _Once, generator: _nothing_again, f"{generator}_impl": _nothing_again}
    again = {name: stand_in for name, stand_in in again.items() if hasattr(checkpoint, name)}
    before = {name: getattr(checkpoint, name) for name in again}
    try:
        vars(checkpoint).update(again)
        yield
    finally:
        vars(checkpoint).update(before)


@contextmanager
def without_torch_warnings() -> Iterator[None]:
    """Silence the warnings that torch's own transforms raise about torch; the user's still come through."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch.jit.script` is (deprecated|not supported)")
        warnings.filterwarnings("ignore", message=r"There is a performance drop", category=UserWarning)
        yield


@contextmanager
def same_noise(seed: int) -> Iterator[None]:
    """Draw the same random numbers (dropout's masks) at each entry, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def kept(model: nn.Module, *inputs: Any) -> Iterator[Snapshot]:
    """Make every floating parameter differentiable; on leaving, model and inputs are what they were.

    Yields a snapshot, to go back to the beginning between two runs.
    """
    with restored(model, inputs) as before:
        for parameter in model.parameters():
            if parameter.is_floating_point() and not parameter.is_inference():
                parameter.requires_grad_(True)
        yield Snapshot(model, inputs, contents=before.contents)
