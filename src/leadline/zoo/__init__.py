"""The architectures the theory speaks of, as plain modules."""
