"""Jacobians of the eager model: operators, spectra, growth over depth, bounds and mean-field theory."""

from leadline.jacobian.reach import GradientDepth, Stage, gradient

__all__ = ["GradientDepth", "Stage", "gradient"]
