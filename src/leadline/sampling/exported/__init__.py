"""Streams outside of Python: their equations as C."""
