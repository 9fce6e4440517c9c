"""What gradients do while a model is trained, in a plain loop or under the loops of others."""
