"""One training loop, its checkpoints and its run folders."""
