"""B6: which earlier pixels a PixelCNN and an MDRNN see."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, exact
from leadline.claims.counterexample import Counterexample
from leadline.claims.grids import grid_density
from leadline.claims.settling import exhausted
from leadline.document import GridMap
from leadline.domains import context
from leadline.recurrence.analysis.receptive_field import seen_from
from leadline.recurrence.examples import NORTH_AND_WEST, masked
from leadline.recurrence.ir import Offset, System
from leadline.zoo import build
from leadline.zoo.mdrnn import MDRNN, MDRNNConfig

Pixel = tuple[int, int]


@dataclass(frozen=True)
class Sight:
    """The offsets at which an MDRNN's cell reads its own layer, and the grid on which every pixel is asked."""

    taps: tuple[Offset, ...] = NORTH_AND_WEST
    height: int = 6
    width: int = 7

    def __post_init__(self) -> None:
        if self.height < 3 or self.width < 2:
            raise ValueError(f"the grid has 3 rows and 2 columns at least, not {self.height} and {self.width}")

    @property
    def asked(self) -> Pixel:
        """The pixel that examples speak of: in the middle of the last row."""
        return self.height - 1, self.width // 2

    @property
    def places(self) -> list[Pixel]:
        """All pixels."""
        return [(i, j) for i in range(self.height) for j in range(self.width)]


def settle(of: Sight, effort: Effort) -> Evidence:
    """Close the taps over the grid, pixel by pixel, and compare with what is said of the context."""
    mdrnn = grid_density(of.taps, 1)
    deep = masked(of.height + of.width)  # deeper than any path within the grid
    return Evidence(
        claimed=(
            _four(of),
            _sees(of, mdrnn, "an MDRNN looks at all previous pixels", lambda i, j, a, b: (a, b) < (i, j)),
        ),
        instead=(
            _sees(
                of,
                mdrnn,
                "an MDRNN sees (i', j') just if i' ≤ i and j' ≤ j: i (W-1-j) earlier pixels are never seen",
                lambda i, j, a, b: (a, b) < (i, j) and b <= j,
            ),
            *(_wedge(of, d) for d in (1, 2, 3)),
            _counted(effort),
            _sees(
                of,
                deep,
                "at any depth a PixelCNN sees just the earlier pixels that lie no further to the right than up",
                lambda i, j, a, b: (a, b) < (i, j) and b - j <= i - a,
            ),
            _real(of),
        ),
        quantities=(
            exact(f"earlier pixels that an MDRNN never sees from {of.asked}", _blind(mdrnn, of, of.asked)),
            exact("those that a PixelCNN of any depth never sees from there", _blind(deep, of, of.asked)),
        ),
        picture=_picture(of),
    )


def _seen(system: System, of: Sight, place: Pixel) -> NDArray[np.bool_]:
    return np.asarray(seen_from(system, place, (of.height, of.width))["x"], bool)


def _blind(system: System, of: Sight, place: Pixel) -> int:
    return place[0] * of.width + place[1] - int(_seen(system, of, place).sum())


def _sees(of: Sight, system: System, statement: str, claimed: Callable[[int, int, int, int], bool]) -> Outcome:
    """Compare, from every pixel, the pixels that are seen with those that are said to be."""
    for i, j in of.places:
        seen = _seen(system, of, (i, j))
        for a, b in of.places:
            if bool(seen[a, b]) != claimed(i, j, a, b):
                is_so = "is" if seen[a, b] else "is not"
                values: dict[str, int | float | str] = {
                    "from": f"{i}, {j}",
                    "pixel": f"{a}, {b}",
                    "height": of.height,
                    "width": of.width,
                    "seen": int(seen[a, b]),
                }
                evidence = f"on {of.height} × {of.width}, ({a}, {b}) {is_so} seen from ({i}, {j})"
                case = Counterexample(statement, values, {"seen": seen.astype(np.int64)})
                return Outcome(statement, False, Grounds.EXHAUSTIVE, evidence, case)
    evidence = f"closure of the taps from all {len(of.places)} pixels of a {of.height} × {of.width} grid"
    return Outcome(statement, True, Grounds.EXHAUSTIVE, evidence)


