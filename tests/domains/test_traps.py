"""Leaks that probing certifies, and soundness where training, saturation or infinities hide a dependence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from leadline.domains._causality import Causality, Verdict, causality
from leadline.errors import LayoutError, UnknownOp
from leadline.graph.user_code import shortened
from leadline.testing import assert_causal, assert_context

T = 6


def judged(function: object, x: Tensor | None = None, **kwargs: object) -> Causality:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)  # type: ignore[operator]

    x = torch.randn(2, T, 3) if x is None else x
    return causality(Model(), x, layout=kwargs.pop("layout", "b t c -> b t v"), **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + x.mean(1, keepdim=True).round(),
        lambda x: x + x.sum(1, keepdim=True).sign(),
        lambda x: x + x.argmax(1, keepdim=True),
        lambda x: x + x.amax(1, keepdim=True).detach(),
        lambda x: x + F.relu(x.mean(1, keepdim=True) - 1e6),  # dead
        lambda x: x + x.mean(1, keepdim=True) * torch.nan,
        lambda x: x + (x.sum(1, keepdim=True) > 0).float() * 1e-30,
        lambda x: x * x.topk(2, dim=1).values[:, :1],
    ],
    ids=["round", "sign", "argmax", "detach", "dead relu", "nan", "comparison", "top-k"],
)
def test_what_has_no_gradient_still_leaks(function: object) -> None:
    result = judged(function)
    assert result.verdict is Verdict.LEAK
    assert result.witness is not None
    assert result.lag == 1 - T


def test_a_witness_names_positions_and_the_line() -> None:
    result = judged(lambda x: x + x.flip(1))
    assert result.witness is not None
    assert result.witness.confirmed
    out, into = result.witness.output_index, result.witness.input_index
    assert out["t"] + into["t"] == T - 1
    assert out["b"] == into["b"]
    here = shortened(__file__)
    assert any(place.source is not None and place.source.startswith(here) for place in result.witness.path)
    assert "confirmed by perturbation" in str(result)


def test_a_constant_output_has_no_lag() -> None:
    result = judged(lambda x: torch.zeros_like(x))
    assert (result.verdict, result.lag) == (Verdict.STRUCTURAL, None)


@pytest.mark.parametrize(
    ("lag", "strict", "verdict"),
    [(0, False, "structural"), (0, True, "leak"), (1, True, "structural"), (2, True, "structural")],
)
def test_lag_and_strictness(lag: int, strict: bool, verdict: str) -> None:
    result = judged(lambda x: F.pad(x, (0, 0, lag, 0))[:, :T].cumsum(1), strict=strict)
    assert (result.verdict.value, result.lag) == (verdict, lag)


def masked(mask: Tensor) -> object:
    return lambda x: (x @ x.mT + mask).softmax(-1) @ x


LATER = torch.ones(T, T, dtype=torch.bool).triu(1)


@pytest.mark.parametrize(
    ("mask", "verdict"),
    [
        (torch.zeros(T, T).masked_fill(LATER, -torch.inf), "structural"),
        (torch.zeros(T, T).masked_fill(LATER, -1e4), "finite-mask"),
        (torch.full((T, T), 2e4).masked_fill(LATER, 1e4), "finite-mask"),  # it is the row's maximum that counts
        (torch.zeros(T, T).masked_fill(LATER, -999.0), "leak"),
        (torch.zeros(T, T).masked_fill(LATER, -1e4) - 1e4 * torch.eye(T), "leak"),  # its first row is masked throughout
        (-0.1 * (torch.arange(T).view(-1, 1) - torch.arange(T)).abs(), "leak"),  # ALiBi
    ],
)
def test_masks_count_against_their_row(mask: Tensor, verdict: str) -> None:
    assert judged(masked(mask)).verdict.value == verdict


def test_two_finite_masks_do_not_become_infinite() -> None:
    mask = torch.zeros(T, T).masked_fill(LATER, torch.finfo(torch.float32).min)
    assert judged(lambda x: (x @ x.mT + mask + mask).softmax(-1) @ x).verdict is Verdict.FINITE_MASK
    assert judged(lambda x: ((x @ x.mT + mask) * 4.0).softmax(-1) @ x).verdict is Verdict.FINITE_MASK


def test_a_row_of_minus_infinity_is_no_mask() -> None:
    mask = torch.zeros(T, T).masked_fill(LATER, -torch.inf)
    mask[2] = -torch.inf
    assert judged(masked(mask)).verdict is Verdict.LEAK


def test_a_mask_given_as_an_input_is_not_known() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (x @ x.mT + mask).softmax(-1) @ x

    mask = torch.zeros(T, T).masked_fill(LATER, -torch.inf)
    assert causality(Model(), torch.randn(1, T, 3), mask, layout="b t c, _ -> b t v").verdict is Verdict.LEAK


class Gated(nn.Module):
    """A residual branch that sees everything, behind a scale that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.weight = nn.Parameter(torch.zeros(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * x.mean(1, keepdim=True) + x.flip(1) @ self.weight


def test_a_branch_that_starts_at_zero_is_not_independent() -> None:
    result = causality(Gated(), torch.randn(2, T, 3), layout="b t c -> b t v")
    assert result.verdict is Verdict.LEAK
    assert result.witness is not None
    assert not result.witness.confirmed


def test_tokens_and_conditioning() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.label = nn.Embedding(7, 4), nn.GRU(4, 4, batch_first=True), nn.Embedding(2, 4)

        def forward(self, tokens: Tensor, label: Tensor) -> Tensor:
            return self.rnn(self.embed(tokens) + self.label(label).unsqueeze(1))[0]

    inputs = torch.randint(7, (2, T)), torch.tensor([0, 1])
    result = causality(Model(), *inputs, layout="b t, _ -> b t v")
    assert (result.verdict, result.lag, result.cross_batch) == (Verdict.STRUCTURAL, 0, None)
    by_name = causality(
        Model(), tokens=inputs[0], label=inputs[1], layout={"tokens": "b t", "label": None, "output": "b t v"}
    )
    assert by_name == result


def test_orders_over_grids() -> None:
    x = torch.randn(1, 2, 4, 5)
    rows = lambda x: x.cumsum(2)  # noqa: E731
    assert judged(rows, x, layout="b c h w -> b v h w", order="h w").verdict is Verdict.STRUCTURAL
    assert judged(rows, x, layout="b c h w -> b v h w", order="w h").verdict is Verdict.STRUCTURAL
    flat = lambda x: x.flatten(2).cumsum(2).view_as(x)  # noqa: E731
    assert judged(flat, x, layout="b c h w -> b v h w", order="h w").verdict is Verdict.STRUCTURAL
    assert judged(flat, x, layout="b c h w -> b v h w", order="w h").verdict is Verdict.LEAK
    backwards = torch.arange(T).flip(0)
    assert judged(lambda x: x.flip(1).cumsum(1).flip(1), order=backwards).verdict is Verdict.STRUCTURAL
    with pytest.raises(LayoutError, match="nothing to order"):
        judged(lambda x: x.mean(1), layout="b t c -> b v")


def test_samples_must_not_mix() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.norm(step) for step in x.unbind(1)], 1)

    x = torch.randn(3, T, 3)
    mixing = causality(Normed(), x, layout="b t c -> b t v")
    assert mixing.verdict is Verdict.STRUCTURAL
    assert mixing.cross_batch is not None
    assert mixing.cross_batch.confirmed
    assert mixing.cross_batch.output_index["b"] != mixing.cross_batch.input_index["b"]
    assert causality(Normed().eval(), x, layout="b t c -> b t v").cross_batch is None
    with pytest.raises(AssertionError, match="mixes samples"):
        assert_causal(Normed(), x, layout="b t c -> b t v")
    assert_causal(Normed(), x, layout="b t c -> b t v", samples=False)


