"""The command that settles statements of the theory, as they stand or with other values of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from leadline.cli.shared import SEED, Named, reported, terminal
from leadline.files.streams import complain
from leadline.key_values import literals

_EXAMPLES = """\b
Examples:
  leadline claims A1 n=20 w=5
  leadline claims A4 A7 B3 --html lecture/    one page for each, to print
  leadline claims --list                      what can be varied, and how far
"""


@click.command(epilog=_EXAMPLES)
@click.argument("words", nargs=-1, metavar="[A1 [n=20]...]...")
@click.option("--full", is_flag=True, help="Full sizes: many minutes instead of a few.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of everything random.")
@click.option("--counterexamples", type=Named(), help="Folder to write what refutes a claim into.")
@click.option("--list", "listed", is_flag=True, help="List the claims and their parameters, and settle none.")
@reported
def claims(
    words: Sequence[str],
    full: bool,
    seed: int,
    counterexamples: Path | None,
    listed: bool,
    json: Path | None,
    html: Path | None,
) -> None:
    """Settle the statements of the theory by computing them, all or those named.

    KEY=VALUE after a claim varies one of its parameters. With --html, a name that does not end in .html is a folder
    that gets a page for each claim.
    """
    from leadline.claims import run_claims, save_counterexamples
    from leadline.claims.parameters import separated
    from leadline.report.claims_document import claims_document, claims_list, claims_record, lecture_page
    from leadline.report.writing import publish, write_page

    if listed:
        publish(claims_list, {}, json=None, html=html)
        return
    ids, given = separated(tuple(words))
    settings = {claim: literals(values) for claim, values in given.items()}
    with terminal().status("settling claims") as status:
        found = run_claims(
            ids or None,
            full=full,
            seed=seed,
            settings=settings,
            started=lambda claim: status.update(f"settling {claim.id}, {claim.title}"),
        )
    if counterexamples is not None:
        for path in save_counterexamples(found, counterexamples):
            complain(f"written: {path}")
    command = click.get_current_context().obj or ""
    pages = None if html is None or html.suffix == ".html" else html
    told = partial(claims_document, found, command=command)
    publish(
        lambda: lecture_page(found[0], command=command) if len(found) == 1 else told(),
        claims_record(found), json=json, html=html if pages is None else None, page=partial(told, detailed=False),
    )  # fmt: skip
    for finding in found if pages is not None else ():
        assert pages is not None
        write_page(pages / f"{finding.id}.html", lecture_page(finding, command=command))
