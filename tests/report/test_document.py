"""One document, two renderings: nothing is lost, and nothing is interpreted as markup."""

import io

import pytest
from helpers.documents import BARS, CURVE, FRONTS, LINE, MAP, document
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


def test_a_ragged_table_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells under 3 headings"):
        Table(("a", "b", "c"), (("1", "2"),))
