"""How much views and look-ups can stretch a perturbation: as often as each element is used."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.domains.values.interval_rules import call
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Move
from leadline.jacobian.bounds.gain import NOTHING, Gain, Known, Look


def view(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Count how often each element is used: once or more keeps perturbations, dropping some may lose them."""
    move = node.operation.move
    if move in (Move.PAIRS_TO_COMPLEX, Move.COMPLEX_TO_PAIRS):
        return (look(node.refs[0]),)
    if move is Move.RETYPE:
        return (_retyped(node, look, known),)
    return used(node, look, known)


def _retyped(node: Node, look: Look, known: Known) -> Gain:
    """Read the same bytes as other numbers, which are the same ones if only their pairing changes."""
    before, after = (dtype.to_real() for dtype in (known.graph.meta(node.refs[0]).dtype, node.meta.dtype))
    if before != after:
        raise NoRule
    return look(node.refs[0])


def used(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Return the gains of elements that are moved about, places being constant."""
    refs = [ref for ref in dict.fromkeys(node.refs) if look(ref).moves]
    return tuple(
        reduce(Gain.beside, (_uses(node, ref, output, look(ref), known) for ref in refs), NOTHING)
        for output in range(len(node.outputs))
    )


def _uses(node: Node, ref: Ref, output: int, gain: Gain, known: Known) -> Gain:
    """Return the gain of one argument, by moving numbered elements and counting where they went."""
    count = known.graph.meta(ref).numel
    numbers = torch.arange(1.0, count + 1, dtype=torch.float64).reshape(known.shape(ref))

    def beside(other: Ref) -> Tensor:
        meta = known.graph.meta(other)
        if meta.dtype.is_floating_point or meta.dtype.is_complex:
            return torch.zeros(meta.shape, dtype=torch.float64)
        return known.constant(other)

    def moved(elements: Tensor) -> Tensor:
        chosen: Tensor = call(node, lambda other: elements if other == ref else beside(other))[output]
        return chosen

    literal = moved(torch.zeros_like(numbers)) != 0  # what padding fills in
    uses = torch.bincount(moved(numbers)[~literal].flatten().long(), minlength=count + 1)[1:]
    least, most = int(uses.min()), int(uses.max())
    return gain if least == most == 1 else gain.times(math.sqrt(least), math.sqrt(most) * (1 + 1e-15))
