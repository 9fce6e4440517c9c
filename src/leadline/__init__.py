"""Take the depth of a neural network before anyone spends compute on it, then run it at that depth.

- `check` takes all depths of a model, `compare` puts several models side by side; `read` reads a model once, to ask it
  several things;
- `count`, `span`, `generation`, `context`, `causality`, `memory` take one each from the structure of the model;
- `gradient`, `spectrum`, `bound`, `lyapunov` measure and bound its Jacobians;
- `system`, `law`, `stream` describe a causal model as recurrence equations, give its growth laws in closed form, and
  run it one position, or one front of positions, at a time.
"""

from leadline.versions import warn_if_untested

warn_if_untested()  # before anything that an untested torch may lack

from leadline.audit._check import Audit, check
from leadline.audit._compare import Comparison, compare
from leadline.audit._read import DepthReading, read
from leadline.domains import causality, context, count, generation, memory, span
from leadline.jacobian import bound, gradient, lyapunov, spectrum
from leadline.recurrence import law, system
from leadline.results import Bound, Coverage, Estimate, Status
from leadline.sampling import stream

__all__ = [
    "Audit",
    "Bound",
    "Comparison",
    "Coverage",
    "DepthReading",
    "Estimate",
    "Status",
    "bound",
    "causality",
    "check",
    "compare",
    "context",
    "count",
    "generation",
    "gradient",
    "law",
    "lyapunov",
    "memory",
    "read",
    "span",
    "spectrum",
    "stream",
    "system",
]
