"""Sweeps as documents: curves beside theory, and the table of all cells."""
