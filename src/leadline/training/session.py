"""One optimiser step and one validation: what the loop repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from leadline.data import Batch, Dataset, Split, TrainingBatches
from leadline.data.ahead import BatchesAhead
from leadline.data.bending import Bend
from leadline.data.transforms import Augmentation, Shift, Turn, Warp
from leadline.errors import Diverged, ModelError, UsageError, needing
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME
from leadline.likelihoods import Likelihood, likelihood
from leadline.training.budget import Schedule
from leadline.training.config import TrainConfig
from leadline.training.monitoring.tracking import Trackers, tracking
from leadline.training.processes import ALONE, Processes
from leadline.training.scoring import Score, classes_axis, score, symbol_nats
from leadline.training.state import TrainingState, duplicate
from leadline.training.summing import summed_nats
from leadline.zoo import Specimen
from leadline.zoo.layers.members import Members

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Session:
    """A model in training, with its data; `state` is what a checkpoint holds, the rest follows from the run's settings.

    `conditional` models take the labels as second input, those that are `taught` in training alone; `layout` names the
    axes of the first.
    """

    state: TrainingState
    accelerator: Accelerator
    batches: BatchesAhead
    dataset: Dataset
    likelihood: Likelihood
    config: TrainConfig
    lag: int
    conditional: bool
    taught: bool
    layout: str
    classes_axis: int = -1
    processes: Processes = ALONE
    compiled: Callable[..., Any] | None = None

    @classmethod
    def open(
        cls,
        specimen: Specimen,
        dataset: Dataset,
        config: TrainConfig,
        lag: int,
        schedule: Schedule,
        trackers: Trackers = (),
        folder: Path | None = None,
        processes: Processes = ALONE,
    ) -> Session:
        """Make optimiser and average for a fresh model and a run of that schedule; trackers write beside its folder.

        Raises `UsageError` if the model is not a density model, or model, data and config do not go together.
        """
        with needing("train", "training"):
            from accelerate import Accelerator
        _require_device(config.device)
        if specimen.likelihood is None and lag == 1:
            raise UsageError("this model has no likelihood, so there is nothing to train it by; choose a density model")
        augmentations = _augmentations(config, dataset)
        try:
            accelerator = Accelerator(
                mixed_precision=config.precision, cpu=config.device == "cpu", **tracking(trackers, folder)
            )
        except ValueError as error:  # accelerate's state is one per process
            raise UsageError(
                f"accelerate runs with another precision or device in this process already ({error}); "
                "train in a process of its own"
            ) from error
        model = specimen.model.to(accelerator.device)
        averaged = duplicate(model)
        real = all(p.is_floating_point() for p in model.parameters())  # one kernel for each of them
        optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.lr, fused=real)
        # Gradients are summed here (`Processes`), so that no second module is wrapped around the model: the rehearsal
        # of a run in minutes, which one process holds, would wait for the others in it.
        model = accelerator.prepare_model(model, evaluation_mode=True)
        optimizer = accelerator.prepare_optimizer(optimizer)
        return cls(
            state=TrainingState(model, averaged, optimizer, schedule),
            accelerator=accelerator,
            batches=_batches(dataset, config, augmentations),
            compiled=torch.compile(model, dynamic=False) if config.compile else None,
            dataset=dataset,
            likelihood=likelihood(specimen.likelihood or "categorical", dataset.levels),
            config=config,
            lag=lag,
            conditional=specimen.conditional,
            taught=specimen.taught,
            classes_axis=classes_axis(specimen),
            processes=processes,
            layout=specimen.layout,
        )

    @property
    def members(self) -> int:
        """Among how many models each batch is divided."""
        return next((len(m.models) for m in self.state.model.modules() if isinstance(m, Members)), 1)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self.state.model.parameters() if p.requires_grad)

    def example(self) -> tuple[Tensor, ...]:
        """Return the first example of the first batch, as the model takes it."""
        batch = self.batches.batches.at(0).to(self.accelerator.device)
        given = (batch.labels if self.conditional else None, batch.frames)
        return (batch.x[:1], *(tensor[:1] for tensor in given if tensor is not None))

    def step(self) -> None:
        """Take the next optimiser step and update the average; another thread that runs a model waits.

        Raises `Diverged` if the loss or the gradient's norm is not finite; the weights are then as before.
        """
        with ONE_AT_A_TIME:
            self._step()

    def _step(self) -> None:
        state, config = self.state, self.config
        progress = state.schedule.progress(state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = config.learning_rate(state.step, progress)
        batch = self._batch().to(self.accelerator.device)
        state.model.train()
        state.optimizer.zero_grad()
        self.processes.seed(config.seed, state.step)
        loss = torch.zeros((), device=self.accelerator.device)
        parts = batch.parts(config.accumulate * self.processes.count, self.members)
        for part in self.processes.share(parts):
            with self.accelerator.autocast():
                share = self._nats(part) / batch.symbols
            loss += share.detach()
            if not share.requires_grad:
                raise ModelError("the loss depends on no parameter that learns, so there is nothing to train")
            self.accelerator.backward(share)
        loss = self.processes.sum_gradients(state.model, loss)
        if not torch.isfinite(loss):
            raise self._diverged("loss", loss, batch)
        norm = self.accelerator.clip_grad_norm_(state.model.parameters(), config.clip)
        if norm is not None and not torch.isfinite(norm):
            raise self._diverged("gradient's norm", norm, batch)
        state.optimizer.step()
        state.step += 1
        state.average(config.ema)
        state.note(loss.item(), 0.0 if norm is None else norm.item(), config.clip)

    def _batch(self) -> Batch:
        """Return the batch of the next step, while workers make those after it."""
        state = self.state
        last = min(state.step + 2 * self.config.workers, state.schedule.steps - 1)
        steps = range(state.step, max(state.step, last) + 1)
        wanted = [(step, self.config.strength(state.schedule.progress(step))) for step in steps]
        return self.batches.at(wanted[0], wanted[1:])

    def _nats(self, part: Batch) -> Tensor:
        """Return the nats that the model in training gives a part of a batch, compiled if the config asks for it."""
        read = self._read | {"conditional": self.conditional or self.taught}
        if self.compiled is None:
            return summed_nats(self.state.model, part, self.likelihood, **read)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return symbol_nats(self.compiled, part, self.likelihood, **read).sum()
        except TorchDynamoException as error:
            said = str(error).strip().partition("\n")[0]
            raise UsageError(f"torch cannot compile this model here ({said}); leave compile=true out") from error

    def close(self) -> None:
        """Let go of the threads that make batches."""
        self.batches.close()

    def score(self, part: Split, name: str, *, examples: int | None = None, model: nn.Module | None = None) -> Score:
        """Score the averaged weights, or another model, on a part."""
        return score(
            model or self.state.averaged,
            self.likelihood,
            part,
            name=name,
            binarisation=self.dataset.binarisation,
            examples=examples,
            processes=self.processes,
            spectrogram=self.dataset.spectrogram,
            **self._read,
        )

    @property
    def _read(self) -> dict[str, Any]:
        """How the model's output is read."""
        return {"lag": self.lag, "conditional": self.conditional, "classes_axis": self.classes_axis}

    def best(self) -> nn.Module:
        """Return a copy of the model with the best averaged weights."""
        model = duplicate(self.state.averaged)
        model.load_state_dict(self.state.best)
        return model

    def _diverged(self, what: str, value: Tensor, batch: Batch) -> Diverged:
        """Say at which step, and in which parameter or on which examples, a number stopped being finite."""
        named = list(self.state.model.named_parameters())
        bad = [name for name, p in named if not torch.isfinite(p).all()]
        worse = [name for name, p in named if p.grad is not None and not torch.isfinite(p.grad).all()]
        if bad:
            place = f"parameter {bad[0]} is not finite"
        elif worse and what != "loss":
            place = f"the gradient of {worse[0]} is not finite"
        else:
            place = f"all parameters are finite; the batch holds training examples {list(batch.index)[:8]}"
        return Diverged(
            f"the {what} is {value.item()} at step {self.state.step}: {place}; "
            "try a smaller learning rate, or a longer warm-up"
        )


