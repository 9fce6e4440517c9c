"""Back into a model, an optimiser and the generators: what a checkpoint holds, if it can be theirs.

Whether settings of the zoo make the weights of a checkpoint is found out without memory for either.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import CheckpointError, UsageError
from leadline.zoo import build

_MOST_SYMBOLS = 1 << 26
_DEPTHS = ("layers", "stacks", "members")


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


def refuse_misfit(name: str, settings: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse settings of a zoo model that do not make the weights of these shapes, `averaged.…`, before it is built.

    Raises `CheckpointError` if there are more layers than tensors, other weights, or example inputs of more symbols
    than are sampled; `UsageError` if there is no such model or setting.
    """
    for depth in _DEPTHS:
        layers = settings.get(depth, 0)
        if isinstance(layers, int) and layers > len(shapes):
            raise CheckpointError(f"run.json has {depth}={layers}, more than the checkpoint's {len(shapes)} tensors")
    try:
        with torch.device("meta"):
            specimen = build(name, **settings)
    except UsageError as error:
        raise CheckpointError(f"run.json does not fit this leadline: {error}") from error
    symbols = sum(tensor.numel() for tensor in specimen.inputs)
    if symbols > _MOST_SYMBOLS:
        raise CheckpointError(f"run.json gives {name} inputs of {symbols} symbols; at most {_MOST_SYMBOLS} are read")
    made = {f"averaged.{key}": tuple(tensor.shape) for key, tensor in specimen.model.state_dict().items()}
    held = {key: shape for key, shape in shapes.items() if key.startswith("averaged.")}
    if made != held:
        key = next(iter(sorted(key for key in {*made, *held} if made.get(key) != held.get(key))))
        raise CheckpointError(
            f"the checkpoint belongs to another model than run.json names: {key} is {held.get(key, 'missing')}, "
            f"not {made.get(key, 'there')}"
        )
