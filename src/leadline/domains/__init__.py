"""Abstract interpretation over the graph."""
