"""Run a model of the user's and leave everything as it was: the model, its inputs, random states, modes and flags."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import nn

from leadline.graph.restoring.contents import Contents
from leadline.graph.restoring.flags import flags_kept
from leadline.graph.restoring.snapshot import Snapshot
from leadline.graph.user_code import running

ONE_AT_A_TIME = RLock()
"""Held while a model of the user's is in another state than the user left it in: a second thread waits."""

_contents: ContextVar[Contents | None] = ContextVar("contents", default=None)


@contextmanager
def restored(*roots: Any, lazily: bool = False) -> Iterator[Snapshot]:
    """Take models, functions and inputs back to the state that they are in now, whatever happens meanwhile.

    Yields the snapshot, to go back to that state in between. Random states and global flags are restored too, and
    transforms of `torch.func` that an error left open are closed. Where all that may write runs within
    ``contents.watched()`` of the snapshot, contents may be copied `lazily`.

    Examples
    --------
    >>> layer, x = nn.BatchNorm1d(2), torch.randn(3, 2)
    >>> with restored(layer, x):
    ...     _ = layer(x.add_(1)), layer.register_buffer("extra", torch.rand(1))
    >>> layer.running_mean, hasattr(layer, "extra")
    (tensor([0., 0.]), False)
    """
    with ONE_AT_A_TIME, _random_states():
        levels = torch._C._functorch.get_dynamic_layer_stack_depth()
        outer = _contents.get()
        snapshot = Snapshot(*roots, contents=Contents(lazy=lazily) if outer is None else outer)
        token = _contents.set(snapshot.contents)
        try:
            with flags_kept():
                yield snapshot
        finally:
            if torch._C._functorch.get_dynamic_layer_stack_depth() > levels:
                torch._C._functorch.pop_dynamic_layer_stack_and_undo_to_depth(levels)
            _contents.reset(token)
            snapshot.restore()


@contextmanager
def _random_states() -> Iterator[None]:
    """Restore the random states of Python, numpy and torch."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is the user's
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and back into the mode it was in."""
    with ONE_AT_A_TIME:
        modes = [(module, module.training) for module in model.modules()]
        try:
            _to_evaluation(model, [module for module, _ in modes])
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def _to_evaluation(model: nn.Module, modules: Iterable[nn.Module]) -> None:
    """Put a model into evaluation mode; an exported program has the one mode that it was exported in."""
    with running(f"{type(model).__name__}.eval", ()), suppress(NotImplementedError):
        try:
            model.eval()
        except RecursionError:  # a module within itself
            for module in modules:
                module.training = False


@contextmanager
def undisturbed(*roots: Any, lazily: bool = False) -> Iterator[Snapshot]:
    """Run models without gradients and warnings, on plain kernels; see `restored`."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("fx.experimental.symbolic_shapes", "_subclasses")]
    with ExitStack() as stack:
        snapshot = stack.enter_context(restored(*roots, lazily=lazily))
        fast, levels = torch.backends.mha.get_fastpath_enabled(), [logger.level for logger in loggers]
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for logger in loggers:  # they repeat what our errors say
            logger.setLevel(logging.CRITICAL)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield snapshot
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            torch.backends.mha.set_fastpath_enabled(fast)
