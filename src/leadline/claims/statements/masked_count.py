"""B2: connections of a PixelCNN."""

from dataclasses import dataclass

from leadline.claims.claim import Claim, Effort, Evidence, Outcome, exact
from leadline.claims.grids import H, W, per_point, same_law
from leadline.claims.settling import exhausted
from leadline.domains import count
from leadline.recurrence.analysis.connections import connections, count_at, in_region, region
from leadline.recurrence.examples import convolutions, mask
from leadline.recurrence.ir import Offset, System
from leadline.zoo import build

SIZES = [(h, w) for h in range(1, 7) for w in range(1, 7)]


@dataclass(frozen=True)
class MaskedCount:
    """The offsets that the first (mask A) and all later layers (mask B) of a PixelCNN see."""

    first: tuple[Offset, ...] = mask(1, centre=False)
    later: tuple[Offset, ...] = mask(1, centre=True)


def settle(of: MaskedCount, effort: Effort) -> Evidence:
    """Count from the taps, for all sizes, and compare with the paper's number, with the law and with real modules."""
    laws = [
        (
            f"mask {name}, k = {k}",
            in_region(connections(convolutions([taps], k=k))),
            k**2 * (n * H * W - 3 * H - 3 * W + 2),
        )
        for name, taps, n in (("A", of.first, 4), ("B", of.later, 5))
        for k in (1, 2, 3)
    ]
    statement = "a 3 × 3 layer of mask A has k²(4HW - 3H - 3W + 2) connections, of mask B k²(5HW - 3H - 3W + 2)"
    systems = {"mask A": convolutions([of.first]), "mask B": convolutions([of.later])}
    inner = in_region(connections(systems["mask A"]))
    return Evidence(
        claimed=(_without_borders(of),),
        instead=(same_law(statement, laws), _tap_by_tap(of)),
        compared=(_real(of, effort),),
        quantities=(
            exact("mask A, k = 1, 28 × 28", int(inner.subs({H: 28, W: 28}))),
            exact("the paper there", 4 * 28 * 28),
            *(
                exact(f"{name}, {_from(system)}", f"k²({in_region(connections(system))})")
                for name, system in systems.items()
            ),
        ),
        picture=per_point(systems, "the paper", 4),
    )


def _from(system: System) -> str:
    return ", ".join(f"{axis.upper()} ≥ {size}" for axis, size in region(system).items())


def _without_borders(of: MaskedCount) -> Outcome:
    system = connections(convolutions([of.first]))
    return exhausted(
        "a layer of mask A has 4 k² H W connections",
        ({"H": h, "W": w} for h, w in SIZES),
        lambda H, W: 4 * H * W,
        lambda H, W: count_at(system, convolutions([of.first]), {"h": H, "w": W}),
    )


def _tap_by_tap(of: MaskedCount) -> Outcome:
    """Count pairs of existing pixels, one by one."""

    def pairs(H: int, W: int, later: int) -> int:
        taps = of.later if later else of.first
        return sum(0 <= i - a < H and 0 <= j - b < W for i in range(H) for j in range(W) for a, b in taps)

    def closed(H: int, W: int, later: int) -> int:
        taps = of.later if later else of.first
        return sum(max(0, H - abs(a)) * max(0, W - abs(b)) for a, b in taps)

    cases = ({"H": h, "W": w, "later": later} for h, w in SIZES for later in (0, 1))
    return exhausted("a tap (a, b) contributes max(0, H-|a|) · max(0, W-|b|) · k²", cases, closed, pairs)


def _real(of: MaskedCount, effort: Effort) -> Outcome:
    """Count the zoo's own modules at element level, where no layer starts from constants."""

    def derived(H: int, W: int, layers: int, later: int) -> int:
        system = convolutions([of.later if later else of.first] * layers, k=2)
        return count_at(connections(system), system, {"h": H, "w": W})

    def found(H: int, W: int, layers: int, later: int) -> int:
        settings = {"layers": layers, "first": "B" if later else "A", "channels": 2, "height": H, "width": W}
        stack = build("masked-stack", batch=1, **settings)
        return count(stack.model, *stack.inputs).connections

    sizes = [(h, w) for h in range(2, 7) for w in range(2, 7)] if effort.full else [(5, 3), (8, 8)]
    cases = ({"H": h, "W": w, "layers": d, "later": later} for h, w in sizes for d, later in ((1, 0), (1, 1), (3, 1)))
    return exhausted("the zoo's masked convolutions have as many, k = 2", cases, derived, found)


CLAIM = Claim(
    id="B2",
    title="PixelCNN: connections",
    statement="One 3 × 3 masked layer of k channels over an H × W image has 4 k² H W connections.",
    paper="4 k² H W a layer.",
    mathematics=MaskedCount(),
    settle=settle,
)
