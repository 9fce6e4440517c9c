"""Take the pictures of the pages for README and docs: ``python docs/screenshots.py [NAME]…``.

It needs the extra `browser`, and a chromium on the path. Each picture shows a page at 1600, 800 and 360 pixels.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURES = Path(__file__).parent / "pictures"
WIDTHS, HEIGHT, SCALE, MOST_BYTES = (1600, 800, 360), 1100, 0.5, 58_000
PAGES = {
    "check": ["check", "gated-pixelcnn", "layers=6", "height=14", "width=14"],
    "compare": ["compare", "masked-stack layers=3", "gated-pixelcnn layers=3", "grid-rnn layers=3"],
    "claims": ["claims", "A1", "B3", "B5"],
    "law": ["law", "masked-stack"],
    "run": ["check", "pixelcnn-digits"],
    "phases": [
        *("sweep", "mlp", "sigma_w=0.5,1,1.2,1.3,1.4,1.5,2,2.5,3", "layers=25,50,100", "width=256"),
        *("sigma_b=0.22360679774997896", "--seeds", "5", "--measure", "gradient.rate", "--out", "phases"),
    ],
}
TRAIN = "train pixelcnn layers=2 --data digits --steps 60 --run pixelcnn-digits -t validate_every=6"


def leadline(words: list[str], folder: Path) -> None:
    """Run a command in a folder."""
    program = "import sys; from leadline.cli import main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", program, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def shot(browser: "Browser", page: Path, width: int, scheme: str) -> Image.Image:
    """Return the upper part of a page as it looks at a width."""
    context = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    opened = context.new_page()
    opened.goto(page.as_uri())
    opened.wait_for_timeout(1500)
    taken = Image.open(io.BytesIO(opened.screenshot())).convert("RGB")
    context.close()
    return taken


def side_by_side(shots: list[Image.Image]) -> Image.Image:
    """Return pictures of one height beside one another, reduced."""
    gap = 24
    sheet = Image.new("RGB", (sum(each.width + gap for each in shots) - gap, HEIGHT), "#808080")
    left = 0
    for each in shots:
        sheet.paste(each, (left, 0))
        left += each.width + gap
    return sheet.resize((round(sheet.width * SCALE), round(sheet.height * SCALE)), Image.Resampling.LANCZOS)


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as well as its size allows."""
    for quality in (60, 50, 40, 30):
        picture.save(path, quality=quality, method=6)
        if path.stat().st_size < MOST_BYTES:
            return


def main(names: list[str]) -> None:
    """Make the pages, and write two pictures of each: light and dark."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if "run" in names:
            leadline(TRAIN.split(), Path(folder))
        for name in names:
            page = Path(folder) / f"{name}.html"
            leadline([*PAGES[name], "--html", page.name], Path(folder))
            for scheme in ("light", "dark"):
                shots = [shot(browser, page, width, scheme) for width in WIDTHS]
                save(side_by_side(shots), PICTURES / f"{name}-{scheme}.webp")
            if name == "check":
                first = shot(browser, page, 1600, "light").resize((1120, 770), Image.Resampling.LANCZOS)
                save(first, PICTURES / "page.webp")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:] or list(PAGES))
