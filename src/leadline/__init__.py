"""Take the depth of a neural network before anyone spends compute on it, then run it at that depth.

`check` takes all four depths of a model; `count`, `span`, `generation`, `context`, `causality`, `memory` and `gradient`
take one each. `compare` puts two models side by side.
"""

from leadline.audit import Audit, check
from leadline.comparison import Comparison, compare
from leadline.domains import causality, context, count, generation, memory, span
from leadline.jacobian import gradient
from leadline.results import Bound, Coverage, Estimate, Status

__all__ = [
    "Audit",
    "Bound",
    "Comparison",
    "Coverage",
    "Estimate",
    "Status",
    "causality",
    "check",
    "compare",
    "context",
    "count",
    "generation",
    "gradient",
    "memory",
    "span",
]
