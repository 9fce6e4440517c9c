"""Trials: whether the verdict at initialisation says how well a model will have been trained after a fixed budget."""
