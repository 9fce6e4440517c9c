"""Data sets of integer symbols: pictures, photographs, speech, text, tones, and a user's own files."""

from leadline.data.batches import Batch, TrainingBatches, evaluation_batches
from leadline.data.catalogue import NAMED, load, load_whole, options_of
from leadline.data.dataset import Dataset, Split

__all__ = [
    "NAMED",
    "Batch",
    "Dataset",
    "Split",
    "TrainingBatches",
    "evaluation_batches",
    "load",
    "load_whole",
    "options_of",
]
