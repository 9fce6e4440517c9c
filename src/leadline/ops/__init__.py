"""The grid recurrence as one differentiable operation."""
