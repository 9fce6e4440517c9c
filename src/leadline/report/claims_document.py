"""Findings as a document: one table of verdicts, then a section for each claim."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from leadline.claims.claim import Finding, Outcome, Quantity, Verdict
from leadline.claims.parameters import values_of
from leadline.claims.runner import CLAIMS
from leadline.claims.sweeps import Sweep
from leadline.document import Block, Document, Section, Table
from leadline.report.drawings.sweeps import sweep_curve
from leadline.report.mathematics import Sentence
from leadline.report.reproducing import how_to_repeat
from leadline.report.verdicts import cards
from leadline.results import FORMAT, Bound, Estimate


def claims_document(findings: Sequence[Finding], *, detailed: bool = True, command: str = "") -> Document:
    """Lay out findings; the terminal wants the table, `detailed` adds a card and a section for each claim.

    At the end stands the `command` that settled them.

    Examples
    --------
    >>> from leadline.claims import run_claims
    >>> claims_document(run_claims(["A1"])).sections[0].blocks[0].rows[0][:3]
    ('A1', 'Sigmoid chain', 'proved')
    """
    seconds = sum(finding.seconds for finding in findings)
    sizes = "full sizes" if any(finding.effort.full for finding in findings) else "default sizes"
    many = "" if len(findings) == 1 else "s"
    subtitle = f"{len(findings)} claim{many} settled in {seconds:.0f} s, {sizes}"
    rows = tuple((f.id, f.title, f.verdict.value, Sentence(_reason(f)), f"{f.seconds:.1f} s") for f in findings)
    summary = Section("Verdicts", (Table(("claim", "about", "verdict", "because", "time"), rows),))
    details = tuple(_section(finding) for finding in findings) if detailed else ()
    title = "What is true of gradients and of autoregressive models"
    verdicts = tuple(chain.from_iterable(map(cards, findings))) if detailed else ()
    return Document(title, subtitle, (summary, *details), verdicts, _again(findings, command))


def _again(findings: Sequence[Finding], command: str) -> tuple[str, ...]:
    return how_to_repeat(command, f"seed {findings[0].effort.seed}") if findings else ()


def _reason(finding: Finding) -> str:
    """Say in one line what decided: the first failure, or what was shown."""
    evidence = finding.evidence
    failed = next((outcome for outcome in evidence.claimed if not outcome.holds), None)
    if failed is None:
        return finding.statement
    better = next((outcome.statement for outcome in evidence.instead if outcome.holds), None)
    against = f"not so: {failed.statement} ({failed.evidence})"
    return f"{against}; instead: {better}" if better and finding.verdict == "corrected" else against


def lecture_page(finding: Finding, *, command: str = "", sweeps: Sequence[Sweep] = ()) -> Document:
    """Lay out one claim for a lecture: what was said, what is the case and why, then every test with its grounds.

    `sweeps` are drawn with a slider each. At the end stands the `command` that settled it.

    Examples
    --------
    >>> from leadline.claims import run_claims
    >>> page = lecture_page(run_claims(["A1"], settings={"A1": {"n": 3, "w": 5}})[0])
    >>> page.title, page.subtitle
    ('A1 Sigmoid chain: corrected', 'n = 3, w = 5')
    """
    values = values_of(finding.id, finding.mathematics)
    subtitle = ", ".join(f"{parameter.letter} = {_shown(value)}" for parameter, value in values.items())
    section = _section(finding)
    pictures = tuple(block for block in section.blocks if block is finding.evidence.picture)
    told, *rest = (block for block in section.blocks if block is not finding.evidence.picture)
    return Document(
        f"{finding.id} {finding.title}: {finding.verdict.value}",
        subtitle,
        (
            Section("What was said, and what is the case", (told, *pictures)),
            *([Section("What if", tuple(map(sweep_curve, sweeps)))] if sweeps else []),
            Section("Why", tuple(rest)),
        ),
        tuple(cards(finding)),
        _again([finding], command),
    )


def claims_list() -> Document:
    """List the claims, each with what can be varied in it."""
    rows = []
    for claim in CLAIMS.values():
        values = values_of(claim.id, claim.mathematics)
        ways = [f"{p.letter}={_shown(value)}: {p.meaning}, {p.range}" for p, value in values.items()]
        rows.append((claim.id, claim.title, "; ".join(ways) or "nothing"))
    table = Table(("claim", "about", "what can be varied: the usual value, its meaning and its range"), tuple(rows))
    return Document(
        "The claims", "leadline claims A1 n=20 w=5 settles one with other values", (Section("All", (table,)),)
    )


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _section(finding: Finding) -> Section:
    blocks: list[Block] = [Table(("", ""), _told(finding))]
    if finding.evidence.picture is not None:
        blocks.append(finding.evidence.picture)
    tests = tuple(_row(role, outcome) for role, outcome in finding.evidence.outcomes)
    blocks.append(Table(("role", "statement", "holds", "grounds", "evidence"), tests))
    if finding.evidence.quantities:
        rows = tuple((Sentence(quantity.name), Sentence(str(quantity))) for quantity in finding.evidence.quantities)
        blocks.append(Table(("figure", "value"), rows))
    varied = values_of(finding.id, finding.mathematics)
    if varied:
        usual = values_of(finding.id, CLAIMS[finding.id].mathematics) if finding.id in CLAIMS else varied
        values = tuple((p.letter, p.meaning, _shown(value), _shown(usual[p]), p.range) for p, value in varied.items())
        blocks.append(Table(("parameter", "meaning", "here", "usually", "range"), values))
    return Section(f"{finding.id} {finding.title}", tuple(blocks))


def _told(finding: Finding) -> tuple[tuple[str, ...], ...]:
    """Put the founding statement beside what was found, and why."""
    evidence = finding.evidence
    rows = [
        ("the founding text", Sentence(finding.paper or "It left this blank, or agrees.")),
        ("put to the test", Sentence(finding.statement)),
        ("found", f"{finding.verdict.value}: {_MEANING[finding.verdict]}"),
    ]
    failed = [outcome for outcome in evidence.claimed if not outcome.holds]
    reasons = failed or evidence.claimed[:1]
    rows += [("because", Sentence(f"{outcome.statement}: {outcome.evidence}")) for outcome in reasons]
    if failed:
        rows += [("instead", Sentence(outcome.statement)) for outcome in evidence.instead if outcome.holds]
    return tuple(rows)


_MEANING = {
    Verdict.PROVED: "it holds, with no case left out",
    Verdict.MEASURED: "it holds wherever it was tried or measured",
    Verdict.REFUTED: "it does not hold",
    Verdict.CORRECTED: "it does not hold as stated, and this does",
}


def _row(role: str, outcome: Outcome) -> tuple[str, ...]:
    holds = "yes" if outcome.holds else "no, counterexample kept" if outcome.counterexample else "no"
    return role, Sentence(outcome.statement), holds, outcome.grounds.value, Sentence(outcome.evidence)


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
