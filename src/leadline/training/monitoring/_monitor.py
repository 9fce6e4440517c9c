"""`monitor`: what gradients do at every Nth step of a training, seen from within its own steps."""

from __future__ import annotations

import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from leadline.domains.arguments import public
from leadline.errors import LeadlineError, UsageError
from leadline.graph.layout import LayoutLike
from leadline.graph.reading import Reading
from leadline.graph.user_code import foreseen
from leadline.jacobian._reach import Positions, Reach, reach_of
from leadline.training.monitoring.moments import Moment, moment_of
from leadline.training.monitoring.taps import Taps

Log = Callable[..., Any]
"""Takes the numbers of a moment by name, and ``step=``, as the `log` of an `Accelerator` does."""
Together = Callable[[Mapping[Any, float]], Mapping[Any, float]]
"""Adds up numbers by name over several processes."""


@public("monitor")
def monitor(
    model: nn.Module,
    *inputs: Any,
    every: int = 50,
    start: int = 0,
    log: Log | None = None,
    scaler: Any = None,
    layout: LayoutLike = None,
    output: str | None = None,
    positions: Positions = None,
    reach_every: int | None = None,
    seed: int = 0,
    together: Together | None = None,
    **kwargs: Any,
) -> Monitor:
    """Watch the gradients of a training loop, at every so many steps of its optimiser.

    A context manager around the loop. The gradient is the loss's own, heard in the training's own backward pass where
    stages begin: nothing runs twice, no number of the training changes, and steps in between cost a function call. A
    step is one of the first optimiser that holds parameters of the model; several backward passes before it add up, as
    samples of one batch. Of a fused recurrence at most 12 steps through time are looked at, by going through
    them again on 4 samples of the first pass. A compiled model runs uncompiled in the steps that are heard, a
    WaveNet with ``tiled=true`` block by block: their numbers differ by rounding.

    Parameters
    ----------
    model
        The model, or the part of it, that the loop calls; compiled or not.
    every
        Record every so many steps, the first one too.
    start
        Steps that were done before, where a training is resumed.
    log
        Called with the numbers of each record by name, and ``step=``: the `log` of accelerate's `Accelerator`, which
        takes them to TensorBoard, W&B, trackio and so on.
    scaler
        The gradient scaler of mixed precision, by whose factor norms are divided; underflow is that of the scaled
        values, which are what formats hold.
    *inputs, layout, output, positions, seed, **kwargs
        Where inputs are given, `reach` is measured on them too, as the function of that name does.
    reach_every
        At every so many steps; by default ten times `every`. The first time takes a trace of the model.
    together
        Of several processes that share each batch, and whose gradients are summed: adds up numbers by name over all of
        them. What is recorded is then the gradient of the whole batch, in each.

    Returns
    -------
    Monitor
        Its `records` grow while the loop runs.

    Raises
    ------
    UsageError
        If the model is not a module, `every` is less than 1, or `start` less than 0.
    LeadlineError
        At the first step, if the reach cannot be measured; see `reach`.

    Examples
    --------
    >>> model = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(8, 8), nn.Sigmoid())])
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with monitor(model, every=2) as watch:
    ...     for _ in range(5):
    ...         model(torch.randn(4, 8)).square().sum().backward()
    ...         optimizer.step()
    ...         optimizer.zero_grad()
    >>> [record.step for record in watch.records], watch.records[0].rate.value < -0.5
    ([0, 2, 4], True)
    """
    if every < 1 or (reach_every is not None and reach_every < 1):
        raise UsageError("a monitor records every so many steps, from every=1 on")
    if start < 0:
        raise UsageError(f"start={start}: no training has done fewer steps than none")
    bare = uncompiled(model)
    if not isinstance(bare, nn.Module):
        raise UsageError(f"monitor takes a module that is trained, not {type(model).__name__}")
    reading = Reading(bare, inputs, kwargs, layout=layout, output=output) if inputs or kwargs else None
    return Monitor(bare, every, start, log, scaler, reading, positions, reach_every or 10 * every, seed, together)


def uncompiled(model: Any) -> Any:
    """Return the module that `torch.compile` was given."""
    found = getattr(model, "_orig_mod", model)
    return found if isinstance(found, nn.Module) else model


