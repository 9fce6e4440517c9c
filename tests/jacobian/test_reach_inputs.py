"""What reach takes as inputs, integers among them, and what it says of those that it cannot measure."""

import pytest
import torch
from helpers.odd.models import odd_model
from torch import nn

from leadline import reach
from leadline.errors import Diverged, LayoutError, ModelError, NotDifferentiable, UsageError


class Tokens(nn.Module):
    """Integers, made floats in some way, then mixed."""

    def __init__(self, floats) -> None:
        super().__init__()
        self.table, self.places, self.floats = nn.Embedding(7, 4), nn.Embedding(9, 4), floats
        self.mix = nn.GRU(4, 4, batch_first=True)

    def forward(self, tokens):
        x = self.floats(self, tokens)
        x = x + self.places(torch.arange(tokens.shape[1]))
        return self.mix(x.masked_fill((tokens == 6)[..., None], 0.0))[0]


FLOATS = {
    "embedded": lambda self, tokens: self.table(tokens),
    "one hot": lambda _self, tokens: nn.functional.one_hot(tokens, 7)[..., :4].float(),
    "one hot, channels first": lambda _self, tokens: nn.functional.one_hot(tokens, 7)[..., :4].mT.float().mT,
    "in one row": lambda self, tokens: self.table(tokens.flatten()).reshape(*tokens.shape, 4),
    "scaled": lambda _self, tokens: (tokens / 7)[..., None].expand(*tokens.shape, 4),
}


@pytest.mark.parametrize("name", FLOATS)
def test_integers_are_measured_at_their_first_floats(name):
    torch.manual_seed(0)
    model = Tokens(FLOATS[name])
    tokens = torch.randint(0, 6, (2, 9))
    found = reach(model, tokens, layout="b t -> b t v", positions=[8])
    x = FLOATS[name](model, tokens).detach() + model.places(torch.arange(9)).detach()
    J = torch.autograd.functional.jacobian(lambda x: model.mix(x)[0][:, 8], x).square().sum(2)
    if name == "scaled":  # one number stands for four
        J = torch.autograd.functional.jacobian(
            lambda x: model.mix(x[..., None].expand(2, 9, 4) + model.places(torch.arange(9)))[0][:, 8], tokens / 7
        )
        J = J.square().sum(2)[..., None]
    want = J.mean((0, 1, 3)).sqrt().flip(0)
    assert torch.allclose(found.rms.float(), want, rtol=1e-4)


def test_pictures_of_integers_that_a_model_reads_as_rows():
    """A picture read as a sequence, for each sample, has the reach that the floats of its pixels have."""

    class Pixels(nn.Module):
        def __init__(self, flat):
            super().__init__()
            self.table, self.mix, self.flat = nn.Embedding(7, 3), nn.Conv2d(3, 2, 3, padding=1), flat

        def forward(self, x):
            y = self.table(x.flatten(1)).unflatten(1, x.shape[1:]) if self.flat else self.table(x)
            return self.mix(y.movedim(-1, 1)).movedim(1, -1)

    torch.manual_seed(0)
    rows, pixels = Pixels(flat=True), Pixels(flat=False)
    pixels.load_state_dict(rows.state_dict())
    x = torch.randint(0, 7, (2, 4, 5))
    found, want = (reach(model, x, layout="b h w -> b h w v") for model in (rows, pixels))
    assert torch.equal(found.offsets, want.offsets)
    assert torch.allclose(found.rms, want.rms)


def test_what_cannot_be_measured_is_said():
    x = torch.randn(1, 5, 2)
    with pytest.raises(LayoutError, match="not a position"):
        reach(nn.Linear(2, 2), x, layout="b t c -> b t v", positions=[5])
    with pytest.raises(LayoutError, match="position axes"):
        reach(nn.Linear(2, 2), x[0], layout="b c -> b v")
    with pytest.raises(UsageError, match="at least two"):
        reach(nn.Linear(2, 2), x, layout="b t c -> b t v", probes=1)
    with pytest.raises(Diverged):
        reach(nn.Sequential(nn.Linear(2, 2), nn.Softsign()), x / 0, layout="b t c -> b t v")

    with pytest.raises(NotDifferentiable, match="needs numbers"):
        reach(nn.Linear(2, 2).to("meta"), x.to("meta"), layout="b t c -> b t v")

    class Cut(nn.Module):
        def forward(self, x):
            return x.round()

    with pytest.raises(NotDifferentiable, match="no gradient"):
        reach(Cut(), x, layout="b t c -> b t v")


@pytest.mark.parametrize(
    "name", ["raises in backward", "raises in a hook of its gradient", "has a hook of its backward pass that raises"]
)
def test_what_a_backward_pass_raises_is_the_model_s(name: str) -> None:
    model, inputs = odd_model(name)
    with pytest.raises(ModelError, match=r"the backward pass of (Model|Linear) raised"):
        reach(model, *inputs, layout="b t c -> b t v")


def test_a_default_device_that_a_model_leaves_behind_is_put_back_before_the_backward_pass() -> None:
    model, inputs = odd_model("changes the default device")
    assert reach(model, *inputs, layout="b t c -> b t v").within(1) == 0
