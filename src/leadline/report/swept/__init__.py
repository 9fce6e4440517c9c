"""Sweeps as documents: curves and heat maps beside theory, and the table of all cells."""
