"""What running a model may change, recorded so that it can be put back."""
