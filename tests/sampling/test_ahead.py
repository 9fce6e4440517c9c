"""Nothing is drawn in an order in which the model sees what is not drawn yet: by generated orders, and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.errors import NotCausal
from leadline.likelihoods import Bernoulli, Categorical
from leadline.sampling import naive_sample
from leadline.zoo import build

K = 3


class Dependent(nn.Module):
    """Logits that depend on exactly the places that a matrix says, channels last or first, or one logit each."""

    def __init__(self, sees: Tensor, shape: tuple[int, ...], form: str = "last") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(sees * torch.randn(sees.shape, generator=generator))
        self.table = nn.Parameter(torch.randn(K, 1 if form == "single" else K, generator=generator))
        self.shape, self.form = shape, form

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        z = torch.einsum("ij,bjv->biv", self.weight, self.table[x.flatten(1)]).unflatten(1, self.shape)
        z = z if label is None else z + label.float().view(-1, *[1] * (z.ndim - 1))
        return z[..., 0] if self.form == "single" else z.movedim(-1, 1) if self.form == "first" else z


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(4,), (2, 3), (3, 3)]),
    st.integers(0, 10**6),
    st.sampled_from([0, 1]),
    st.booleans(),
    st.booleans(),
)
def test_exactly_the_causal_orders_are_drawn_in(
    shape: tuple[int, ...], seed: int, lag: int, spoilt: bool, labelled: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = math.prod(shape)
    ranks = torch.randperm(n, generator=generator)
    may = ranks[:, None] >= ranks[None, :] + lag
    sees = may & (torch.rand(n, n, generator=generator) < 0.7)
    if spoilt:
        wrong = (~may).nonzero()
        sees[tuple(wrong[int(torch.randint(len(wrong), (1,), generator=generator))])] = True
    form = ["last", "first", "single"][seed % 3]
    axes = "t" if len(shape) == 1 else "h w"
    layout = f"b {axes}{', _' if labelled else ''} -> " + {
        "last": f"b {axes} v", "first": f"b v {axes}", "single": f"b {axes}",
    }[form]  # fmt: skip
    model = Dependent(sees, shape, form)
    inputs = [torch.zeros(1, *shape, dtype=torch.int64), *([torch.tensor([1, 0])] if labelled else [])]
    how = {"layout": layout, "likelihood": Bernoulli() if form == "single" else Categorical(K), "lag": lag}
    how |= {"order": ranks.view(shape), "n": 2, "given": torch.zeros(1, *shape, dtype=torch.int64)}
    how |= {"mask": (ranks == 0).view(shape)}
    if spoilt:
        with pytest.raises(NotCausal, match="not causal in this order: its output at position"):
            naive_sample(model, *inputs, **how)
    else:
        assert naive_sample(model, *inputs, **how).shape == (2, *shape)


@pytest.mark.parametrize(("order", "causal"), [(None, True), ("h w", True), ("w h", False)])
def test_a_pixelcnn_is_drawn_in_its_own_order_alone(order: str | None, causal: bool) -> None:
    specimen = build("pixelcnn", classes=3, height=5, width=4, layers=2, channels=8, inner=4)
    how = {"layout": specimen.layout, "likelihood": Categorical(3), "order": order}
    if causal:
        naive_sample(specimen.model, *specimen.inputs, **how)
        return
    with pytest.raises(NotCausal, match=r"give the order .*order="):
        naive_sample(specimen.model, *specimen.inputs, **how)


def test_a_model_of_the_next_symbol_is_not_drawn_as_one_of_its_own() -> None:
    specimen = build("wavenet", classes=4, layers=2, length=8, lag=0)
    how = {"layout": specimen.layout, "likelihood": Categorical(4)}
    with pytest.raises(NotCausal, match="or lag=0"):
        naive_sample(specimen.model, *specimen.inputs, **how)
    begun = torch.zeros(1, 1, dtype=torch.int64)
    assert naive_sample(specimen.model, *specimen.inputs, lag=0, given=begun, **how).shape == (1, 8)


def test_a_leak_that_no_beginning_shows_is_found_in_what_was_drawn() -> None:
    n = 200  # more ranks than are tried as beginnings
    ranks = torch.arange(n)
    sees = (ranks[:, None] > ranks[None, :]) & (torch.rand(n, n, generator=torch.Generator().manual_seed(0)) < 0.02)
    how = {"layout": "b t -> b t v", "likelihood": Categorical(K), "n": 4}
    x = torch.zeros(1, n, dtype=torch.int64)
    naive_sample(Dependent(sees.clone(), (n,)), x, **how)
    found = 0
    for place in range(60, 66):  # two neighbours alone, wherever beginnings are tried
        spoilt = sees.clone()
        spoilt[place, place + 1] = True
        with pytest.raises(NotCausal) as error:
            naive_sample(Dependent(spoilt, (n,)), x, **how)
        found += "was drawn from a distribution" in str(error.value)
    assert found >= 3
