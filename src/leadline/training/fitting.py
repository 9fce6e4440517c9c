"""Whether a model's settings fit the weights of a checkpoint, found out without memory for either."""

from collections.abc import Mapping
from typing import Any

import torch

from leadline.errors import CheckpointError, UsageError
from leadline.zoo import build

_MOST_SYMBOLS = 1 << 26
_DEPTHS = ("layers", "stacks", "members")


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
