"""The pytest plugin of leadline: its assertions as fixtures, loaded when a test first asks for one.

It stands outside the package, so that a session that uses none of them imports neither leadline nor torch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

GRADES = ("structural", "finite-mask", "present-weights")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the weakest verdict that passes as causal, on the command line or as the ini option ``leadline_grade``."""
    told = "weakest verdict that the fixture assert_causal passes (default: finite-mask)"
    parser.getgroup("leadline").addoption("--leadline-grade", choices=GRADES, help=told)
    parser.addini("leadline_grade", told, default="finite-mask")


@pytest.fixture
def assert_causal(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`leadline.testing.assert_causal`, with the session's grade unless a call says `at_least` itself."""
    from leadline import testing

    config = request.config
    grade = config.getoption("--leadline-grade") or config.getini("leadline_grade")
    if grade not in GRADES:
        raise pytest.UsageError(f"leadline_grade is one of {', '.join(GRADES)}, not {grade!r}")
    return partial(testing.assert_causal, at_least=grade)


def _fixture(name: str) -> Callable[[], Callable[..., Any]]:
    """Make a fixture of one of `leadline.testing`'s assertions."""

    def load() -> Callable[..., Any]:
        from leadline import testing

        found: Callable[..., Any] = getattr(testing, name)
        return found

    load.__doc__ = f"`leadline.testing.{name}`."
    return pytest.fixture(name=name)(load)


assert_connections = _fixture("assert_connections")
assert_context = _fixture("assert_context")
assert_generate_matches = _fixture("assert_generate_matches")
assert_gradient_stable = _fixture("assert_gradient_stable")
assert_lookahead = _fixture("assert_lookahead")
assert_span = _fixture("assert_span")
