"""Findings as a document: one table of verdicts, then a section for each claim."""

from collections.abc import Sequence
from typing import Any

from leadline.claims.claim import Finding, Outcome, Quantity
from leadline.document import Block, Document, Section, Table, Text
from leadline.results import FORMAT, Bound, Estimate


def claims_document(findings: Sequence[Finding], *, detailed: bool = True) -> Document:
    """Lay out findings; the terminal wants the table, `detailed` adds a section with a figure for each claim.

    Examples
    --------
    >>> from leadline.claims import run_claims
    >>> claims_document(run_claims(["A1"])).sections[0].blocks[0].rows[0][:3]
    ('A1', 'Sigmoid chain', 'proved')
    """
    seconds = sum(finding.seconds for finding in findings)
    sizes = "full sizes" if any(finding.effort.full for finding in findings) else "default sizes"
    subtitle = f"{len(findings)} claims settled in {seconds:.0f} s, {sizes}"
    rows = tuple((f.id, f.title, f.verdict.value, _reason(f), f"{f.seconds:.1f} s") for f in findings)
    summary = Section("Verdicts", (Table(("claim", "about", "verdict", "because", "time"), rows),))
    details = tuple(_section(finding) for finding in findings) if detailed else ()
    return Document("What is true of gradients and of autoregressive models", subtitle, (summary, *details))


def _reason(finding: Finding) -> str:
    """Say in one line what decided: the first failure, or what was shown."""
    evidence = finding.evidence
    failed = next((outcome for outcome in evidence.claimed if not outcome.holds), None)
    if failed is None:
        return finding.statement
    better = next((outcome.statement for outcome in evidence.instead if outcome.holds), None)
    against = f"not so: {failed.statement} ({failed.evidence})"
    return f"{against}; instead: {better}" if better and finding.verdict == "corrected" else against


def _section(finding: Finding) -> Section:
    paper = f"The paper: {finding.paper}" if finding.paper else "The paper left this blank."
    tests = tuple(_row(role, outcome) for role, outcome in finding.evidence.outcomes)
    table = Table(("role", "statement", "holds", "grounds", "evidence"), tests)
    blocks: list[Block] = [Text(f"{finding.verdict.value}: {finding.statement}"), Text(paper), table]
    if finding.evidence.quantities:
        rows = tuple((quantity.name, str(quantity)) for quantity in finding.evidence.quantities)
        blocks.append(Table(("figure", "value"), rows))
    if finding.evidence.picture is not None:
        blocks.append(finding.evidence.picture)
    return Section(f"{finding.id} {finding.title}", tuple(blocks))


def _row(role: str, outcome: Outcome) -> tuple[str, ...]:
    holds = "yes" if outcome.holds else "no, counterexample kept" if outcome.counterexample else "no"
    return role, outcome.statement, holds, outcome.grounds.value, outcome.evidence


def claims_record(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what JSON holds: ``{…, "claims": [{"id": "A1", "verdict": …, …}]}``."""
    return {"format": FORMAT, "type": "Findings", "claims": [finding_record(finding) for finding in findings]}


def finding_record(finding: Finding) -> dict[str, Any]:
    """Return what JSON holds of one claim."""
    return {
        "id": finding.id,
        "title": finding.title,
        "verdict": finding.verdict,
        "statement": finding.statement,
        "paper": finding.paper,
        "tests": [{"role": role} | _test(outcome) for role, outcome in finding.evidence.outcomes],
        "figures": [_figure(quantity) for quantity in finding.evidence.quantities],
        "mathematics": finding.mathematics,
        "full": finding.effort.full,
        "seed": finding.effort.seed,
        "seconds": round(finding.seconds, 3),
    }


def _test(outcome: Outcome) -> dict[str, Any]:
    case = outcome.counterexample
    return vars(outcome) | {"counterexample": None if case is None else case.to_json()}


def _figure(quantity: Quantity) -> dict[str, Any]:
    named = {"name": quantity.name, "status": quantity.status}
    match quantity.value:
        case Estimate(value, sem, n):
            return named | {"value": value, "sem": sem, "n": n}
        case Bound(lo, hi, _, assumptions):
            return named | {"lo": lo, "hi": hi, "assumptions": assumptions}
    return named | {"value": quantity.value}
