"""Jacobians of the eager model: operators, spectra, growth over depth, bounds and mean-field theory."""

from leadline.jacobian._bound import bound
from leadline.jacobian._gradient import GradientDepth, gradient
from leadline.jacobian._jacobian import Jacobian, jacobian
from leadline.jacobian._lyapunov import LyapunovSpectrum, lyapunov
from leadline.jacobian._reach import Reach, reach
from leadline.jacobian._remedies import Remedies, Remedy, remedies
from leadline.jacobian._spectrum import Spectrum, spectrum
from leadline.jacobian.chains.judging import GradientChain, Stage
from leadline.jacobian.laws.distances import DistanceLaw
from leadline.jacobian.laws.growth import GrowthLaw

__all__ = [
    "DistanceLaw",
    "GradientChain",
    "GradientDepth",
    "GrowthLaw",
    "Jacobian",
    "LyapunovSpectrum",
    "Reach",
    "Remedies",
    "Remedy",
    "Spectrum",
    "Stage",
    "bound",
    "gradient",
    "jacobian",
    "lyapunov",
    "reach",
    "remedies",
    "spectrum",
]
