"""Sweeps: grids of settings and seeds, measured on many workers; and trials, which train what they have judged."""

from leadline.sweeps._sweep import Sweep, sweep
from leadline.sweeps.swept import Swept
from leadline.sweeps.trials._trial import Tried, trial

__all__ = ["Sweep", "Swept", "Tried", "sweep", "trial"]