def _four(of: Sight) -> Outcome:
    """Take the paper at its word: it speaks of networks, not of single layers."""
    return exhausted(
        "a PixelCNN looks at 4 other pixels only",
        ({"d": d} for d in (1, 2, 3)),
        lambda **_: 4,
        lambda d: int(_seen(masked(d), of, of.asked).sum()),
    )


def _wedge(of: Sight, d: int) -> Outcome:
    """Compare the shape, borders included."""

    def inside(i: int, j: int, a: int, b: int) -> bool:
        up, right = i - a, b - j
        return (1 <= up <= d and -d <= right <= up) or (up == 0 and -d <= right < 0)

    layers = f"{d} layer{'s' * (d > 1)}"
    return _sees(of, masked(d), f"{layers} of 3 × 3 see {d} to the left and, a ≤ {d} rows up, -{d} … a columns", inside)


def _counted(effort: Effort) -> Outcome:
    """Count, away from borders."""

    def pixels(d: int) -> int:
        size = 2 * d + 3
        return int(seen_from(masked(d), (size - 1, size // 2 + 1), (size, size + 2))["x"].sum())

    cases = ({"d": d} for d in range(1, effort.pick(7, 13)))
    return exhausted("that is (3d² + 5d)/2 pixels", cases, lambda d: (3 * d * d + 5 * d) // 2, pixels)


def _real(of: Sight) -> Outcome:
    """Ask the graph level about the zoo's own networks, at a few pixels."""
    statement = "the zoo's MDRNN and masked stack see just what their taps say"
    stack = build("masked-stack", layers=2, channels=1, batch=1, height=of.height, width=of.width)
    mdrnn = MDRNN(MDRNNConfig(2, of.height, of.width, embedding=1, hidden=2, layers=1, head=2))
    image = torch.zeros(1, of.height, of.width, dtype=torch.long)
    for place in (of.asked, (2, 1)):
        found = [
            context(stack.model, *stack.inputs, position=place, layout=stack.layout).map,
            context(mdrnn, image, position=place, layout="b h w -> b h w v").map,
        ]
        expected = [_seen(masked(2), of, place), _seen(grid_density(of.taps, 1), of, place)]
        for name, real, derived in zip(("masked stack", "MDRNN"), found, expected, strict=True):
            if not np.array_equal(real.numpy(), derived):
                case = Counterexample(statement, {"network": name}, {"seen": real.numpy().astype(np.int64)})
                return Outcome(statement, False, Grounds.EXHAUSTIVE, f"the {name} differs at {place}", case)
    return Outcome(statement, True, Grounds.EXHAUSTIVE, "dependence maps of two pixels of each, equal pixel by pixel")


def _picture(of: Sight) -> GridMap:
    """Two maps side by side: the pixel, what it sees, what it will see with more layers, what it never sees."""
    place = of.asked
    maps = [
        _classes(of, place, masked(2), masked(of.height + of.width)),
        _classes(of, place, grid_density(of.taps, 1), grid_density(of.taps, 2)),
    ]
    gap = np.full((of.height, 2), 5, np.int64)
    legend = (
        ("+", "later"),
        ("#", "seen"),
        ("o", "out of reach at this depth"),
        (".", "blind at any depth"),
        ("@", "the pixel"),
        (" ", " "),
    )
    caption = "What one pixel sees: PixelCNN of 2 layers (left), MDRNN (right)"
    return GridMap(np.concatenate([maps[0], gap, maps[1]], axis=1), legend, caption)


def _classes(of: Sight, place: Pixel, system: System, deeper: System) -> NDArray[np.int64]:
    cells = np.zeros((of.height, of.width), np.int64)
    earlier = np.arange(of.height * of.width).reshape(of.height, of.width) < place[0] * of.width + place[1]
    cells[earlier] = 3
    cells[_seen(deeper, of, place)] = 2
    cells[_seen(system, of, place)] = 1
    cells[place] = 4
    return cells


CLAIM = Claim(
    id="B6",
    title="Context",
    statement="A PixelCNN looks only at 4 other pixels, an MDRNN at all previous ones.",
    paper="PixelCNN only looks at 4 other pixels; MDRNN looks at all previous pixels.",
    mathematics=Sight(),
    settle=settle,
)
