"""The command that tries whether the verdict at initialisation predicts training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from leadline.cli.shared import Named, reported, spread, terminal
from leadline.files.streams import diverted

_TASKS = """\b
Tasks, with the settings that are gone through where none are given:
  bn-placement  digits, by stacks with batch normalisation at one of four placements
                placement=plain,branch,before,after layers=10,40 lr=0.03,0.1,0.3
  residual      digits, by layers with and without skip connections, of several scales
                skip=False,True scale=0.1,0.5,1.0 layers=5,20 lr=0.0001,0.001,0.01,0.1
  adding        two marked numbers of a sequence, by RNN, GRU and LSTM with a forget_bias
                cell=rnn,gru,lstm forget_bias=0.0,3.0 length=20,40 lr=0.003,0.01
  copy          symbols said again after a while, by the same
                cell=rnn,gru,lstm forget_bias=0.0,3.0 length=8,16 lr=0.003,0.01
  mqar          values recalled by their keys, by attention, linear attention and state spaces
                mixer=attention,linear,state-space layers=2 pairs=4,12 lr=0.003,0.01
  text          the next byte of English, by attention, a gated state space and LSTM
                mixer=attention,gated,lstm skip=True,False layers=2,4 length=32 lr=0.003,0.01

Beside them there are steps=, batch= and width= (hidden= of adding and copy), mixer= of linear and state-space for
text, of gated for mqar, and forget_bias= of whatever has gates. Of several lr each model takes the one that
does best on validation. Each task takes minutes of one core with five seeds; text files of your own are not read.
"""
_EXAMPLES = """\b
Examples:
  leadline trial bn-placement --out out/placements --html placements.html
  leadline trial bn-placement layers=5,20,80 steps=200 --seeds 3 --out out/deeper
  leadline trial adding cell=lstm forget_bias=0:4 length=20,60,100 --out out/forget
  leadline trial mqar pairs=4,12,30 --out out/recall --html recall.html
  leadline trial text mixer=lstm,gated forget_bias=0,2 skip=True width=32,64 --jobs 2 --out out/text
"""


@click.command(epilog=f"{_TASKS}\n{_EXAMPLES}")
@click.argument("name", metavar="TASK")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUES]...")
@click.option("--out", type=Named(), required=True, help="Folder of verdicts and lessons, each with its table.parquet.")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="How many, from 0 on.")
@spread
@reported
def trial(name: str, settings: Sequence[str], out: Path, json: Path | None, html: Path | None, **how: Any) -> int:
    """Ask whether the verdict on untrained models predicts how well they train.

    The models of TASK are judged as they are built: by the growth of the gradient, where number formats lose it, and
    how far it reaches. Each is then trained for a fixed budget, the same for all, and the ranks before and after are
    correlated. KEY=4,8,16 takes the place of the task's own values. Called again with the same --out, a trial goes on
    where it was.
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
