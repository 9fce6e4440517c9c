"""One document, two renderings: nothing is lost, and nothing is interpreted as markup."""

import io

import pytest
from helpers.documents import BARS, CELLS, CURVE, FRONTS, HEAT, LINE, MAP, REACH, STEEP, document
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from rich.console import Console

from leadline.document import Document, Fold, Row, Table, Text
from leadline.report import html, terminal


def printed(doc: Document) -> str:
    console = Console(file=io.StringIO(), width=200)
    terminal.show(doc, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@given(
    cells=st.lists(
        st.tuples(st.text("ab[]<&>/ é", min_size=1), st.text("0123", min_size=1, max_size=9)), min_size=1, max_size=5
    )
)
def test_every_cell_reaches_both_renderings(cells: list[tuple[str, str]]) -> None:
    doc = document(Table(("name", "value"), tuple(cells)))
    text, page = printed(doc), html.render(doc)
    assert page.count("<tr>") == len(cells) + 1
    for name, value in cells:
        assert value in text
        assert f'<th scope="row">{escape(name)}</th><td class="number">{value}</td>' in page


def test_terminal_draws_the_map_and_the_curve() -> None:
    text = printed(document(MAP, CURVE, FRONTS))
    assert " 5  6  7  8" in text
    assert "##o" in text
    assert "█▅▁" in text or "█▄▁" in text


def test_terminal_draws_the_first_of_many_maps_and_what_is_folded() -> None:
    text = printed(document(Row((LINE, BARS)), Fold("all of it", (Text("much to read"),))))
    assert "What the output at t = 4 sees of x" in text
    assert "·####···" in text
    assert "2.0 KiB" in text
    assert text.split()[-6:] == ["all", "of", "it", "much", "to", "read"]


def test_terminal_draws_a_reach_by_powers_of_ten_within_what_is_seen() -> None:
    lines = [line.strip() for line in printed(document(REACH, CELLS)).splitlines()]
    at = lines.index("reach")
    assert lines[at + 1] == "·▂▅▇█"  # 1e-9 is seen, but next to nothing; 1e-6, 1e-3, 0.1 and 1
    grid = lines.index("reach over a grid")
    assert lines[grid + 1 : grid + 5] == ["█·", "██·", "███·", "████"]


def test_terminal_draws_a_heat_map_from_the_lowest_bar_to_the_highest() -> None:
    lines = printed(document(HEAT, STEEP)).splitlines()
    rows = [line.split() for line in lines if line.split() and line.split()[0] in ("1", "2", "3", "10", "20")]
    assert rows[:2] == [["20", "▁", "▆"], ["10", "▂▃█"]]  # what was not measured is left out
    assert rows[2:] == [["3", "▆▇█"], ["2", "▄▅▅"], ["1", "▁▂▃"]]  # equal factors, equal steps
    assert "▁ -2, █ 4" in " ".join(lines)


def test_a_ragged_table_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells under 3 headings"):
        Table(("a", "b", "c"), (("1", "2"),))


def test_a_narrow_terminal_breaks_no_word_of_a_heading_and_marks_what_differs() -> None:
    modules = Table(
        ("module", "connections", "multiply-accumulates", "parameters", "kept for the backward pass"),
        (("blocks 0 to 11, 12 ×: conv.out", "1 737 280", "1 786 432", "1 600", "42.1 KiB"),),
    )
    models = tuple(f"wavenet layers={n}" for n in range(7))
    compared = Table(
        ("", *models), (("steps to generate", *"1234567"), ("causality", *["causal"] * 7)), differing=frozenset({0})
    )
    console = Console(file=io.StringIO(), width=80)
    terminal.show(document(modules, compared), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    words = text.split()
    assert {"multiply-", "accumulates", "parameters", "connections", "backward", "wavenet"} <= set(words)
    assert "12 ×: conv.out" in " ".join(words)
    assert text.count("≠ steps to generate") == 3  # seven models, three abreast
    assert max(map(len, text.splitlines())) <= 80
