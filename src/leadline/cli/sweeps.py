"""The command that measures a model over a grid of settings and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from leadline.cli.shared import Named, reported, spread, terminal
from leadline.files.streams import diverted

_EXAMPLES = """\b
Examples:
  leadline sweep mlp layers=10,50 sigma_w=0.5:3:0.25 width=64 --seeds 3 --measure gradient.rate --out out/phases
  leadline sweep lstm forget_bias=0:3 length=100 --measure 'reach.half_life, gradient.rate' --out out/forget
  leadline sweep my_model.py:factory width=64,128 --measure count.macs,memory.peak --out out/mine
"""


@click.command(epilog=_EXAMPLES)
@click.argument("model")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUES]...")
@click.option("--measure", required=True, help="What is measured: 'gradient.rate, reach.within(0.9), count.macs'.")
@click.option("--out", type=Named(), required=True, help="Folder of the cells and of table.parquet.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many, from 0 on.")
@click.option("--layout", help="Axes in einops notation, e.g. 'b t -> b t v'; '_' for conditioning.")
@click.option(
    "--train", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="Train each cell for so long."
)
@click.option("--data", default="digits", show_default=True, help="What is trained on.")
@spread
@reported
def sweep(
    model: str,
    settings: Sequence[str],
    measure: str,
    out: Path,
    json: Path | None,
    html: Path | None,
    **how: Any,
) -> int:
    """Measure MODEL at every combination of settings, with several seeds; called again, it goes on where it was.

    KEY=4,8,16 takes each value, KEY=0.5:3:0.5 those from one to another, KEY=VALUE one. Cells that failed are tried
    again by the next call.
    """
    from leadline.report.swept.document import describe_sweep
    from leadline.report.writing import publish
    from leadline.sweeps import sweep as measured
    from leadline.sweeps.grid import values_of

    values = {name: list(texts) for name, texts in values_of(settings).items()}
    with diverted():
        found = measured(model, values, measure, out, console=terminal(), **how)
    command = click.get_current_context().obj or ""
    publish(lambda: describe_sweep(found, command), found.to_dict(), json=json, html=html)
    return int(found.failed > 0)
