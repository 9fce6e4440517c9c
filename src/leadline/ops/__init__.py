"""The grid recurrence as one differentiable operation."""

from leadline.ops.grid import grid_lstm, grid_rnn

__all__ = ["grid_lstm", "grid_rnn"]
