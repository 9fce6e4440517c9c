"""How deep each number format carries a gradient that grows or shrinks by a law."""

from __future__ import annotations

import math

import torch

from leadline.jacobian.growth import GrowthLaw

FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


UNREACHABLE = 10**6
"""No network is deeper than this: a power law that needs more is never lost."""


def format_depths(law: GrowthLaw) -> dict[str, int | None]:
    """Return the first depth at which a gradient with entries of size 1 is lost; None: it never is.

    Lost means rounded to zero if the gradient shrinks, and rounded to infinity if it grows.

    Examples
    --------
    >>> from leadline.jacobian.growth import fit_law
    >>> import numpy as np
    >>> format_depths(fit_law(np.log(np.full(10, 0.25))))
    {'float16': 13, 'bfloat16': 67, 'float32': 75}
    """
    return {name: _depth(law, dtype) for name, dtype in FORMATS.items()}


def _depth(law: GrowthLaw, dtype: torch.dtype) -> int | None:
    """Return the first depth at which the law leaves the range of one format."""
    if law.kind == "stable" or law.parameter == 0.0:
        return None
    info = torch.finfo(dtype)
    # Half a unit in the last place above the largest number, and half the smallest subnormal.
    edge = math.log(info.max * (1 + info.eps / 4) if law.parameter > 0 else info.smallest_normal * info.eps / 2)
    depth = edge / law.parameter if law.kind == "exponential" else math.exp(min(edge / law.parameter, 700.0))
    return math.ceil(depth) if depth < UNREACHABLE else None