class Reflections(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        square = x[:, :1].mT @ x[:, :1]
        return x.cumsum(1) + torch.linalg.householder_product(square, square[:, 0]).sum(1, keepdim=True)


def test_without_a_rule_it_raises_or_stays_unknown() -> None:
    x = torch.randn(1, T, 3)
    with pytest.raises(UnknownOp, match=r"householder_product.*test_traps.py:\d+.*on_unknown='top'"):
        causality(Reflections(), x, layout="b t c -> b t v")
    result = causality(Reflections(), x, layout="b t c -> b t v", on_unknown="top")
    assert result.verdict is Verdict.STRUCTURAL  # everything that it could depend on is the first position
    assert not result.coverage.complete


def test_models_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Conv1d(3, 3, 3, padding=1)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    result = causality(model, torch.randn(2, 3, T), layout="b c t -> b v t")
    assert result.verdict is Verdict.LEAK
    assert result.training
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    random_after = torch.get_rng_state()
    torch.set_rng_state(random)
    torch.randn(2, 3, T)
    assert torch.equal(torch.get_rng_state(), random_after)


def test_assertions_show_what_is_wrong() -> None:
    x = torch.randn(2, 3, T)
    said = r"is not causal: leak, looks 1 ahead: output\[(.|\n)*through the model itself"
    with pytest.raises(AssertionError, match=said):
        assert_causal(nn.Conv1d(3, 3, 3, padding=1), x, layout="b c t -> b v t")
    with pytest.raises(
        AssertionError, match=r"sees 3 positions, not 2.*\n  through the model itself \(.*conv.py:\d+\)"
    ):
        assert_context(nn.Conv1d(3, 3, 3, padding=1), x, layout="b c t -> b v t", position=2, sees=2)
    with pytest.raises(AssertionError, match=r"sees \[\[3\]\] besides.*\[3\] is seen\n  through the model"):
        assert_context(
            nn.Conv1d(3, 3, 3, padding=1),
            x,
            layout="b c t -> b v t",
            position=2,
            sees=torch.arange(T).sub(1.5).abs() < 1,
        )
