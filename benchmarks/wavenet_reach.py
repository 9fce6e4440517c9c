"""How much of the 2^d positions that a WaveNet sees its gradient uses, at initialisation and after a short training.

``python benchmarks/wavenet_reach.py`` (some minutes): each model is trained for the same number of steps on the notes
that come with leadline, in one thread. Writes ``results/wavenet_reach.json`` and ``wavenet_reach.md``, without timings.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from statistics import mean
from tempfile import TemporaryDirectory

from tables import Row, record
from torch import Tensor, nn

from leadline import reach
from leadline.audit.named_model import NamedModel, find_model
from leadline.cli import main
from leadline.jacobian import Reach
from leadline.zoo import build

COLUMNS = (
    "d",
    "positions seen",
    "99 % of the squared gradient lies in, at first",
    "within",
    "bits/dim after 400 steps",
    "then in",
    "then within",
)
SIZES = {"channels": 16, "skip": 32, "head": 32}
TRAINING = ("--data", "tones", "--steps", "400", "--train", "batch=4", "--train", "threads=1")


def rows() -> Iterator[Row]:
    """Measure each depth."""
    for depth in (4, 6, 8):
        settings = {**SIZES, "layers": depth, "length": 2**depth + 1}
        with TemporaryDirectory() as folder:
            words = [f"{name}={value}" for name, value in settings.items()]
            trained = _trained(words, f"{folder}/run")
            (x,) = trained.inputs
            after = _from_the_end(trained.model, x)
            bits = trained.run.result.test.bits_per_dim if trained.run and trained.run.result else float("nan")
        before = [_from_the_end(build("wavenet", seed=seed, **settings).model, x) for seed in range(3)]
        yield dict(
            zip(
                COLUMNS,
                (
                    depth,
                    after.seen,
                    f"{mean(map(_used, before)):.1f} positions, {mean(map(_share, before)):.1%}",
                    f"{mean(each.within(0.99) for each in before):.0f} steps",
                    f"{bits:.2f}",
                    f"{_used(after)} positions, {_share(after):.1%}",
                    f"{after.within(0.99)} steps",
                ),
                strict=True,
            )
        )


def _trained(words: list[str], folder: str) -> NamedModel:
    """Train a model as the command line does."""
    try:
        main(["train", "wavenet", *words, *TRAINING, "--run", folder])
    except SystemExit as ended:
        if ended.code:
            raise
    return find_model(folder, [])


def _from_the_end(model: nn.Module, x: Tensor) -> Reach:
    return reach(model, x, layout="b t -> b t v", positions=[x.shape[1] - 1], probes=32)


def _share(found: Reach) -> float:
    if found.used is None:
        raise SystemExit("the context is not known, so neither is the part of it that is used")
    return found.used


def _used(found: Reach) -> int:
    """Return how many positions hold 99 % of the squared gradient."""
    return round(_share(found) * (found.seen or 0))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    record("wavenet_reach", COLUMNS, rows())
