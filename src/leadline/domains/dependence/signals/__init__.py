"""Signals behind products of Fourier transforms."""
