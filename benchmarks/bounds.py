"""Bounds against measured norms: 125 random networks of each of ten classes, and how loose the bounds are.

The networks are those of the tests (`tests/helpers/bounded.py`); each is measured at three random inputs. A norm above
its bound would be an error, which the script raises. Run as ``python benchmarks/bounds.py``; the table goes to
``benchmarks/results/bounds.md``.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.bounded import CLASSES, measured_against_bound

RESULTS = Path(__file__).parent / "results" / "bounds.md"
EACH = 125


def slack(kind: str) -> list[float]:
    """Return bound over measured norm for every network of a class, in order."""
    ratios = []
    for seed in range(EACH):
        found, low, high = measured_against_bound(kind, seed)
        if high > found.hi or low < found.lo * (1 - 1e-12):
            raise AssertionError(f"{kind}, seed {seed}: singular values in [{low}, {high}], bound {found}")
        if high > 0:
            ratios.append(found.hi / high)
    return sorted(ratios)


def main() -> None:
    """Measure all classes and write the table."""
    rows = ["| class | networks | least slack | median slack |", "|---|---|---|---|"]
    for kind in sorted(CLASSES):
        ratios = slack(kind)
        rows.append(f"| {kind} | {EACH} | {ratios[0]:.4g} × | {statistics.median(ratios):.4g} × |")
        print(rows[-1], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
