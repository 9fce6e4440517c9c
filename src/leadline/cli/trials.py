"""The command that tries whether the verdict at initialisation predicts training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from leadline.cli.shared import Named, reported, terminal
from leadline.files.streams import diverted

_TASKS = """\b
Tasks:
  bn-placement  digits, by stacks with batch normalisation at one of four placements
  residual      digits, by layers with and without skip connections, of several scales
  adding        two marked numbers of a sequence, by RNN, GRU and LSTM with a forget_bias
  copy          symbols said again after a while, by the same
  mqar          values recalled by their keys, by attention, linear attention and state spaces
"""
_EXAMPLES = """\b
Examples:
  leadline trial bn-placement --out out/placements --html placements.html
  leadline trial bn-placement layers=5,20,80 steps=200 --seeds 3 --out out/deeper
  leadline trial adding cell=lstm forget_bias=0:4 length=20,60,100 --out out/forget
  leadline trial mqar pairs=4,12,30 --out out/recall --html recall.html
"""


@click.command(epilog=f"{_TASKS}\n{_EXAMPLES}")
@click.argument("name", metavar="TASK")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUES]...")
@click.option("--out", type=Named(), required=True, help="Folder of verdicts and lessons, each with its table.parquet.")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="How many, from 0 on.")
@click.option("--workers", type=click.IntRange(0), help="Processes of one thread; 0: none but this one.")
@click.option("--scheduler", metavar="tcp://…", help="A Dask scheduler, whose workers see the folder.")
@reported
def trial(name: str, settings: Sequence[str], out: Path, json: Path | None, html: Path | None, **how: Any) -> int:
    """Judge the models of TASK before training, train each for a fixed budget, and correlate the ranks.

    KEY=4,8,16 takes the place of the task's own values. Called again, a trial goes on where it was.
    """
    from leadline.report.swept.trials import describe_trial
    from leadline.report.writing import publish
    from leadline.sweeps.grid import values_of
    from leadline.sweeps.trials._trial import trial as tried

    values = {key: list(texts) for key, texts in values_of(settings).items()}
    with diverted():
        found = tried(name, out, settings=values, console=terminal(), **how)
    command = click.get_current_context().obj or ""
    publish(lambda: describe_trial(found, command), found.to_dict(), json=json, html=html)
    return int(found.failed > 0)
