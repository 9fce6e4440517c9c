"""Symbols that follow one another within a point of the grid."""
