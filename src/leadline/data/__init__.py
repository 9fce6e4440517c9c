"""Data sets of integer symbols: digits, Fashion-MNIST, speech, tones, and a user's folder of wavs or pictures."""

from leadline.data.batches import Batch, TrainingBatches, evaluation_batches
from leadline.data.catalogue import NAMED, load
from leadline.data.dataset import Dataset, Split

__all__ = ["NAMED", "Batch", "Dataset", "Split", "TrainingBatches", "evaluation_batches", "load"]
