"""Rule for causal attention: a tap that grows with the grid. Its mask must be a band that is the same everywhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph import Node
from leadline.recurrence.ir import Attention
from leadline.recurrence.reading.field import FEATURE, Factor, Field, Misfit, axis_of, features, of_features
from leadline.recurrence.reading.lowering import Fixed, Lowering, Value

if TYPE_CHECKING:
    from leadline.recurrence.ir import Channels

FORBIDDEN = -1e30  # an additive mask below this leaves a weight of exactly zero


def attention(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read `scaled_dot_product_attention` along the only position axis."""
    query, key, value = args["query"], args["key"], args["value"]
    if args.get("dropout_p"):
        raise Misfit("dropout within attention is random; call model.eval() first")
    if not all(isinstance(read, Field) for read in (query, key, value)):
        raise Misfit("its queries, keys or values are fixed")
    scale = args.get("scale") or 1 / math.sqrt(query.shape[-1])
    if args.get("is_causal"):
        return attend(low, query, key, value, scale)
    mask = args.get("attn_mask")
    if mask is None:
        raise Misfit("attention without a mask reads the whole future")
    if not isinstance(mask, Fixed):
        raise Misfit("its mask is computed from the inputs")
    return attend(low, query, key, value, scale, mask.tensor)


def attend(low: Lowering, query: Field, key: Field, value: Field, scale: float, mask: Tensor | None = None) -> Field:
    """Emit attention of readings whose last two dimensions are positions and features; no mask: to all before.

    `Misfit` if they are read along more than one axis, or shifted against each other, or the mask is not a band.
    """
    if low.rank != 1:
        raise Misfit("attention is read along one position axis, not over a grid")
    if len({read.sizes for read in (query, key, value)}) > 1:
        raise Misfit("queries and keys do not have the same number of positions")
    window = None if mask is None else _window(mask, query.sizes[0])
    heads, _ = _heads(query)
    repeat = heads // max(1, math.prod(features(key.dims[:-1])))
    q, k, v = (low.tap(r, _channels(r, heads, n)) for r, n in ((query, 1), (key, repeat), (value, repeat)))
    if any(tap.offset[0] != 0 or r.sizes != low.range_of(r.variable) for tap, r in ((k, key), (v, value))):
        raise Misfit("keys or values are shifted or padded")
    width = len(v.channels) // heads
    dims = (*query.dims[:-1], (Factor(FEATURE, width),))
    equation = Attention(q, k, v, heads, float(scale), window, mask is not None)
    return low.emit(equation, dims, query.sizes, "attention")


def _heads(read: Field) -> tuple[int, Channels]:
    if axis_of(read.dims[-2]) != 0 or not of_features(read.dims[-1]):
        raise Misfit("positions and features do not stand on the last two axes")
    return math.prod(features(read.dims[:-1])), read.channels.reshape(-1, math.prod(f.size for f in read.dims[-1]))


def _channels(read: Field, heads: int, repeat: int) -> Channels:
    """Return the channels head by head; grouped queries share keys."""
    count, channels = _heads(read)
    if count * repeat != heads:
        raise Misfit("heads of queries and keys do not fit")
    return np.repeat(channels, repeat, axis=0)


def _window(mask: Tensor, length: int) -> int | None:
    """Return how many of the latest keys a mask leaves (booleans, or numbers to add); None: all.

    `Misfit` if the mask looks ahead, or differs from place to place.
    """
    seen = _seen(mask, length)
    band = int(seen[-1].sum())
    rows, columns = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    if bool(seen[rows < columns].any()):
        raise Misfit("its mask lets a position see later ones")
    if not torch.equal(seen, (columns <= rows) & (rows - columns < band)):
        raise Misfit("its mask is not a band that is the same at every position")
    return None if band == length else band


def _seen(mask: Tensor, length: int) -> Tensor:
    flat = mask.expand(*mask.shape[:-2], length, length).reshape(-1, length, length)
    if mask.dtype != torch.bool:
        seen = flat > FORBIDDEN
        if bool((flat[seen] != 0).any()):
            raise Misfit("its mask adds numbers to the scores")
        flat = seen
    if bool((flat != flat[:1]).any()):
        raise Misfit("its mask differs between heads or samples")
    return flat[0]
