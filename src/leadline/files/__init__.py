"""Users' files: the one way to write them, and the one way to read them."""
