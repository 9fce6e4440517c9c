"""Claims with other values: each parameter reaches the mathematics, within its range and no further."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from leadline import cli
from leadline.claims import CLAIMS, PARAMETERS, Verdict, run_claims
from leadline.claims.parameters import separated, values_of, varied
from leadline.claims.sweeps import ranges, sweep
from leadline.document import Table
from leadline.errors import UsageError
from leadline.report.claims_document import claims_list, lecture_page
from leadline.report.drawings.sweeps import sweep_curve
from leadline.report.html import charts
from leadline.report.mathematics import Sentence

EVERY = [(claim, parameter) for claim, parameters in PARAMETERS.items() for parameter in parameters]


@pytest.mark.parametrize(("claim", "parameter"), EVERY, ids=lambda part: getattr(part, "letter", part))
def test_every_parameter_is_a_field_whose_usual_value_is_within_its_range(claim: str, parameter: Any) -> None:
    usual = getattr(CLAIMS[claim].mathematics, parameter.field)
    assert parameter.low <= usual <= parameter.high
    for value in (parameter.low, parameter.high):
        kind = type(usual)
        made = varied(CLAIMS[claim], {parameter.letter: kind(value)})
        assert values_of(claim, made)[parameter] == kind(value)
        same = dataclasses.replace(made, **{parameter.field: usual})
        assert same == CLAIMS[claim].mathematics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, r"n of A1 is 1 to 40 \(layers\), got 0"),
        ({"n": 2.5}, "n of A1 must be an integer"),
        ({"w": 1000}, "w of A1 is 0.01 to 20"),
        ({"layers": 3}, r"no parameter 'layers'.* n \(layers, 1 to 40\)"),
        ({"w": math.nan}, "w of A1 is 0.01 to 20"),
    ],
)
def test_what_cannot_be_settled_is_refused_before_anything_runs(settings: dict[str, Any], message: str) -> None:
    started: list[Any] = []
    with pytest.raises(UsageError, match=message):
        run_claims(["A1"], settings={"A1": settings}, started=started.append)
    assert not started


def test_a_setting_belongs_to_the_claim_before_it() -> None:
    assert separated(("a1", "n=2", "B5", "A1", "w=3"))[1] == {"A1": ["n=2", "w=3"], "B5": []}
    with pytest.raises(UsageError, match="belongs to no claim"):
        separated(("n=2", "A1"))


@pytest.mark.parametrize(("n", "w"), [(3, 5.0), (7, 0.5)])
def test_the_verdict_follows_the_values_and_the_page_shows_them(n: int, w: float) -> None:
    (finding,) = run_claims(["A1"], settings={"A1": {"n": n, "w": w}})
    assert finding.verdict is (Verdict.CORRECTED if w > 1 else Verdict.PROVED)
    assert finding.evidence.quantities[0].value == pytest.approx((w / 4) ** n)
    page = lecture_page(finding)
    assert page.subtitle == f"n = {n}, w = {w:g}"
    told = page.sections[0].blocks[0]
    assert isinstance(told, Table)
    assert [name for name, _ in told.rows[:4]] == ["the founding text", "put to the test", "found", "because"]
    assert ("instead" in [name for name, _ in told.rows]) == (w > 1)
    parameters = page.sections[1].blocks[-1]
    assert isinstance(parameters, Table)
    assert [row[2:] for row in parameters.rows] == [(str(n), "10", "1 to 40"), (f"{w:g}", "1", "0.01 to 20")]


def test_an_excess_has_its_unit() -> None:
    (finding,) = run_claims(["A1"], settings={"A1": {"n": 3, "w": 8.0}})
    failed = finding.evidence.claimed[0]
    assert failed.counterexample is not None
    assert "too far by" in failed.evidence
    assert failed.evidence.endswith("in ln |f'|")


def test_the_list_names_every_claim_and_parameter() -> None:
    (table,) = claims_list().sections[0].blocks
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == list(CLAIMS)
    assert all(f"{p.letter}=" in row[2] for row in table.rows for p in PARAMETERS.get(row[0], ()))


@pytest.mark.parametrize(
    ("written", "letters", "marked"),
    [
        ("4^-n", "4⁻ⁿ", "<msup><mn>4</mn><mrow><mo>-</mo><mi>n</mi></mrow></msup>"),
        ("2^(d-1)", "2ᵈ⁻¹", "<msup><mn>2</mn><mrow><mi>d</mi><mo>-</mo><mn>1</mn></mrow></msup>"),
        ("σ_min(A)", "σₘᵢₙ(A)", "<msub><mi>σ</mi><mrow><mi>min</mi></mrow></msub>"),
        ("n^(-3/2)", "n^(-3/2)", "<mo>/</mo><mn>2</mn>"),
        ("σ_k²ⁱ", "σₖ²ⁱ", "<mi>σ</mi><mrow><mi>k</mi></mrow><mrow><mn>2</mn><mi>i</mi></mrow></msubsup></math>"),
        ("c_T", "c_T", "<msub><mi>c</mi><mrow><mi>T</mi></mrow></msub>"),
        ("a < b_i", "a < bᵢ", "a &lt; <math>"),
        ("no formula", "no formula", "no formula"),
    ],
)
def test_powers_and_indices_are_mathematics(written: str, letters: str, marked: str) -> None:
    assert str(Sentence(written)) == letters
    assert marked in Sentence(written).__html__()


def test_no_statement_of_the_theory_keeps_a_mark_in_a_page() -> None:
    for claim in CLAIMS.values():
        for text in (claim.statement, claim.paper or ""):
            shown = Sentence(text).__html__()
            assert "^" not in shown, text
            assert "_" not in shown, text


def test_a_sweep_settles_each_value_and_its_page_has_a_slider() -> None:
    single, several = ranges(["n=2..4", "w=0.5,1,4", "b=0"])
    assert (single, several) == (["b=0"], {"n": (2, 3, 4), "w": (0.5, 1, 4)})
    found = sweep("A1", "w", several["w"], settings={"n": 3})
    assert [str(finding.verdict) for finding in found.findings] == ["proved", "proved", "corrected"]
    drawn = sweep_curve(found)
    supremum = dict(drawn.series)["supremum of |f'|"]
    assert supremum == pytest.approx([(w / 4) ** 3 for w in (0.5, 1, 4)])  # closed form
    assert drawn.names[2] == "w = 4: corrected"
    assert charts.curve(drawn)["params"][-1]["bind"]["input"] == "radio"  # not equally spaced
    steps = charts.curve(dataclasses.replace(drawn, x=(1.0, 2.0, 3.0)))["params"][-1]["bind"]
    assert (steps["input"], steps["min"], steps["max"], steps["step"]) == ("range", 1.0, 3.0, 1.0)


@pytest.mark.parametrize("words", ["n=5..2", "n=1..a", "w=2,1", "n=1..40", "n=..3"])
def test_a_sweep_that_is_none_is_refused_in_a_sentence(words: str) -> None:
    with pytest.raises(UsageError, match=r"sweep|at most"):
        ranges([words])


def test_pages_join_those_of_an_earlier_call_in_their_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for claim in ("B5", "A1"):
        with pytest.raises(SystemExit) as stop:
            cli.main(["claims", claim, "--html", f"{tmp_path}/lecture/"])
        assert stop.value.code == 0
    assert sorted(path.name for path in (tmp_path / "lecture").iterdir()) == ["A1.html", "B5.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        cli.main(["claims", "B5", "--html", f"{tmp_path}/file"])
    assert stop.value.code == 2
    assert "name a folder for pages" in capfd.readouterr().err
