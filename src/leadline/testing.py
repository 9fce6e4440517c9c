"""Assertions for users' own tests: what a model may see, checked at its structure, and what its gradients do.

Each takes what the function that it rests on takes; its message shows the witness and the source line.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from leadline.domains.reach import context
from leadline.domains.verdicts import Causality, Verdict, causality
from leadline.jacobian import GradientDepth, gradient

_GRADES = (Verdict.STRUCTURAL, Verdict.FINITE_MASK, Verdict.PRESENT_WEIGHTS)


def assert_causal(
    model: nn.Module, *inputs: Any, at_least: Verdict | str = Verdict.FINITE_MASK, samples: bool = True, **kwargs: Any
) -> Causality:
    """Assert that no output depends on a later input, nor on another sample.

    Parameters
    ----------
    model, *inputs, **kwargs
        As in `causality`.
    at_least
        The weakest verdict that passes: ``"structural"``, ``"finite-mask"`` or ``"present-weights"``.
    samples
        Whether dependence across samples fails too.

    Raises
    ------
    AssertionError
        With the verdict and the witness.

    Examples
    --------
    >>> assert_causal(nn.GRU(3, 4, batch_first=True), torch.zeros(2, 5, 3), layout="b t c -> b t v", output="[0]").lag
    0
    """
    result = causality(model, *inputs, **kwargs)
    passing = _GRADES[: _GRADES.index(Verdict(at_least)) + 1]
    assert result.verdict in passing, f"{type(model).__name__} is not causal: {result}"
    assert not samples or result.cross_batch is None, f"{type(model).__name__} mixes samples: {result.cross_batch}"
    return result


def assert_context(model: nn.Module, *inputs: Any, sees: Tensor | int, **kwargs: Any) -> None:
    """Assert which input positions one output position may depend on.

    Parameters
    ----------
    model, *inputs, **kwargs
        As in `context`.
    sees
        A boolean map over the first input's positions, or how many positions it holds.

    Raises
    ------
    AssertionError
        With the positions seen that should not be, and those missing.

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 3, padding=1)
    >>> assert_context(conv, torch.zeros(1, 1, 9), output=4, layout="b c t -> b v t", sees=3)
    """
    found = context(model, *inputs, **kwargs)
    at = ", ".join(f"{axis}={place}" for axis, place in found.position.items())
    if isinstance(sees, int):
        assert found.size == sees, f"the output at {at} sees {found.size} positions, not {sees}: {found.box()}"
        return
    more, less = ((found.map & ~sees).nonzero().tolist(), (sees & ~found.map).nonzero().tolist())
    assert torch.equal(found.map, sees), f"the output at {at} sees {more} besides, and does not see {less}"


def assert_gradient_stable(
    model: nn.Module, *inputs: Any, rate: float = 0.1, through: int | None = None, **kwargs: Any
) -> GradientDepth:
    """Assert that gradients neither vanish nor explode from stage to stage, at initialisation or whenever it is called.

    Parameters
    ----------
    model, *inputs, **kwargs
        As in `gradient`.
    rate
        The largest change of the log gradient norm per stage that passes, either way, beyond what chance explains.
    through
        Fail also if float16 gradients of size 1 are lost within so many stages.

    Raises
    ------
    AssertionError
        With the verdict in plain words, which names the rate and the stage.

    Examples
    --------
    >>> blocks = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True) for _ in range(4)]
    >>> assert_gradient_stable(nn.Sequential(*blocks).eval(), torch.randn(2, 5, 8)).mode
    'eval'
    """
    found = gradient(model, *inputs, **kwargs)
    name = type(model).__name__
    assert found.kind != "unknown", f"{name} has too few stages to judge: {found.verdict}"
    low, high = found.rate.interval()
    drifts = found.law.kind == "exponential" and (low > rate or high < -rate)
    assert not drifts, f"the gradient of {name} is {found.verdict}"
    depth = found.underflow_depth["float16"]
    assert through is None or depth is None or depth > through, (
        f"float16 loses the gradient of {name} after {depth} stages, not {through}: {found.verdict}"
    )
    return found
