"""The command that settles statements of the theory, as they stand or with other values of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leadline.cli.shared import SEED, Named, paged, terminal
from leadline.files.streams import complain
from leadline.key_values import literals

if TYPE_CHECKING:
    from leadline.claims import Finding
    from leadline.document import Document

_EXAMPLES = """\b
Examples:
  leadline claims A1 n=20 w=5
  leadline claims B5 d=1..6 --html b5.html    a page with a slider for d
  leadline claims A4 A7 B3 --html lecture/    one page for each, to print
  leadline claims C1 N=0.6 W=0.3              gradients over a grid
  leadline claims --list                      what can be varied, and how far
"""


@click.command(epilog=_EXAMPLES)
@click.argument("words", nargs=-1, metavar="[A1 [n=20]...]...")
@click.option("--full", is_flag=True, help="Full sizes: many minutes instead of a few.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of everything random.")
@click.option("--counterexamples", type=Named(), help="Folder to write what refutes a claim into.")
@click.option("--list", "listed", is_flag=True, help="List the claims and their parameters, and settle none.")
@paged
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

    KEY=VALUE after a claim varies one of its parameters; KEY=1..6 or KEY=0.5,1,2 settles it at each, for a slider on
    its page. With --html, a name that does not end in .html is a folder
    that gets a page for each claim.
    """
    from leadline.claims import run_claims, save_counterexamples
    from leadline.claims.parameters import separated
    from leadline.claims.sweeps import ranges, sweep
    from leadline.report.claims_document import claims_document, claims_list, claims_record, lecture_page
    from leadline.report.writing import publish, write_page

    if listed:
        publish(claims_list, {}, json=None, html=html)
        return
    ids, given = separated(tuple(words))
    parted = {claim: ranges(values) for claim, values in given.items()}
    settings = {claim: literals(single) for claim, (single, _) in parted.items()}
    with terminal().status("settling claims") as status:
        how: dict[str, Any] = {"seed": seed}
        how["started"] = lambda claim: status.update(f"settling {claim.id}, {claim.title}")
        found = run_claims(ids or None, full=full, settings=settings, **how)
        sweeps = {
            claim: [sweep(claim, letter, values, settings=settings[claim], **how) for letter, values in several.items()]
            for claim, (_, several) in parted.items()
        }
    if counterexamples is not None:
        for path in save_counterexamples(found, counterexamples):
            complain(f"written: {path}")
    command = click.get_current_context().obj or ""
    pages = None if html is None or html.suffix == ".html" else html
    told = partial(claims_document, found, command=command)

    def lecture(finding: Finding) -> Document:
        return lecture_page(finding, command=command, sweeps=sweeps.get(finding.id, ()))

    swept = len(found) == 1 and any(sweeps.values())
    publish(
        lambda: lecture(found[0]) if len(found) == 1 else told(),
        claims_record(found), json=json, html=html if pages is None else None,
        page=partial(lecture, found[0]) if swept else partial(told, detailed=False),
    )  # fmt: skip
    for finding in found if pages is not None else ():
        assert pages is not None
        write_page(pages / f"{finding.id}.html", lecture(finding))