def _batches(dataset: Dataset, config: TrainConfig, augmentations: tuple[Augmentation, ...]) -> BatchesAhead:
    how: dict[str, Any] = {"crop": config.crop, "burn_in": config.burn_in}
    return BatchesAhead(TrainingBatches(dataset, config.batch, config.seed, augmentations, **how), config.workers)


def _require_device(device: str | None) -> None:
    """Refuse a device that this machine does not have."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device is not None and not there.get(device, True):
        raise UsageError(f"this machine has no device {device}: leave device= out, or say device=cpu")


def _augmentations(config: TrainConfig, dataset: Dataset) -> tuple[Augmentation, ...]:
    """Return the changes to training images; raises `UsageError` where there are some and the data is not of images."""
    asked = config.shift or config.turn or config.warp or config.bend
    if asked and dataset.kind != "image":
        raise UsageError(f"shift, turn, warp and bend move the pixels of images; leave them out for {dataset.kind}")
    bend = (Bend(_brightest(dataset), config.bend),) if config.bend else ()
    warp = (Warp(config.warp),) if config.warp else ()
    turn = (Turn(config.turn),) if config.turn else ()
    shift = (Shift(config.shift, config.shift_chance),) if config.shift else ()
    return (*bend, *warp, *turn, *shift)


def _brightest(dataset: Dataset) -> int:
    """Return the largest value of training images, which dynamic binarisation has not made bits of yet."""
    images = dataset.train.examples
    assert isinstance(images, Tensor)
    return max(1, int(images.max()))


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights decay, biases and gains do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
