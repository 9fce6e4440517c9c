"""`leadline score`: the likelihood of data, and what was scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from leadline.cli.shared import DATA_OPTION, TRUST, Named, of_users_own, say
from leadline.errors import UsageError
from leadline.files.streams import diverted
from leadline.key_values import literals


@click.command()
@click.argument("run")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--part", type=click.Choice(["test", "validation", "train", "all"]),
    help="Default: the test part or, of other files without a division of their own, all.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Score every example: the same as --part all.")
@click.option("--data", help="Another data set, folder or text file of the same kind and levels.")
@DATA_OPTION
@of_users_own
@TRUST
def score(
    run: str, settings: Sequence[str], part: str | None, everything: bool, data: str | None, trust: bool, **how: Any
) -> None:
    """Print the likelihood of data under a trained model, summed over all symbols, and what was scored.

    RUN is a run folder, or file.py:factory of your own, with the weights that it gives its model, and --data.
    """
    from leadline.audit.trained import score_run
    from leadline.audit.users_runs import open_run, users_run

    if everything and part not in (None, "all"):
        raise UsageError(f"--all scores every example; leave out --part {part}")
    options = literals(how.pop("data_option"))
    if ":" in run and not os.path.exists(run):
        if data is None:
            raise UsageError(f"{run} is no run of which the data is known: say what is scored, --data")
        with diverted():  # what a factory prints is no score
            found, data, options = users_run(run, settings, data, options, **how), None, {}
    elif settings or any(value is not None for value in how.values()):
        raise UsageError(f"{run} is read as a run folder: its settings are those it was trained with")
    else:
        with diverted():
            found = open_run(Named().convert(run, None, None), trust=trust)
    with diverted():
        scored = score_run(found, "all" if everything else part, data, options)
    say(str(scored))
