"""One document, three renderings: nothing is lost, nothing is fetched, nothing is interpreted as markup."""

import io
import re
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from rich.console import Console

from leadline.document import Curve, Document, FrontMap, GridMap, Pictures, Section, Table, Text, Wave
from leadline.report import html, terminal
from leadline.report.html import contact_sheet, wave_bytes

CURVE = Curve((0.0, 1.0, 2.0), (("norm", (1.0, 0.1, 0.01)),), "stage", "norm", "gradient norms", log_y=True)
MAP = GridMap(np.array([[1, 1, 2], [0, 0, 0]]), ((".", "unseen"), ("#", "seen"), ("o", "output")), "context")
FRONTS = FrontMap(np.arange(3)[:, None] * 5 + np.arange(4), "wavefront")
WAVE = Wave(np.sin(np.arange(800) / 10), 8000, "a tone")


def document(*blocks: object) -> Document:
    return Document("A <title>", "sub & line", (Section("heading", blocks),))  # type: ignore[arg-type]


def printed(doc: Document) -> str:
    console = Console(file=io.StringIO(), width=200)
    terminal.show(doc, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@given(
    cells=st.lists(st.tuples(st.text("ab[]<&>/ é", min_size=1), st.text("0123", min_size=1)), min_size=1, max_size=5)
)
def test_every_cell_reaches_both_renderings(cells: list[tuple[str, str]]) -> None:
    doc = document(Table(("name", "value"), tuple(cells)))
    text, page = printed(doc), html.render(doc)
    assert page.count("<tr>") == len(cells) + 1
    for name, value in cells:
        assert value in text
        assert f"<td>{escape(name)}</td><td>{value}</td>" in page


def test_html_is_self_contained_and_escaped() -> None:
    page = html.render(
        document(Text("<script>alert(1)</script>"), CURVE, MAP, FRONTS, Pictures(np.eye(4)[None], "p"), WAVE)
    )
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert page.count("<svg") == 3
    assert page.count("<img") == page.count("<audio") == 1


def test_same_document_gives_the_same_bytes() -> None:
    assert html.render(document(CURVE, MAP, FRONTS)) == html.render(document(CURVE, MAP, FRONTS))


def test_terminal_draws_the_map_and_the_curve() -> None:
    text = printed(document(MAP, CURVE, FRONTS))
    assert " 5  6  7  8" in text
    assert "##o" in text
    assert "█▅▁" in text or "█▄▁" in text


def test_a_ragged_table_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells under 3 headings"):
        Table(("a", "b", "c"), (("1", "2"),))


def test_contact_sheet_keeps_every_pixel() -> None:
    images = np.random.default_rng(0).random((5, 3, 2))
    assert contact_sheet(images, across=3).sum() == pytest.approx(images.sum())


def test_wave_round_trips() -> None:
    with wave.open(io.BytesIO(wave_bytes(WAVE))) as stream:
        samples = np.frombuffer(stream.readframes(stream.getnframes()), "<i2") / 32767
    assert np.abs(samples - WAVE.samples).max() < 1e-4
