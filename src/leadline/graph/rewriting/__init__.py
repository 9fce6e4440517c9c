"""Graphs and operations written in other operations, which have rules."""
