"""The page as a file: self-contained, escaped, small, and what tables and charts are made of."""

import csv
import io
import json
import math
import re
import wave
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from helpers.documents import GRID, HEAT, LINE, STEEP, WAVE, document, everything
from hypothesis import given
from hypothesis import strategies as st

from leadline.document import Curve, Table, Text
from leadline.report import html
from leadline.report.encoded import contact_sheet, wave_bytes
from leadline.report.html.charts import curve
from leadline.report.html.heat_maps import edges, figures_of, heat_map
from leadline.report.html.maps import context_maps, runs
from leadline.report.html.tables import as_csv, as_latex, as_markdown, key, numeric

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12)
rows = st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4)


class Elements(HTMLParser):
    """Notes the elements of a page, each with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))


@pytest.fixture(scope="module")
def page() -> str:
    return html.render(everything())


def test_a_page_asks_nobody_for_anything_and_is_small(page: str) -> None:
    asked = [value for _, attributes in Elements(page).found for name, value in attributes if name in ("src", "href")]
    assert [value for value in asked if not str(value).startswith(("data:", "#"))] == []
    assert "@import" not in page
    assert "url(http" not in page
    assert len(page.encode()) < 3_000_000
    assert page.count('class="chart"') == 12
    tags = [tag for tag, _ in Elements(page).found]
    assert tags.count("img") == tags.count("audio") == 1


def test_a_page_without_charts_carries_no_library() -> None:
    assert len(html.render(document(Text("a sentence"))).encode()) < 30_000


def test_the_same_document_gives_the_same_bytes(page: str) -> None:
    assert html.render(everything()) == page


def elements(text: str) -> list[tuple[str, ...]]:
    marked = Curve((0.0, 1.0), ((text, (1.0, 2.0)),), text, text, text)
    page = html.render(document(Text(text), Table((text,), ((text,),), text), marked))
    return [(tag, *(name for name, _ in attributes)) for tag, attributes in Elements(page).found]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "</script><b>", "<!--", "]]>", '" onload="x', "{{ 1 }}"])
def test_no_text_is_markup(text: str) -> None:
    assert elements(text) == elements("x")


def test_verdicts_have_an_icon_and_a_word_each(page: str) -> None:
    cards = re.findall(r'<li class="card (\w+)">.*?aria-hidden="true">(.*?)<.*?class="word">(.*?)<', page, flags=re.S)
    assert [mark for mark, _, _ in cards] == ["good", "bad", "notice", "unknown", "plain"]
    assert len({icon for _, icon, _ in cards}) == len({word for _, _, word in cards}) == 5


def test_rows_in_which_models_differ_are_marked_by_a_sign(page: str) -> None:
    assert page.count("≠</span>") == 1
    assert '<th scope="row">steps <span class="differ">≠</span>' in page


def test_only_words_that_a_page_uses_are_explained() -> None:
    found = html.render(document(Text("The receptive field is proved.")))
    assert "<dt>receptive field</dt>" in found
    assert "<dt>bits/dim</dt>" not in found


@given(cells=st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4))
def test_runs_are_the_cells(cells: list[list[int]]) -> None:
    again = np.full((len(cells), 5), -1)
    for row, start, stop, value in runs(np.array(cells)):
        assert start < stop
        again[row, start:stop] = value
    assert again.tolist() == cells


def test_every_output_that_can_be_chosen_has_its_map() -> None:
    for block in (LINE, GRID):
        spec = json.loads(json.dumps(context_maps(block)))
        (choice,) = (layer for layer in spec["layer"] if "params" in layer)
        bound = choice["params"][0]["bind"]
        for axis, places in enumerate(zip(*block.positions, strict=True)):
            slider = bound[f"at{axis}"]
            assert sorted(set(places)) == list(range(slider["min"], slider["max"] + 1, slider["step"]))
        drawn = [row for layer in spec["layer"] for row in layer["data"]["values"] if "is" in row and "at0" in row]
        keys = [f"at{axis}" for axis in range(len(block.axes))]
        assert {tuple(row[key] for key in keys) for row in drawn} == set(block.positions)


def test_inputs_of_other_lengths_share_the_outputs_axis() -> None:
    """The second of two frames stands over the second half of eight positions."""
    spec = context_maps(LINE)
    frames = {(row["at0"], row["x"], row["x2"]) for row in spec["layer"][1]["data"]["values"]
              if row["lane"] == "mel" and row["is"] == "seen"}  # fmt: skip
    assert frames == {(0, 0, 4), (2, 0, 4), (4, 4, 8), (6, 4, 8)}


@given(st.lists(st.floats(0.01, 100.0), min_size=2, max_size=9, unique=True).map(sorted))
def test_cells_of_a_heat_map_lie_side_by_side_around_their_values(values: list[float]) -> None:
    ends, log = edges(tuple(values))
    assert all(low < value < high for low, value, high in zip(ends, values, ends[1:], strict=False))
    assert len(ends) == len(values) + 1
    scale = math.log if log else float
    middles = [(scale(a) + scale(b)) / 2 for a, b in pairwise(values)]
    assert [scale(end) for end in ends[1:-1]] == pytest.approx(middles)


def test_heat_maps_take_their_colours_from_the_page_and_hold_all_numbers() -> None:
    for block in (HEAT, STEEP):
        spec = heat_map(block)
        cells = spec["layer"][0]["data"]["values"]
        known = [(x, y, float(v)) for y, row in zip(block.y, block.values, strict=True)
                 for x, v in zip(block.x, row, strict=True) if np.isfinite(v)]  # fmt: skip
        assert [(cell["at_x"], cell["at_y"], cell["value"]) for cell in cells] == known
        by_size = sorted(cells, key=lambda cell: cell["size"])
        assert [cell["dark"] for cell in by_size] == sorted(cell["dark"] for cell in cells)
        fill = spec["layer"][0]["encoding"]["fill"]
        colours = fill["scale"]["range"] if block.signed else [fill["value"]]
        assert all(colour.startswith("var(--") for colour in colours)
        table = figures_of(block)
        assert [cell for row in table.rows for cell in row[1:] if cell] == [f"{value:.4g}" for _, _, value in known]
        scale = spec["layer"][0]["encoding"]["opacity"]["scale"]  # what is interpolated is no colour
        assert all(isinstance(end, int | float) for end in scale["range"])
    signs = {cell["value"] > 0: cell["sign"] for cell in heat_map(HEAT)["layer"][0]["data"]["values"] if cell["value"]}
    assert len(set(signs.values())) == 2
    lines = heat_map(HEAT)["layer"][1]
    assert [(row["x"], row["y"]) for row in lines["data"]["values"] if row["line"] == "theory"] == [
        (1.3, 10),
        (1.35, 20),
    ]
    dashes = lines["encoding"]["strokeDash"]["scale"]["range"]
    assert len({str(dash) for dash in dashes}) == 2  # told apart by dashes, not by colour


def test_what_a_logarithm_cannot_show_is_left_out() -> None:
    spec = curve(Curve((0.0, 1.0, 2.0), (("a", (0.0, float("nan"), 1.0)),), "x", "y", "c", log_y=True))
    (line,) = spec["layer"]
    assert [row["x"] for row in line["data"]["values"]] == [2.0]


@given(rows=rows)
def test_a_table_copied_as_csv_is_read_as_it_was(rows: list[tuple[str, str, str]]) -> None:
    read = list(csv.reader(io.StringIO(as_csv(Table(("a", "b", "c"), tuple(rows))))))
    same = [[cell[1:] if cell[:1] == "'" and given[:1] != "'" else cell for cell, given in zip(line, row, strict=True)]
            for line, row in zip(read[1:], rows, strict=True)]  # fmt: skip
    assert same == [list(row) for row in rows]


@given(rows=rows)
def test_tables_copied_as_markdown_and_latex_have_all_cells(rows: list[tuple[str, str, str]]) -> None:
    table = Table(("a", "b", "c"), tuple(rows))
    for line in as_markdown(table).splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 4
    for line in as_latex(table).splitlines()[4:-2]:
        assert len(re.findall(r"(?<!\\)&", line)) == 2


def test_no_formula_reaches_a_spreadsheet() -> None:
    assert as_csv(Table(("a", "b"), (("=1+1", "-3"),))) == "a,b\n'=1+1,-3\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1 234", 1234.0),
        ("2.5 KiB", 2560.0),
        ("12 (p)", 12.0),
        ("1e-3", 1e-3),
        ("3 ×", 3.0),
        ("proved", None),
        ("", None),
    ],
)
def test_cells_are_sorted_by_their_numbers(text: str, number: float | None) -> None:
    assert key(text) == number


def test_columns_of_numbers_stand_right_aligned() -> None:
    table = Table(("n", "a", "b"), (("1", "1 000", "proved"), ("2", "unknown", "3"), ("3", "7", "bound")))
    assert numeric(table) == [False, True, False]


def test_contact_sheet_keeps_every_pixel() -> None:
    images = np.random.default_rng(0).random((5, 3, 2))
    assert contact_sheet(images, across=3).sum() == pytest.approx(images.sum())


def test_wave_round_trips() -> None:
    with wave.open(io.BytesIO(wave_bytes(WAVE))) as stream:
        samples = np.frombuffer(stream.readframes(stream.getnframes()), "<i2") / 32767
    assert np.abs(samples - WAVE.samples).max() < 1e-4
