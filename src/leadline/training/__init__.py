"""Training density models by maximum likelihood: one loop, checkpoints that resume bit for bit, scores."""

from leadline.training.checkpoint import load_checkpoint, save_checkpoint
from leadline.training.config import TrainConfig
from leadline.training.folder import Run, RunFolder, RunResult, load_run
from leadline.training.loop import train
from leadline.training.monitoring._monitor import Monitor
from leadline.training.monitoring.callbacks import lightning_callback, trainer_callback
from leadline.training.monitoring.moments import Moment
from leadline.training.scoring import Score, score, symbol_nats

__all__ = [
    "Moment",
    "Monitor",
    "Run",
    "RunFolder",
    "RunResult",
    "Score",
    "TrainConfig",
    "lightning_callback",
    "load_checkpoint",
    "load_run",
    "save_checkpoint",
    "score",
    "symbol_nats",
    "train",
    "trainer_callback",
]
