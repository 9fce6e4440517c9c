"""Trains a tiny model in a run folder, or goes on where it was killed: the subprocess of the tests of resumption."""

import sys

from helpers.densities import build_tiny

from leadline.data import load
from leadline.training import TrainConfig, train

if __name__ == "__main__":
    path, steps = sys.argv[1], int(sys.argv[2])
    config = TrainConfig(
        steps=steps, batch=8, warmup=5, validate_every=7, checkpoint_every=3, shift=1, seed=3, threads=1, device="cpu"
    )
    data = load("digits", binarise="dynamic")
    train("tiny", {"classes": 2, "dropout": 0.5}, data, config, path, resume=True, build=build_tiny)
