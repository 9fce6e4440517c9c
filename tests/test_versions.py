"""The range of torch's versions: one for pip and for the import, and a word on any other."""

import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from leadline import versions
from leadline.graph import Kind, trace

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_range_is_the_one_that_pip_is_told() -> None:
    (major, minor), newest = versions.OLDEST, versions.NEWEST
    dependencies = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    assert f"torch>={major}.{minor},<{newest[0]}.{newest[1] + 1}" in dependencies


def test_the_pinned_torch_is_of_the_range() -> None:
    (pin,) = (line for line in (PROJECT.parent / "constraints.txt").read_text().split() if line.startswith("torch=="))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.warn_if_untested(pin.removeprefix("torch=="))


@pytest.mark.parametrize("suffix", [".0", ".7", ".0+cpu", ".1+cu130", ".0a0+git1a2b3c4", "rc1"])
@pytest.mark.parametrize("tested", [versions.OLDEST, versions.NEWEST])
def test_a_version_of_the_range_is_passed_over(tested: tuple[int, int], suffix: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.warn_if_untested(f"{tested[0]}.{tested[1]}{suffix}")


@pytest.mark.parametrize(
    "version",
    [
        f"{versions.OLDEST[0]}.{versions.OLDEST[1] - 1}.1",
        f"{versions.NEWEST[0]}.{versions.NEWEST[1] + 1}.0a0+git1a2b3c4",
        "1.13.1",
        "3.0.0",
    ],
)
def test_a_version_outside_the_range_is_named_beside_it(version: str) -> None:
    tested = "{}.{} to {}.{}".format(*versions.OLDEST, *versions.NEWEST)
    with pytest.warns(UserWarning, match=f"tested with torch {tested}, and this is torch {version.split('+')[0]}"):
        versions.warn_if_untested(version)


def test_an_import_with_another_torch_warns_once_and_works(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import torch\ntorch.__version__ = '3.1.0'\nimport leadline\nimport leadline.testing\nleadline.check\n"
    )
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert run.stderr.count("leadline is tested with torch") == 1
    assert f"{program}:3: UserWarning" in run.stderr


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2}], ids=str)
def test_a_trace_gives_the_states_of_an_lstm_their_shape(settings: dict[str, int], batch: int) -> None:
    model, x = nn.LSTM(4, 5, **settings).double(), torch.zeros(6, batch, 4).double()
    output, states = model(x)
    (scan,) = (node for node in trace(model, x).nodes if node.kind is Kind.SCAN)
    assert [meta.shape for meta in scan.outputs if meta is not None] == [output.shape, *(part.shape for part in states)]
