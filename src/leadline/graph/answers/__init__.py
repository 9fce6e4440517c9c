"""What a model asks, while it is traced, of values that rest on no input."""
