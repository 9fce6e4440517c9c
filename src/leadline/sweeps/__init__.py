"""Sweeps: grids of settings and seeds, measured on as many workers as there are."""

from leadline.sweeps._sweep import Sweep, sweep
from leadline.sweeps.swept import Swept

__all__ = ["Sweep", "Swept", "sweep"]
