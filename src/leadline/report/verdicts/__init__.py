"""Verdicts: of every result what is the case, how that is known, and what to do about it, in plain words."""

from leadline.report.verdicts import jacobians, structures
from leadline.report.verdicts.cards import cards

__all__ = ["cards", "jacobians", "structures"]
