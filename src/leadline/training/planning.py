"""From a budget to a schedule and a number of threads, by a rehearsal on a copy of the model."""

import copy
import dataclasses
import time
from contextlib import closing

import torch

from leadline.data import Dataset
from leadline.training.budget import Plan, Schedule, pace, rehearsed
from leadline.training.config import TrainConfig
from leadline.training.session import Session
from leadline.zoo import Specimen


def validated_examples(config: TrainConfig, dataset: Dataset) -> int:
    """Return how many examples a validation looks at."""
    return min(config.validation_examples or len(dataset.validation), len(dataset.validation))


def planned(specimen: Specimen, dataset: Dataset, config: TrainConfig, lag: int, began: float) -> Plan:
    """Turn the budget into steps, by a rehearsal on a copy of the model."""
    if config.minutes is None:
        assert config.steps is not None  # the config has one of them
        return Plan(Schedule.of_steps(config.steps, config.warmup))
    copied = dataclasses.replace(specimen, model=copy.deepcopy(specimen.model))
    with closing(Session.open(copied, dataset, config, lag, Schedule.of_steps(1000))) as rehearsal:
        return _fitting(rehearsal, config, began)


def _fitting(rehearsal: Session, config: TrainConfig, began: float) -> Plan:
    """Return the plan that fits the minutes, as steps and validations of a rehearsal take their time."""
    assert config.minutes is not None
    dataset = rehearsal.dataset
    if config.threads is None:
        _choose_threads(rehearsal)
    examples = validated_examples(config, dataset)
    probe = min(examples, 128)

    def validate() -> float:
        start = time.perf_counter()
        rehearsal.score(dataset.validation, "validation", examples=probe)
        return (time.perf_counter() - start) * examples / probe

    found = rehearsed(
        config.minutes,
        step=rehearsal.step,
        validate=validate,
        final=(len(dataset.validation) + len(dataset.test)) / examples,
        spent=time.perf_counter() - began,
        warmup=config.warmup,
    )
    fitting = found.schedule
    if config.steps is None or fitting.steps < config.steps:
        return found
    every = -(-config.steps * fitting.validate_every // fitting.steps)
    return Plan(dataclasses.replace(fitting, steps=config.steps, validate_every=every), found.validation)


def _choose_threads(rehearsal: Session) -> None:
    """Use one thread if a step is then as fast: several wait for each other wherever others use the cores."""
    many = torch.get_num_threads()
    several = pace(rehearsal.step, 0.0)
    torch.set_num_threads(1)
    if pace(rehearsal.step, 0.0) > several:
        torch.set_num_threads(many)
