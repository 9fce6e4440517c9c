"""What follows from a system of recurrence equations: depth, schedules, context, state."""
