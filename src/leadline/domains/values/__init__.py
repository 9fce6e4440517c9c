"""What is known of values: constant propagation, and intervals."""
