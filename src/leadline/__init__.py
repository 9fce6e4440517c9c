"""Take the depth of a neural network before anyone spends compute on it, then run it at that depth.

- `check` takes all depths of a model, `compare` puts several models side by side; `read` reads a model once, to ask it
  several things;
- `count`, `span`, `generation`, `context`, `causality`, `memory` take one each from the structure of the model;
- `gradient`, `spectrum`, `bound`, `lyapunov` measure and bound its Jacobians, `reach` those between positions;
  `remedies` tries what mends a gradient that vanishes or explodes;
- `monitor` watches gradients while a model is trained, `sweep` measures models over grids of settings;
- `system`, `law`, `stream` describe a causal model as recurrence equations, give its growth laws in closed form, and
  run it one position, or one front of positions, at a time.

Names are loaded when they are first asked for: importing leadline is quick, and does not import torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from leadline.versions import warn_if_untested

warn_if_untested()  # before anything that an untested torch may lack

if TYPE_CHECKING:
    from leadline.audit._check import check
    from leadline.audit._compare import Comparison, compare
    from leadline.audit._read import DepthReading, read
    from leadline.audit.audited import Audit
    from leadline.domains import causality, context, count, generation, memory, span
    from leadline.jacobian import bound, gradient, lyapunov, reach, remedies, spectrum
    from leadline.recurrence import law, system
    from leadline.results import Bound, Coverage, Estimate, Status
    from leadline.sampling import stream
    from leadline.sweeps import sweep
    from leadline.training.monitoring._monitor import monitor

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
    "monitor",
    "reach",
    "read",
    "remedies",
    "span",
    "spectrum",
    "stream",
    "sweep",
    "system",
]

_HOMES = {
    "Audit": "audit.audited",
    "Bound": "results",
    "Comparison": "audit._compare",
    "Coverage": "results",
    "DepthReading": "audit._read",
    "Estimate": "results",
    "Status": "results",
    "bound": "jacobian",
    "causality": "domains",
    "check": "audit._check",
    "compare": "audit._compare",
    "context": "domains",
    "count": "domains",
    "generation": "domains",
    "gradient": "jacobian",
    "law": "recurrence",
    "lyapunov": "jacobian",
    "memory": "domains",
    "monitor": "training.monitoring._monitor",
    "reach": "jacobian",
    "read": "audit._read",
    "remedies": "jacobian",
    "span": "domains",
    "spectrum": "jacobian",
    "stream": "sampling",
    "sweep": "sweeps",
    "system": "recurrence",
}
"""The module that holds each public name; a test compares them with what type checkers read above."""


def __getattr__(name: str) -> Any:
    """Load a public name, or a room of the package, when it is first asked for."""
    if name in _HOMES:
        found: Any = getattr(import_module(f"leadline.{_HOMES[name]}"), name)
    elif not name.startswith("_") and find_spec(f"leadline.{name}") is not None:
        found = import_module(f"leadline.{name}")
    else:
        raise AttributeError(f"module 'leadline' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
