"""Multiply-accumulates of a training step against torch's own counter over a real forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.training_counts import assert_as_torch, counted_by_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from leadline.domains._count import Backward, count
from leadline.errors import UnknownOp


class Attention(nn.Module):
    """Attention over the last axis but one, fused or written out, perhaps with a mask that is learned."""

    def __init__(self, width: int, fused: bool, learned: bool, length: int) -> None:
        super().__init__()
        self.project, self.fused = nn.Linear(width, 3 * width), fused
        self.bias = nn.Parameter(torch.zeros(length, length)) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        if self.fused:
            return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        scores = torch.baddbmm(torch.zeros(()), q, k.transpose(1, 2))
        return torch.bmm((scores if self.bias is None else scores + self.bias).softmax(-1), v)


class Convolutions(nn.Module):
    """Along the positions, with or without a stride that a transposed one undoes."""

    def __init__(self, width: int, transposed: bool, kernel: int) -> None:
        super().__init__()
        kind = nn.ConvTranspose1d if transposed else nn.Conv1d
        self.inner = kind(width, width, 2 * kernel + 1, padding=kernel, dilation=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class Loop(nn.Module):
    """An LSTM's cell in a loop, so that the counter sees its products."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(width, width)

    def forward(self, x: Tensor) -> Tensor:
        state, found = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            found.append(state[0])
        return torch.stack(found, 1)


class Stacked(nn.Module):
    """Layers one after the other; some twice, some checkpointed, some cut off from what comes before."""

    def __init__(self, layers: list[nn.Module], how: list[str]) -> None:
        super().__init__()
        self.layers, self.how = nn.ModuleList(layers), how

    def forward(self, x: Tensor) -> Tensor:
        for layer, how in zip(self.layers, self.how, strict=True):
            if how == "frozen":
                with torch.no_grad():
                    x = layer(x)
            elif how == "detached":
                x = layer(x.detach())
            else:
                x = layer(x) if how == "once" else layer(layer(x).tanh())
        return x


LENGTH, WIDTH = 5, 4
MAKERS: list[Callable[[st.DrawFn], nn.Module]] = [
    lambda draw: nn.Linear(WIDTH, WIDTH, bias=draw(st.booleans())),
    lambda draw: Attention(WIDTH, draw(st.booleans()), draw(st.booleans()), LENGTH),
    lambda draw: Convolutions(WIDTH, draw(st.booleans()), draw(st.integers(0, 2))),
    lambda _: Loop(WIDTH),
    lambda draw: nn.GRU(WIDTH, WIDTH, draw(st.integers(1, 2)), batch_first=True),
]


class First(nn.Module):
    """The first of what a layer gives."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    made = [draw(st.sampled_from(MAKERS))(draw) for _ in range(draw(st.integers(1, 4)))]
    layers = [First(layer) if isinstance(layer, nn.RNNBase) else layer for layer in made]
    model = Stacked(layers, [draw(st.sampled_from(["once", "once", "twice", "frozen", "detached"])) for _ in layers])
    for parameter in model.parameters():
        parameter.requires_grad_(draw(st.sampled_from([True, True, False])))
    return model, torch.zeros(2, LENGTH, WIDTH).requires_grad_(draw(st.booleans()))


@given(drawn=networks())
@settings(max_examples=10, deadline=None)
def test_generated_networks(drawn: tuple[nn.Module, Tensor]) -> None:
    """Frozen parameters, inputs that ask for gradients or do not, shared layers, gradients that forward cuts off."""
    assert_as_torch(*drawn)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_grouped_convolutions(kind: type[nn.Module], groups: int) -> None:
    """The counter takes the gradient of a grouped weight for that of a whole one, `groups` times too large."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), kind(4, 8, 3, stride=2, groups=groups))
    x = torch.zeros(2, 3, 7, 7)
    own = count(model[1], torch.zeros(2, 4, 7, 7)).macs
    assert_as_torch(model, x, more=(groups - 1) * own)


def test_projected_recurrences_and_given_states() -> None:
    """The first step's state needs no gradient unless it is given and asks for one."""
    for asked in ("", "h", "c", "hc"):
        h, c = torch.zeros(2, 2, 2).requires_grad_("h" in asked), torch.zeros(2, 2, 5).requires_grad_("c" in asked)
        assert_as_torch(nn.LSTM(3, 5, 2, proj_size=2), torch.zeros(6, 2, 3), (h, c))
        frozen = nn.LSTM(3, 5, 2, proj_size=2).requires_grad_(False)
        assert_as_torch(frozen, torch.zeros(6, 2, 3), (h, c))


