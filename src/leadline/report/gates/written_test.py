"""A pytest file that holds what an audit found, for the user to keep."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leadline.audit.audited import Audit, Unavailable
from leadline.audit.limits import drifts, looks_ahead


def written_test(audit: Audit, word: str, settings: Sequence[str] = (), *, file: Path, **axes: Any) -> str:
    """Return the text of a test file: one test for each depth that is known, which passes today.

    Figures that depend on the machine are left out. A leak is held at its lookahead, so that it cannot get worse.

    Parameters
    ----------
    word, settings
        The model, as on the command line.
    file
        Where the test will stand: files of the model's are found from there.
    axes
        ``layout``, ``order`` and ``output``, where they were given.
    """
    axes = {**axes, "layout": audit.layout} if audit.assumed else axes
    given = [_quoted(setting) for setting in settings]
    given += [f"{name}={_quoted(value)}" for name, value in axes.items() if value is not None]
    tests = [*_causality(audit), *_count(audit), *_context(audit), *_gradient(audit)]
    body = "\n\n\n".join(f"def test_{name}(reading):\n{lines}" for name, lines in tests)
    own, where = _found_from(word, file.resolve().parent)
    called = audit.name.replace("\\", "/").replace('"', "'")
    return f'''"""What leadline {version("leadline")} found of {called}: `leadline check --write-test` wrote it."""

{"from pathlib import Path" + chr(10) * 2 if own else ""}import pytest

from leadline import testing


@pytest.fixture(scope="module")
def reading():
    return testing.reading_of({", ".join([where, *given])})


{body}
'''


def _quoted(text: str) -> str:
    """Write text as Python does, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _found_from(word: str, folder: Path) -> tuple[bool, str]:
    """Return an expression of a model's word that holds wherever tests run, after whether the word is a file's."""
    scheme = "hf:" if word.startswith("hf:") else ""
    path, colon, factory = word.removeprefix(scheme).partition(":")
    if not os.path.exists(path):
        return False, _quoted(word)
    relative = Path(os.path.relpath(Path(path).resolve(), folder)).as_posix()
    return True, f'f"{scheme}{{Path(__file__).parent / {relative!r}}}{colon}{factory}"'


def _causality(audit: Audit) -> list[tuple[str, str]]:
    found = audit.causality
    if isinstance(found, Unavailable) or not found.coverage.complete:
        return []
    tests = [("lookahead", f"    testing.assert_lookahead(reading, samples={looks_ahead(found)})")]
    if found.causal:
        apart = "" if found.cross_batch is None else ", samples=False"
        tests.insert(0, ("causality", f'    testing.assert_causal(reading, at_least="{found.verdict}"{apart})'))
    return tests


def _count(audit: Audit) -> list[tuple[str, str]]:
    count, span = audit.count, audit.span
    tests = []
    if not isinstance(count, Unavailable) and count.coverage.complete:
        held = f"connections={count.connections}, macs={count.macs}"
        tests.append(("connections", f"    testing.assert_connections(reading, {held})"))
    if not isinstance(span, Unavailable) and span.coverage.complete:
        tests.append(("span", f"    testing.assert_span(reading, steps={span.steps})"))
    return tests


def _context(audit: Audit) -> list[tuple[str, str]]:
    found = audit.context
    if isinstance(found, Unavailable) or not found.coverage.complete:
        return []
    position = tuple(found.position.values())
    return [("context", f"    testing.assert_context(reading, position={position}, sees={found.size})")]


def _gradient(audit: Audit) -> list[tuple[str, str]]:
    """Hold a gradient that is stable as `assert_gradient_stable` understands it."""
    found = audit.gradient
    if isinstance(found, Unavailable) or not found.sure or drifts(found, 0.1):
        return []
    if max(map(abs, found.farthest)) > math.log(100):
        return []
    return [("gradient", f"    testing.assert_gradient_stable(reading, seed={found.seed})")]
