"""What starting loads: lists of modules, since times differ between machines."""

import ast
import subprocess
import sys
from pathlib import Path

import click
import pytest

import leadline
from leadline.cli import cli

HEAVY = ["torch", "numpy", "scipy", "sympy", "networkx", "torch._dynamo", "torch.export", "vl_convert", "rich"]


def loaded(program: str) -> tuple[list[str], str]:
    """Run a program; return which heavy modules it has loaded, and what it printed."""
    begun = "import os, sys\nkept = os.dup(1)\n"  # the command line's own is closed when it has ended
    ending = f"\nos.write(kept, ' '.join(['|', *[name for name in {HEAVY!r} if name in sys.modules]]).encode())"
    run = subprocess.run([sys.executable, "-c", begun + program + ending], capture_output=True, text=True, check=True)
    printed, _, names = run.stdout.rpartition("|")
    assert run.stderr == ""
    return names.split(), printed


def started(*words: str) -> tuple[list[str], str]:
    return loaded(f"from leadline.cli import main\ntry:\n    main({list(words)!r})\nexcept SystemExit:\n    pass")


def test_importing_leadline_loads_nothing_heavy() -> None:
    assert loaded("import leadline")[0] == []


def test_measuring_results_loads_no_statistics_before_they_are_needed() -> None:
    program = "from leadline import Bound, Estimate\nimport sys\nassert 'scipy.special' not in sys.modules"
    assert loaded(program)[0] == ["numpy", "scipy"]


@pytest.mark.parametrize("words", [[], *([name] for name in cli.commands)])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    heavy, printed = started(*words, "--help")
    assert heavy == []
    assert printed.count("Usage: leadline") == 1


def test_leadline_alone_answers_with_three_commands_that_exist() -> None:
    heavy, printed = started()
    assert heavy == []
    tried = [line.split()[1] for line in printed.splitlines() if line.startswith("  leadline ")]
    assert len(tried) == 3
    assert set(tried) <= set(cli.commands)
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.slow
def test_what_traces_no_model_loads_no_compiler() -> None:
    everything = "import leadline.audit, leadline.report.presenting, leadline.testing, leadline.training\n"
    listing = "from leadline.cli import main\ntry:\n    main(['claims', '--list'])\nexcept SystemExit:\n    pass"
    heavy, printed = loaded(everything + listing)
    assert "torch" in heavy
    assert "torch._dynamo" not in heavy
    assert "A1" in printed


@pytest.mark.parametrize("name", [None, *cli.commands])
def test_no_help_shows_its_markup(name: str | None) -> None:
    command: click.Command = cli if name is None else cli.commands[name]
    shown = command.get_help(click.Context(command, info_name="leadline"))
    assert "\\b" not in shown
    assert "\b" not in shown


def test_names_are_loaded_when_they_are_asked_for() -> None:
    program = "import leadline\nassert set(leadline.__all__) <= set(dir(leadline))\nprint(leadline.zoo.ZOO)"
    heavy, printed = loaded(program)
    assert "torch" in heavy
    assert "wavenet" in printed
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = leadline.nosuch


def test_the_homes_of_public_names_are_those_that_type_checkers_read() -> None:
    tree = ast.parse(Path(str(leadline.__file__)).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    read = {
        alias.name: str(statement.module).removeprefix("leadline.")
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert read == leadline._HOMES
    assert sorted(read) == sorted(leadline.__all__)
