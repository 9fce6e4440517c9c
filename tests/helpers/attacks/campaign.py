"""Pairs of a model and a box, each bound attacked: ``python -m helpers.attacks.campaign FIRST LAST`` runs seeds."""

import sys
from copy import deepcopy
from dataclasses import dataclass

import torch
from helpers.attacks import inside, layer_blocks, linear_blocks, pointwise_blocks
from helpers.attacks.adversary import attacked, points_of
from helpers.attacks.draw import SHAPE, Chain, Draw

from leadline.errors import LeadlineError
from leadline.graph.ir import Ref
from leadline.graph.reading import Reading
from leadline.jacobian._bound import bound_of

BLOCKS = tuple(
    getattr(module, name)
    for module, names in (
        (pointwise_blocks, "activation with_weight arithmetic scaled"),
        (linear_blocks, "product convolution pooling view reduction fourier pairs"),
        (layer_blocks, "attention multihead normalisation recurrence noise"),
    )
    for name in names.split()
)
BOXES = 8
SLACK = 1e-9
"""How far the Jacobian of float64, against which bounds are held, errs relatively."""


@dataclass(frozen=True)
class Attack:
    """One bound and what was found in its box; `refused` says why there is none.

    Values of these operations were `outside` their intervals.
    """

    seed: int
    what: str
    box: tuple[float, float] | None
    bound: tuple[float, float] | None = None
    found: tuple[float, float] | None = None
    refused: str = ""
    outside: tuple[str, ...] = ()

    @property
    def holds(self):
        if self.outside or self.bound is None or self.found is None:
            return not self.outside
        (lo, hi), (least, most) = self.bound, self.found
        return most <= hi * (1 + SLACK) + 1e-300 and lo <= least * (1 + SLACK) + 1e-9 * most


def attacks(seed):
    """Attack the bounds of one drawn model in some boxes."""
    torch.manual_seed(seed)
    draw = Draw(seed)
    chosen = [draw.one(*BLOCKS) for _ in range(1 + draw.below(3))]
    what = " ".join(block.__name__ for block in chosen)
    model = Chain([block(draw) for block in chosen])
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    boxes = [_box(draw, i) for i in range(BOXES)]
    dtype = draw.one(torch.float64, torch.float64, torch.float64, torch.float32, torch.bfloat16)
    read = _as(model, dtype)
    model = _as(deepcopy(read), torch.float64)
    try:
        reading = Reading(read, (draw.tensor(*SHAPE).to(dtype),))
        reading.graph  # noqa: B018 - traced once for all boxes
    except (LeadlineError, RuntimeError, ValueError, TypeError, IndexError) as error:
        return [Attack(seed, what, box, refused=f"{type(error).__name__}: {error}") for box in boxes]
    return [_attack(seed, what, reading, model, box, draw) for box in boxes]


def _as(model, dtype):
    """Return a model of this type; there are no complex numbers of half precision."""
    pair = torch.complex128 if dtype == torch.float64 else torch.complex64
    return model._apply(lambda x: x.to(pair if x.is_complex() else dtype) if x.dtype != torch.int64 else x)


def _box(draw, i):
    if i == 0:
        return None
    middle, radius = draw.one(0.0, 0.0, draw.number()), 10.0 ** draw.one(-9, -2, 0, 0, 1, 3)
    return middle - radius, middle + radius


def _attack(seed, what, reading, model, box, draw):
    found = attacked(model, SHAPE, box, draw.generator)
    try:
        bound = bound_of(reading, box=box, on_unknown="top")
    except LeadlineError as error:
        return Attack(seed, what, box, None, found, f"{type(error).__name__}: {error}")
    points = []
    if reading.graph.meta(Ref(reading.graph.inputs["x"])).dtype == torch.float64:
        points = [x for _, x in zip(range(3), points_of(SHAPE, box, draw.generator), strict=False)]
    outside = tuple(inside.outside(reading.graph, points, box))
    return Attack(seed, what, box, (bound.lo, bound.hi), found, "", outside)


def main(first, last):
    """Run the models of some seeds, eight boxes each, print what does not hold, and a summary."""
    torch.set_num_threads(1)
    total, finite, refused, broken = 0, 0, 0, 0
    for seed in range(first, last):
        for attack in attacks(seed):
            total += 1
            finite += attack.bound is not None and attack.bound[1] < float("inf")
            refused += attack.bound is None
            broken += not attack.holds
            if not attack.holds:
                print(attack, flush=True)
    print(f"{total} bounds: {broken} false, {finite} finite, {refused} refused")
    return broken


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:3]))))
