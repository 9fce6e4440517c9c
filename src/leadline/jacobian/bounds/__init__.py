"""Bounds on how far each operation can stretch a perturbation."""
