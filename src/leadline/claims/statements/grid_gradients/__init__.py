"""C1 to C3: gradients over a grid recurrence."""
