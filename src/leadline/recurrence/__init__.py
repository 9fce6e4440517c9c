"""Systems of uniform recurrence equations."""
