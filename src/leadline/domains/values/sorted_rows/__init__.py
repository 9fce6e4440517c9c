"""What is known of values that are made of rows in order: thresholds and supports."""
