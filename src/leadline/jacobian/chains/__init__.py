"""The chains of a model: which there are, layers of recurrences one by one, and what gradients do through each."""
