"""Samplers: the naive oracle, and those derived from a system."""
