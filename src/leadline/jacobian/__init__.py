"""Jacobians of the eager model: operators, spectra, growth over depth, bounds and mean-field theory."""

from leadline.jacobian.certified import bound
from leadline.jacobian.eager import Jacobian, jacobian
from leadline.jacobian.exponents import LyapunovSpectrum, lyapunov
from leadline.jacobian.growth import GrowthLaw
from leadline.jacobian.reach import GradientDepth, Stage, gradient
from leadline.jacobian.singular import Spectrum, spectrum

__all__ = [
    "GradientDepth",
    "GrowthLaw",
    "Jacobian",
    "LyapunovSpectrum",
    "Spectrum",
    "Stage",
    "bound",
    "gradient",
    "jacobian",
    "lyapunov",
    "spectrum",
]
