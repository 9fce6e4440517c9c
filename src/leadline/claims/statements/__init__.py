"""The statements of the theory, one module each."""
