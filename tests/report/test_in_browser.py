"""The page in headless Chromium: choosing by pointer and by keyboard, no error, no request, and axe finds nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from helpers.documents import everything

from leadline.report import html

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'leadline[browser]'")
axe = pytest.importorskip("axe_playwright_python", reason="needs axe: pip install 'leadline[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: chromium or google-chrome on the path"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html.render(everything()), encoding="utf-8")
    return path.as_uri()


def opened(browser: Any, address: str, width: int = 1600, scheme: str = "light") -> tuple[Any, list[str]]:
    """Open the page; whatever it complains of, or asks a host for, is noted."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if not local(request.url, address) else None)
    page.goto(address)
    page.wait_for_function("[...document.querySelectorAll('.canvas')].every(canvas => canvas.querySelector('svg'))")
    return page, heard


def local(url: str, address: str) -> bool:
    return url.partition("#")[0] == address or url.startswith("data:")


def figure(page: Any, caption: str) -> Any:
    return page.locator("figure", has=page.get_by_text(caption, exact=True))


def seen(chart: Any) -> list[str]:
    """Return the outlines of all cells that are drawn as seen."""
    return [cell.get_attribute("d") for cell in chart.locator("svg .mark-rect path[fill='var(--seen)']").all()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_axe_finds_nothing_serious_and_nothing_is_cut(browser: Any, address: str, width: int, scheme: str) -> None:
    page, heard = opened(browser, address, width, scheme)
    for summary in page.locator("summary").all():
        summary.click()
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    worst = {f["id"]: f["nodes"][0]["html"] for f in found["violations"] if f["impact"] in ("serious", "critical")}
    assert worst == {}
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert heard == []


def test_an_output_is_chosen_by_keyboard(browser: Any, address: str) -> None:
    page, heard = opened(browser, address)
    chart = figure(page, "what the chosen output sees")
    before = seen(chart)
    chart.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert chart.locator(".vega-bind").inner_text().split()[-1] == "6"
    assert seen(chart) != before
    assert heard == []


def test_a_parameter_is_slid_along_by_keyboard(browser: Any, address: str) -> None:
    page, heard = opened(browser, address)
    chart = figure(page, "with other values of d")
    words = chart.locator("svg").text_content
    assert "d = 1: proved" in words()
    chart.locator("input[type=range]").focus()
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    assert "d = 3: corrected" in words()
    assert "d = 1: proved" not in words()
    assert heard == []


def test_an_output_is_chosen_by_pointer(browser: Any, address: str) -> None:
    page, heard = opened(browser, address)
    chart = figure(page, "a grid")
    before = seen(chart)
    box = chart.locator("svg").bounding_box()
    chart.locator("svg").click(position={"x": box["width"] / 3, "y": 20})
    page.wait_for_timeout(200)
    assert seen(chart) != before
    assert heard == []


def test_a_wavefront_is_played(browser: Any, address: str) -> None:
    page, heard = opened(browser, address)
    chart = figure(page, "wavefront")
    assert chart.locator("svg [fill='var(--empty)']").count() == 0
    chart.get_by_role("button", name="play").click()
    page.wait_for_timeout(900)
    assert chart.locator("svg [fill='var(--empty)']").count() > 0
    chart.get_by_role("button", name="pause").click()
    assert heard == []


def test_a_table_is_sorted_by_its_numbers(browser: Any, address: str) -> None:
    page, _ = opened(browser, address)
    table = page.locator("table.sortable")
    names = lambda: table.locator("tbody th").all_inner_texts()  # noqa: E731
    table.get_by_role("button", name="kept").click()
    assert names() == ["b", "a", "c"]
    table.get_by_role("button", name="kept").press("Enter")
    assert names() == ["c", "a", "b"]


def test_a_table_is_copied(browser: Any, address: str) -> None:
    page, _ = opened(browser, address)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Markdown").first.click()
    page.get_by_text("Markdown copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("|  | value | status |")


def test_on_paper_the_page_is_short(browser: Any, address: str) -> None:
    page, _ = opened(browser, address)
    sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
    assert sheets <= 3
