"""From an nn.Module to an immutable graph of ATen operations."""
