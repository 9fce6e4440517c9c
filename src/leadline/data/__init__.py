"""Data sets: digits, Fashion-MNIST, speech, and a user's folder of wavs or images."""
