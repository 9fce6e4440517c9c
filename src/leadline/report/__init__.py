"""One document model, rendered for terminals, browsers and programs."""
