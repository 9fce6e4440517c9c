"""Closed forms and mean-field theory, beside which measurements stand."""
