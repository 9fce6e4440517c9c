"""Which backend runs a stream is decided as it is made, and said by name; torch works within the compiled one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline.errors import UsageError
from leadline.sampling import Stream, stream
from leadline.sampling.compiled.called import Called


class Function(nn.Module):
    """A function of numbers at one position."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def of(function: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float64, **how: str) -> tuple[Stream, Tensor]:
    x = torch.randn(2, 70, 3, dtype=dtype)
    made = stream(Function(function), x, layout="b t c -> b t v", **how)  # type: ignore[arg-type]
    return made, x


def test_the_compiled_path_is_taken_where_it_can_be_and_names_what_torch_computes_in_it() -> None:
    made, x = of(lambda x: torch.tanh(torch.digamma(torch.relu(x) + 1)))
    assert made.backend == "numba"
    assert "torch computes digamma (the model itself (" in made.reason
    torch.testing.assert_close(made.logits(x), torch.tanh(torch.digamma(torch.relu(x) + 1)), rtol=0, atol=1e-10)
    assert "torch computes" not in of(lambda x: torch.tanh(x + 1))[0].reason


def test_truth_values_and_whole_numbers_that_torch_works_on_have_their_types_there() -> None:
    def function(x: Tensor) -> Tensor:
        whole = (4 * x).long()
        return torch.where((x > 0) & ~(x > 1), (whole & 3).to(x.dtype), whole.remainder(3).to(x.dtype))

    made, x = of(function)
    assert made.backend == "numba"
    assert torch.equal(made.logits(x), function(x))
    assert torch.equal(made.using("torch").logits(x), function(x))


@pytest.mark.parametrize(
    ("function", "dtype", "why"),
    [
        (lambda x: torch.polar(x.abs(), x).real, torch.float64, "works with real numbers, and the model itself"),
        (lambda x: x * 2, torch.bfloat16, "works in float32 and float64"),
    ],
)
def test_torch_is_taken_where_the_compiled_path_is_unable_and_asked_for_it_refuses(
    function: Callable[[Tensor], Tensor], dtype: torch.dtype, why: str
) -> None:
    made, x = of(function, dtype)
    assert made.backend == "torch"
    assert why in made.reason
    torch.testing.assert_close(made.logits(x), function(x))
    with pytest.raises(UsageError, match=why):
        made.using("numba")
    assert made.using("torch").reason == "asked for"


def test_what_torch_raises_within_compiled_code_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = of(lambda x: torch.digamma(x) + leadline.__name__.count("x"))

    def failing(*_: object) -> Tensor:
        raise UsageError("not here")

    monkeypatch.setattr(Called, "_value", failing)
    with pytest.raises(UsageError, match="not here"):
        made.logits(x)
    monkeypatch.undo()
    torch.testing.assert_close(made.logits(x), torch.digamma(x))
