"""The shell of the project: what other tools read is well-formed, and says the same as pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from leadline.cli import cli

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
YAML = sorted(
    [*ROOT.glob(".github/**/*.yml"), *ROOT.glob("*.yml"), *ROOT.glob(".pre-commit*.yaml"), *ROOT.glob("*.cff")]
)


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_other_tools_can_be_read(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def test_the_citation_and_the_changelog_speak_of_this_version() -> None:
    version = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (version, PROJECT["project"]["license"])
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)[0] == version


def asked(name: str, extras: Iterable[str], versions: str, extra: str) -> tuple[str, tuple[str, ...], str, str]:
    """Return a requirement as it is compared: its name, its extras, its versions, and the extra that brings it."""
    return canonicalize_name(name), tuple(sorted(extras)), ",".join(sorted(versions.split(","))), extra


def test_the_lock_file_is_of_these_dependencies() -> None:
    """`uv lock` was run after the last change; else `uv sync` would install what was asked for before it."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (locked,) = (each["metadata"] for each in packages if each["source"] == {"editable": "."})
    wanted = {"": PROJECT["project"]["dependencies"], **PROJECT["project"]["optional-dependencies"]}
    assert set(locked["provides-extras"]) | {""} == set(wanted)
    stated = [(extra, Requirement(line)) for extra, lines in wanted.items() for line in lines]
    assert {
        asked(each["name"], each.get("extras", ()), each.get("specifier", ""), each.get("marker", "")[10:-1])
        for each in locked["requires-dist"]
    } == {asked(each.name, each.extras, str(each.specifier), extra) for extra, each in stated}


def options(command: str) -> set[str]:
    return {name for option in cli.commands[command].params for name in option.opts}


def test_the_action_and_the_hook_use_options_that_exist() -> None:
    action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    scripts = " ".join(step["run"] for step in action["runs"]["steps"]) + hook["entry"]
    used = set(re.findall(r"(?<=[\s\"(])--[a-z-]+", scripts))
    assert {"--budget", "--sarif", "--junit", "--strict", "--quiet"} <= used
    assert used <= options("check")
    assert "${{" not in action["runs"]["steps"][1]["run"]  # inputs are words, never part of a script


def test_workflows_may_only_read_unless_they_publish() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}, path
        granted = {name: job.get("permissions") for name, job in workflow["jobs"].items() if "permissions" in job}
        assert granted in ({}, {"publish": {"id-token": "write"}}), path
