"""The abstract domains with one number for each element: the oracle of the compact ones, slow and plainly laid out."""
