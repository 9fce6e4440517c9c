"""The monitor as a callback of other people's training loops: the `transformers` Trainer, and Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from leadline.errors import UsageError, needing
from leadline.training.monitoring._monitor import Monitor, monitor


class Watching:
    """A monitor that is made when a training begins, and closed when it ends, well or not.

    `records` are those of the last training.
    """

    def __init__(self, how: dict[str, Any]) -> None:
        self._how, self._inputs = how, tuple(how.pop("inputs", ()))
        self._monitor: Monitor | None = None

    @property
    def records(self) -> Any:
        """What was recorded so far."""
        return () if self._monitor is None else self._monitor.records

    def begin(self, model: nn.Module, start: int, log: Callable[..., Any], scaler: Any = None) -> None:
        """Watch a model from its next step on."""
        self.end()
        self._monitor = monitor(model, *self._inputs, start=start, log=log, scaler=scaler, **self._how)
        self._monitor.__enter__()

    def end(self) -> None:
        """Leave the model as it was."""
        if self._monitor is not None:
            self._monitor.close()


def trainer_callback(trainer: Any, *, every: int = 50, **how: Any) -> Any:
    """Return a callback of the `transformers` Trainer that watches its gradients.

    What it sees goes through ``trainer.log``, and so to the trackers that the Trainer reports to and into
    ``trainer.state.log_history``; ``callback.records`` has it as `Moment` records.

    Parameters
    ----------
    trainer
        The Trainer, whose callback it is to be: ``trainer.add_callback(trainer_callback(trainer))``.
    every, **how
        As `leadline.monitor`; ``inputs=(x,)`` are those of the reach.

    Raises
    ------
    UsageError
        If `transformers` is not installed.
    """
    with needing("hf", "the Trainer's callback"):
        from transformers import TrainerCallback

    def log(numbers: dict[str, float], step: int) -> None:  # noqa: ARG001 - the Trainer adds its own
        control = trainer.control
        wanted = control.should_log
        trainer.log(dict(numbers))
        control.should_log = trainer.control.should_log = wanted  # of the losses, which are still to be logged

    class Callback(TrainerCallback):  # type: ignore[misc,unused-ignore]
        """Watches the gradients of a Trainer."""

        def __init__(self) -> None:
            self.watching = Watching({"every": every, **how})

        @property
        def records(self) -> Any:
            """What was recorded so far."""
            return self.watching.records

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            """Begin to watch."""
            scaler = getattr(trainer.accelerator, "scaler", None)
            self.watching.begin(trainer.model, state.global_step, log, scaler)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            """Leave the model as it was."""
            self.close()

        def close(self) -> None:
            """Leave the model as it was: the Trainer tells nobody of a training that an error ended."""
            self.watching.end()

    return Callback()


def lightning_callback(*, every: int = 50, part: str = "", **how: Any) -> Any:
    """Return a callback of Lightning's Trainer that watches its gradients.

    What it sees goes to the Trainer's loggers; ``callback.records`` has it as `Moment` records.

    Parameters
    ----------
    every, **how
        As `leadline.monitor`; ``inputs=(x,)`` are those of the reach.
    part
        Path of the module that ``training_step`` calls, ``"net"`` for ``self.net(x)``; by default the LightningModule
        itself, ``self(x)``.

    Raises
    ------
    UsageError
        If Lightning is not installed, or, when the training begins, the module has no such part.
    """
    with needing("lightning", "Lightning's callback"):
        from lightning.pytorch import Callback as Base

    class Callback(Base):  # type: ignore[misc,unused-ignore]
        """Watches the gradients of a Lightning Trainer."""

        def __init__(self) -> None:
            self.watching = Watching({"every": every, **how})

        @property
        def records(self) -> Any:
            """What was recorded so far."""
            return self.watching.records

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Begin to watch."""
            watched = _part(pl_module, part)

            def log(numbers: dict[str, float], step: int) -> None:
                for logger in trainer.loggers:
                    logger.log_metrics(dict(numbers), step=step)

            scaler = getattr(trainer.precision_plugin, "scaler", None)
            self.watching.begin(watched, trainer.global_step, log, scaler)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
            """Leave the model as it was."""
            self.watching.end()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
            """Leave the model as it was."""
            self.watching.end()

    return Callback()


def _part(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        known = ", ".join(name for name, _ in model.named_children())
        raise UsageError(f"{type(model).__name__} has no part {path!r}; it has {known}") from None
