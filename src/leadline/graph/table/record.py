"""What one record of the table says of an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

Literals: TypeAlias = Mapping[str, Any]
"""A node's arguments by the names of the operator's schema; those that are no literals are references."""


class Kind(StrEnum):
    """How values flow through an operation."""

    INPUT = "input"  # leaves
    PARAMETER = "parameter"
    BUFFER = "buffer"
    CREATION = "creation"  # depends on no tensor's values: arange, zeros, full_like
    POINTWISE = "pointwise"  # element p of the output from elements p of the broadcast arguments
    VIEW = "view"  # every output element is one input element or a literal: reshape, slice, pad, cat, roll
    WINDOW = "window"  # pooling
    CONVOLUTION = "convolution"
    CONTRACTION = "contraction"  # matrix products
    REDUCTION = "reduction"  # sum, max, argmax, var along axes
    CUMULATIVE = "cumulative"  # cumsum: element i from elements up to i along an axis
    MIXING = "mixing"  # every element along the axes from every one: sort, FFT
    SOFTMAX = "softmax"
    NORMALISATION = "normalisation"  # statistics over axes, then pointwise
    ATTENTION = "attention"
    SCAN = "scan"  # recurrences, kept whole
    GATHER = "gather"  # elements chosen by index tensors: embedding, index, gather
    SCATTER = "scatter"  # elements placed by index tensors
    RANDOM = "random"  # pointwise with noise: dropout in training, bernoulli
    EFFECT = "effect"  # assertions; no value
    OPAQUE = "opaque"  # no rule


LEAVES = frozenset({Kind.INPUT, Kind.PARAMETER, Kind.BUFFER})


class Move(StrEnum):
    """How a view moves elements."""

    RESHAPE = "reshape"  # the same elements in the same order: view, flatten, squeeze, unsqueeze
    PERMUTE = "permute"  # axes in another order, each whole
    EXPAND = "expand"  # repeated along axes of size 1 and new first axes
    TAKE = "take"  # some places of one axis: slice, select, split
    FLIP = "flip"
    ROLL = "roll"
    REPEAT = "repeat"
    PAD = "pad"  # with a literal, or as `mode` says
    MIRROR = "mirror"  # padded with its own elements
    JOIN = "join"  # along an axis that is there
    STACK = "stack"  # along a new axis
    WRITE = "write"  # `src` put at places of one axis of `self`, or on a diagonal of it
    DIAGONAL = "diagonal"
    TRIANGLE = "triangle"  # zeros beyond a diagonal
    WINDOWS = "windows"  # pieces of one axis that may overlap, along a new last axis
    ENLARGE = "enlarge"  # each place of the last axes several times: upsampling
    SHUFFLE = "shuffle"  # between channels and the last axes
    PAIRS_TO_COMPLEX = "pairs to complex"
    COMPLEX_TO_PAIRS = "complex to pairs"
    RETYPE = "retype"  # the same bytes read as numbers of another type
    OTHER = "other"


Acts: TypeAlias = Callable[[Literals, int], tuple[int, ...] | None]


def everywhere(literals: Literals, ndim: int) -> None:
    """Say that any axis may be involved."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, or one overload of it that differs from the others.

    Attributes
    ----------
    packet
        Its name without namespace and overload, ``"silu"``.
    kind
        How domains treat it.
    move
        For views: how elements move.
    acts
        For views: from arguments and the first tensor's number of axes to the axes of that tensor along which the
        operation looks at places; None: it may be any. All other axes are kept, moved or repeated as a whole.
    """

    packet: str
    kind: Kind
    move: Move = Move.OTHER
    acts: Acts = everywhere
