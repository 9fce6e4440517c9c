"""The grid recurrence as one differentiable operation."""

from leadline.grid.op import grid_lstm, grid_rnn

__all__ = ["grid_lstm", "grid_rnn"]
