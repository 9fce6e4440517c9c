"""The plugin in sessions of its own: its fixtures, its option, and that nobody pays who does not use it.

Only the last one needs a process of its own; the others do not import everything again.
"""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"

USES = """
    import torch
    from torch import nn

    class Attention(nn.Module):
        def forward(self, x):
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            return (x @ x.mT).masked_fill(later, -1e4).softmax(-1) @ x

    def test_causal(assert_causal):
        assert_causal(Attention(), torch.randn(2, 5, 3), layout="b t c -> b t v")

    def test_leak(assert_causal):
        assert_causal(nn.Conv1d(3, 3, 3, padding=1), torch.randn(2, 3, 5), layout="b c t -> b v t")

    def test_others(assert_span, assert_connections, assert_context, assert_gradient_stable):
        linear, x = nn.Linear(3, 2), torch.zeros(1, 3)
        assert_span(linear, x, steps=1)
        assert_connections(linear, x, connections=6)
        conv = nn.Conv1d(1, 1, 3, padding=1)
        assert_context(conv, torch.zeros(1, 1, 5), position=2, layout="b c t -> b v t", sees=3)
        assert callable(assert_gradient_stable)

    def test_a_reading(assert_causal, assert_span):
        import leadline
        reading = leadline.read(Attention(), torch.randn(2, 5, 3), layout="b t c -> b t v")
        assert_causal(reading)
        assert_span(reading, steps=2)
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run a session with the plugin; without it, should this environment not have it installed."""
    return pytester.runpytest_inprocess("-p", "leadline_pytest", "-p", "no:cacheprovider", *arguments)


def test_fixtures_assert_and_show_the_witness(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USES)
    result = run(pytester)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*Conv1d is not causal: leak, looks 1 ahead: output?b=*depends on input*"])
    result.stdout.no_fnmatch_line("*causality_of(*")  # the traceback ends in the user's test
    strict = run(pytester, "--leadline-grade", "structural")
    strict.assert_outcomes(passed=1, failed=3)
    strict.stdout.fnmatch_lines(["*Attention is not causal: finite-mask, lag 0*"])


def test_a_grade_that_does_not_exist(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(assert_causal): pass")
    pytester.makeini("[pytest]\nleadline_grade = perfect")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*leadline_grade is one of structural, finite-mask, present-weights, not 'perfect'*"])


def test_a_session_that_asks_for_nothing_loads_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert "leadline_pytest" in sys.modules
            assert not {"leadline", "torch"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "leadline_pytest").assert_outcomes(passed=1)
