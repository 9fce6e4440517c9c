"""All claims at once: the run, the JSON, the files and the document."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from leadline.claims import CLAIMS, Counterexample, Verdict, run_claims, save_counterexamples
from leadline.document import Curve, FrontMap, GridMap, Table
from leadline.errors import UsageError
from leadline.report.claims_document import claims_document, claims_record
from leadline.report.terminal import show
from leadline.report.writing import to_json


def test_every_statement_of_the_theory_is_a_claim() -> None:
    assert list(CLAIMS) == [f"{part}{n}" for part, last in (("A", 8), ("B", 8), ("C", 3)) for n in range(1, last + 1)]
    assert all(claim.statement and claim.title for claim in CLAIMS.values())


def test_an_unknown_claim_is_refused_with_near_misses() -> None:
    with pytest.raises(UsageError, match="did you mean"):
        run_claims(["A11"])


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    del tmp_path_factory
    started: list[str] = []
    found = run_claims(["b6", "a3", "B2"], started=lambda claim: started.append(claim.id))
    assert started == [finding.id for finding in found] == ["A3", "B2", "B6"]
    return found


def test_json_is_plain_and_complete(findings: tuple) -> None:
    record = json.loads(to_json(claims_record(findings)))
    assert [(claim["id"], claim["verdict"]) for claim in record["claims"]] == [
        ("A3", "proved"),
        ("B2", "corrected"),
        ("B6", "corrected"),
    ]
    for claim, finding in zip(record["claims"], findings, strict=True):
        assert len(claim["figures"]) == len(finding.evidence.quantities)
        failed = [test for test in claim["tests"] if test["role"] == "claimed" and not test["holds"]]
        assert bool(failed) == (claim["verdict"] in ("corrected", "refuted"))
        for test in failed:
            assert Counterexample.from_json(test["counterexample"]).against == test["statement"]


def test_counterexamples_become_files(findings: tuple, tmp_path: Path) -> None:
    paths = save_counterexamples(findings, tmp_path / "cases")
    assert [path.name for path in paths] == ["B2-1.json", "B6-1.json", "B6-2.json"]
    assert all(Counterexample.load(path).values for path in paths)


def test_the_document_has_a_verdict_and_a_figure_for_each(findings: tuple) -> None:
    document = claims_document(findings)
    (table,) = document.sections[0].blocks
    assert isinstance(table, Table)
    assert [row[2] for row in table.rows] == [finding.verdict.value for finding in findings]
    for section in document.sections[1:]:
        assert any(isinstance(block, Curve | FrontMap | GridMap | Table) for block in section.blocks[3:])
    console = Console(file=io.StringIO(), width=120)
    show(document, console)
    assert "corrected" in console.file.getvalue()


THEORY = {
    "A1": "proved", "A2": "proved", "A3": "proved", "A4": "corrected", "A5": "corrected", "A6": "proved",
    "A7": "corrected", "A8": "measured", "B1": "proved", "B2": "corrected", "B3": "proved", "B4": "proved",
    "B5": "corrected", "B6": "corrected", "B7": "corrected", "B8": "proved",
    "C1": "proved", "C2": "proved", "C3": "measured",
}  # fmt: skip


@pytest.mark.slow
def test_the_default_run_agrees_with_the_theory_within_minutes() -> None:
    findings = run_claims()
    assert {finding.id: finding.verdict.value for finding in findings} == THEORY
    assert all(
        (finding.counterexample is None) == (finding.verdict in (Verdict.PROVED, Verdict.MEASURED))
        for finding in findings
    )