def test_only_biases_are_trained() -> None:
    """Gradients pass through weights that stay as they are; the first layer's weights see none."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.RNN(5, 6))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("bias" in name)
    assert_as_torch(model, torch.zeros(7, 2, 3))


class Checkpointed(nn.Module):
    """Layers whose activations are computed again."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.layers, self.reentrant = nn.Linear(3, 4), nn.Linear(4, 4), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layers, self.first(x), use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_counted_once(reentrant: bool) -> None:
    """Torch counts the forward pass that is done again; kept activations would spare it."""
    again = 5 * 4 * 4
    model = Checkpointed(reentrant).train()
    stops_early = 0 if reentrant else again  # the last product's result is not needed again
    assert_as_torch(model, torch.zeros(5, 3), more=again - stops_early)


def test_fused_attention_computes_its_scores_again() -> None:
    """Four products backwards, and a fifth that is stated beside them."""
    found = count(Attention(WIDTH, True, False, LENGTH), torch.zeros(2, LENGTH, WIDTH), backward=True)
    pairs = 2 * LENGTH**2 * WIDTH
    assert found.backward == Backward(4 * pairs + (found.macs - 2 * pairs), 4 * pairs + (found.macs - 2 * pairs), pairs)


def test_embeddings_cost_nothing() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 3))
    assert_as_torch(model, torch.zeros(2, 5, dtype=torch.long))
    tallies = count(model, torch.zeros(2, 5, dtype=torch.long), backward=True).by_module
    assert tallies["0"].backward is None
    assert tallies["1"].backward == Backward(240, 240)


class Writing(nn.Module):
    """Writes into a weight, or into what a layer gives, while gradients are switched off."""

    def __init__(self, weight: bool) -> None:
        super().__init__()
        self.first, self.second, self.weight = nn.Linear(3, 3), nn.Linear(3, 3), weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        with torch.no_grad():
            (self.second.weight if self.weight else x).clamp_(-1, 1)
        return self.second(x)[:]


@pytest.mark.parametrize("weight", [True, False])
def test_what_is_written_without_gradients_keeps_its_own(weight: bool) -> None:
    assert_as_torch(Writing(weight), torch.zeros(2, 3))


class MaskedInPlace(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data *= torch.ones(3, 3).tril()
        return super().forward(x)


class WrittenThrough(nn.Linear):
    """Changes its weight through a view that has no gradient."""

    def __init__(self, way: Callable[[Tensor], object]) -> None:
        super().__init__(3, 3)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        self.way(self.weight.data)
        return super().forward(x)


@pytest.mark.parametrize(
    "model",
    [
        MaskedInPlace(3, 3),
        WrittenThrough(lambda weight: weight.mul_(torch.ones(3, 3).tril())),
        WrittenThrough(lambda weight: weight[1:].clamp_(min=0)),
        WrittenThrough(lambda weight: weight.copy_(weight.tril())),
    ],
)
def test_a_copy_into_a_parameter_is_not_guessed_at(model: nn.Module) -> None:
    x = torch.zeros(2, 3)
    assert count(model, x).macs == 18
    with pytest.raises(UnknownOp, match=r"forward copies what aten\.[a-z_]+\."):
        count(model, x, backward=True)


class Mapped(nn.Module):
    """Layers under a transform of torch.func, some of them without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            before = self.first(x)
        return torch.vmap(lambda row: self.second(row).sin())(before)


def test_layers_that_are_mapped() -> None:
    """Torch switches gradients off by itself where it traces beneath transforms."""
    assert_as_torch(Mapped(), torch.zeros(2, 5, 3))


class Inverted(nn.Linear):
    """A weight that is made of products, an inverse, and a factor that asks for no gradient."""

    def __init__(self, trained: bool) -> None:
        super().__init__(4, 4, bias=False)
        self.factor = nn.Parameter(torch.eye(4), requires_grad=False)
        self.weight.requires_grad_(trained)

    def forward(self, x: Tensor) -> Tensor:
        gram = self.weight @ self.weight.mT + 3 * torch.eye(4)
        return x @ torch.linalg.inv(gram) @ self.factor


def test_what_a_computed_weight_is_made_of_is_counted() -> None:
    """All but the products of the inverse's own gradient, two of the matrix's size, which are said to be missing."""
    x = torch.zeros(2, 4)
    assert_as_torch(Inverted(False), x)
    with pytest.raises(UnknownOp, match=r"no rule for the gradient of linalg_inv.* at the model itself"):
        count(Inverted(True), x, backward=True)
    found = count(Inverted(True), x, backward=True, on_unknown="top")
    assert found.backward is not None
    assert (found.macs, found.backward.macs + 2 * 4**3) == counted_by_torch(Inverted(True), x)
    assert (found.status.value, len(found.coverage.gaps)) == ("bound", 1)
