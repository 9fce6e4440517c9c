"""Jacobians as operators, their spectra, growth and bounds."""
