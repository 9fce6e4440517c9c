"""Training density models by maximum likelihood: one loop, checkpoints that resume bit for bit, scores."""

from leadline.training.checkpoint import load_checkpoint, save_checkpoint
from leadline.training.config import TrainConfig
from leadline.training.folder import Run, RunFolder, RunResult, load_run
from leadline.training.loop import train
from leadline.training.scoring import Score, score, symbol_nats

__all__ = [
    "Run",
    "RunFolder",
    "RunResult",
    "Score",
    "TrainConfig",
    "load_checkpoint",
    "load_run",
    "save_checkpoint",
    "score",
    "symbol_nats",
    "train",
]
