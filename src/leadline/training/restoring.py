"""Back into a model, an optimiser and the generators: what a checkpoint holds, if it can be theirs."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from leadline.errors import CheckpointError


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``name.``, without that beginning."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load a state dict, whole; raises `CheckpointError` if names, shapes or types differ."""
    refuse_other_weights(model, weights)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint belongs to another model: {error}") from error


def refuse_other_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights whose names, shapes or types are not those of the model; raises `CheckpointError`."""
    own = model.state_dict()
    for name in sorted({*own, *weights}):
        if name not in own or name not in weights:
            raise CheckpointError(f"the checkpoint belongs to another model: only one of them has {name}")
        held, meant = weights[name], own[name]
        if (held.shape, held.dtype) != (meant.shape, meant.dtype):
            raise CheckpointError(
                f"the checkpoint belongs to another model: its {name} is {tuple(held.shape)} of {held.dtype}, "
                f"not {tuple(meant.shape)} of {meant.dtype}"
            )


def restore_optimizer(optimizer: torch.optim.Optimizer, entries: Mapping[str, Tensor], step: int) -> None:
    """Give AdamW back its moments after `step` steps: one entry for each parameter, or none before the first step.

    Raises `CheckpointError` if an entry is missing, belongs to no parameter, or cannot have come out of training.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in entries.items():
        index, _, key = name.partition(".")
        if not (index.isascii() and index.isdecimal() and len(index) < 10 and int(index) < len(parameters)):
            raise CheckpointError(f"the checkpoint's optimiser has an entry {name!r}, which is no parameter's")
        state.setdefault(int(index), {})[key] = tensor
    for place, moments in state.items():
        if why := _unlike_adam(moments, parameters[place], step):
            raise CheckpointError(f"the checkpoint's optimiser does not fit parameter {place}: {why}")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _unlike_adam(moments: Mapping[str, Tensor], parameter: Tensor, step: int) -> str:
    """Say what is wrong with the moments of one parameter; nothing if they may be its own."""
    if set(moments) != {"step", "exp_avg", "exp_avg_sq"}:
        return f"it has {', '.join(sorted(moments))}"
    count, first, second = moments["step"], moments["exp_avg"], moments["exp_avg_sq"]
    if count.numel() != 1 or not 0 <= float(count) <= step:
        return f"it counts {count.flatten()[:2].tolist()} of {step} steps"
    for name, moment in (("exp_avg", first), ("exp_avg_sq", second)):
        if moment.shape != parameter.shape or moment.dtype != parameter.dtype:
            return f"{name} is {tuple(moment.shape)} of {moment.dtype}"
        if not torch.isfinite(moment).all():
            return f"{name} is not finite"
    return "exp_avg_sq is negative" if (second < 0).any() else ""
