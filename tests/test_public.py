"""The public surface, and what importing it loads."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import leadline

DOCS = Path(__file__).parents[1] / "docs"
RESERVED = {
    "check",
    "compare",
    "count",
    "span",
    "context",
    "causality",
    "memory",
    "system",
    "law",
    "stream",
    "gradient",
    "reach",
    "remedies",
    "spectrum",
    "bound",
    "lyapunov",
    "generation",
    "read",
    "monitor",
    "sweep",
}


def test_every_public_name_exists() -> None:
    assert sorted(leadline.__all__) == sorted(set(leadline.__all__))
    assert all(hasattr(leadline, name) for name in leadline.__all__)


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """A module imported later would replace the function of the same name in its package."""
    names = [module.name for module in pkgutil.walk_packages(leadline.__path__, "leadline.")]
    assert len(names) > 50
    assert not [name for name in names if name.rpartition(".")[2] in RESERVED]


def test_importing_leadline_is_quiet_and_loads_no_heavy_package() -> None:
    heavy = (
        "('vl_convert', 'numba', 'accelerate', 'sklearn', 'transformers', 'PIL', 'lightning', 'distributed', 'pyarrow')"
    )
    program = f"import sys, leadline; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_the_api_page_has_every_public_name_and_no_private_path() -> None:
    """Objects that it names are found by the docs' build, which is strict."""
    named = re.findall(r"auto(?:function|class|module):: (\S+)", (DOCS / "api.md").read_text())
    assert not [name for name in named if re.search(r"\._", name)]
    shown = {name.rpartition(".")[2] for name in named}
    in_results = {"Bound", "Coverage", "Estimate", "Status"}
    assert set(leadline.__all__) - in_results <= shown
    assert "leadline.results" in named


def test_cells_of_the_notebooks_are_python_and_their_links_lead_somewhere() -> None:
    """They are run by `make docs`."""
    pages = sorted((DOCS / "notebooks").glob("*.md"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text()
        cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```", text, flags=re.M | re.S)
        assert len(cells) >= 3
        for cell in cells:
            compile(cell, str(page), "exec")
        assert all((page.parent / link).is_file() for link in re.findall(r"\]\(([^)#:]+\.md)\)", text))
        assert f"notebooks/{page.stem}\n" in (DOCS / "index.md").read_text()