class Monitor:
    """A training that is watched; see `monitor`.

    Attributes
    ----------
    records
        One `Moment` for every step that was recorded.
    step
        How many steps of the optimiser are done.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int,
        start: int,
        log: Log | None,
        scaler: Any,
        reading: Reading | None,
        positions: Positions,
        reach_every: int,
        seed: int,
        together: Together | None = None,
    ) -> None:
        self.records: tuple[Moment, ...] = ()
        self.step = start
        self._model, self._every, self._log, self._scaler = model, every, log, scaler
        self._reading, self._positions, self._reach_every, self._seed = reading, positions, reach_every, seed
        self._taps, self._open, self._together = Taps(model), False, together
        self._held, self._listening = ExitStack(), ExitStack()
        self._optimizer: Callable[[], Optimizer | None] = lambda: None

    def __enter__(self) -> Monitor:
        for handle in (
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ):
            self._held.callback(handle.remove)
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching: nothing is left on the model."""
        self._listening.close()
        self._held.close()

    def stepped(self) -> None:
        """Say that the gradients of a step are there: for loops without an optimiser of torch's."""
        self._record()
        self.step += 1
        self._listen()

    def _give_up(self) -> None:
        self.close()
        self._every = 0
        warnings.warn(f"leadline.monitor stopped at step {self.step}: {traceback.format_exc(limit=-1)}", stacklevel=3)

    def _listen(self) -> None:
        """Listen to the next step, if it is one of those."""
        self._open = bool(self._every) and self.step % self._every == 0
        if self._open:
            if "torch._dynamo" in sys.modules:  # else nothing is compiled, and loading it takes seconds
                stance = torch.compiler.set_stance("force_eager")  # compiled code would not notice who listens
                self._listening.callback(stance.__exit__, None, None, None)
            self._listening.enter_context(self._taps.open())

    def _before(self, optimizer: Optimizer, *_: Any) -> None:
        """Before a step of any optimiser, with the weights as they were; its closure may still compute the gradient."""
        if self._open and self._taps.came_back and self._is_ours(optimizer):
            self._record()

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        if self._is_ours(optimizer):
            self.stepped()

    def _is_ours(self, optimizer: Optimizer) -> bool:
        """Whether an optimiser is the first that was seen to hold parameters of the model."""
        known = self._optimizer()
        if known is None and self._holds_ours(optimizer):
            self._optimizer, known = weakref.ref(optimizer), optimizer
        return optimizer is known

    def _holds_ours(self, optimizer: Optimizer) -> bool:
        own = {id(parameter) for parameter in self._model.parameters()}
        return any(id(p) in own for group in optimizer.param_groups for p in group["params"])

    def _record(self) -> None:
        """Record the step, if it is listened to and was not recorded yet."""
        if not self._open:
            return
        self._open = False
        self._listening.close()
        try:
            self._recorded()
        except LeadlineError:
            if not self.records:
                raise  # the first step shows what cannot be asked of this model
            self._give_up()
        except Exception:  # a training does not end because somebody watches it
            self._give_up()

    def _recorded(self) -> None:
        self._taps.finish()
        reach = self._reach() if self._reading is not None and self.step % self._reach_every == 0 else None
        found = self._moment(reach)
        if found is not None:
            self.records += (found,)
            if self._log is not None:
                self._log(found.scalars(), step=self.step)

    def _moment(self, reach: Reach | None) -> Moment | None:
        taps, heard = self._taps, self._taps.heard
        sums: dict[Any, Tensor] = {**heard.squares, **heard.lost}
        sums |= {} if heard.values is None else {None: heard.values}
        values = torch.stack([number.double() for number in sums.values()]).tolist() if sums else ()
        numbers: Mapping[Any, float] = dict(zip(sums, values, strict=True))
        if self._together is not None:  # in processes that heard nothing, too
            numbers = self._together(numbers)
        if taps.chain is None or (not heard.squares and reach is None):
            return None
        scale = float(self._scaler.get_scale()) if self._scaler is not None else 1.0
        squares = {boundary: numbers[boundary] / scale**2 for boundary in heard.squares}
        lost = {name: numbers[name] for name in heard.lost}
        ends = [squares.get(boundary) for boundary in range(taps.boundaries)]
        return moment_of(self.step, taps.names, ends, _of(lost, numbers.get(None, 0.0)), reach, apart=taps.stride)

    def _reach(self) -> Reach:
        assert self._reading is not None
        with foreseen("the reach of a monitor"):
            return reach_of(self._reading, self._positions, seed=self._seed + self.step)


def _of(lost: Mapping[str, float], whole: float) -> dict[str, tuple[float, float]]:
    return {name: (part, whole) for name, part in lost.items()}
