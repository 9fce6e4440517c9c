"""All depths of one model, composed, and of several side by side; finding a model by its name."""

from leadline.audit._check import Audit, Unavailable, check
from leadline.audit._compare import Comparison, Trial, compare, compare_named
from leadline.audit._read import DepthReading, read

__all__ = [
    "Audit",
    "Comparison",
    "DepthReading",
    "Trial",
    "Unavailable",
    "check",
    "compare",
    "compare_named",
    "read",
]
