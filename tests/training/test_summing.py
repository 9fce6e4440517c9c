"""The loss of a few rows of logits at a time is the sum of all symbols' nats, and has its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.data import Batch
from leadline.likelihoods import Categorical
from leadline.training import summing, symbol_nats
from leadline.training.summing import summed_nats
from leadline.zoo import build
from leadline.zoo.layers.logits import Logits

MODELS = {
    "mdrnn": {"classes": 5, "height": 3, "width": 4, "hidden": 3, "layers": 1, "embedding": 2, "head": 4, "batch": 3},
    "transformer": {"classes": 5, "length": 7, "heads": 1, "head_channels": 4, "layers": 1, "batch": 3},
}


def sums_and_gradients(model: nn.Module, batch: Batch, **read: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the loss and the gradients of all weights, cut up and not."""
    each = summed_nats(model, batch, Categorical(5), **read), symbol_nats(model, batch, Categorical(5), **read).sum()
    weights = [weight for weight in model.parameters() if weight.numel()]
    ours, oracle = ([nats, *torch.autograd.grad(0.3 * nats, weights, allow_unused=True)] for nats in each)
    return ours, oracle


@settings(max_examples=20)
@given(st.sampled_from(sorted(MODELS)), st.integers(0, 4), st.booleans(), st.integers(0, 1), st.integers(1, 200))
def test_it_is_the_sum_of_what_symbols_take(word: str, labels: int, masked: bool, lag: int, at_once: int) -> None:
    specimen = build(word, **MODELS[word], labels=labels, seed=0)
    x = torch.randint(5, specimen.inputs[0].shape)
    mask = torch.rand(x.shape) < 0.7 if masked else None
    batch = Batch(x, mask, torch.randint(labels, (3,)) if labels else None, (0, 1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing, "_AT_ONCE", at_once)
        ours, oracle = sums_and_gradients(specimen.model.double(), batch, lag=lag, conditional=labels > 0)
    torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-10)


def test_logits_are_cut_up_and_given_back() -> None:
    """The layer makes none of its outputs in training, and all of them afterwards."""
    model, x = build("transformer", **MODELS["transformer"], seed=0).model, torch.zeros(3, 7, dtype=torch.long)
    sizes: list[int] = []
    model.logits.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    summed_nats(model, Batch(x, None, None, (0, 1, 2)), Categorical(5))
    assert model(x).shape == (3, 7, 5)
    assert sizes == [4, 5]


def test_one_that_fails_gives_them_back_too() -> None:
    layer = Logits(2, 3)
    with pytest.raises(ZeroDivisionError), layer.held_back():
        raise ZeroDivisionError
    assert layer(torch.ones(2)).shape == (3,)


def test_logits_out_of_reach_are_as_far_off() -> None:
    """Where the softmax underflows, the logarithm is still that of the product."""
    model = Far()
    batch = Batch(torch.tensor([[0, 4]]), None, None, (0,))
    ours, oracle = sums_and_gradients(model, batch)
    assert oracle[0] > 1e4
    torch.testing.assert_close(ours, oracle)


class Far(nn.Module):
    """Gives the first class a logit of ten thousand."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = Logits(1, 5)
        with torch.no_grad():
            self.logits.weight.copy_(torch.tensor([[1e4], [0], [0], [0], [0]]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.logits(torch.ones(*x.shape, 1))
        return out


def test_a_monitor_hears_the_same_gradients() -> None:
    heard = []
    for nats in (summed_nats, lambda *given: symbol_nats(*given).sum()):
        specimen = build("transformer", **MODELS["transformer"] | {"layers": 3}, seed=0)
        optimizer = torch.optim.SGD(specimen.model.parameters(), lr=0.1)
        with leadline.monitor(specimen.model, every=1) as watch:
            for _ in range(2):
                optimizer.zero_grad()
                nats(specimen.model, Batch(specimen.inputs[0], None, None, (0, 1, 2)), Categorical(5)).backward()
                optimizer.step()
        heard.append(watch.records)
    for ours, oracle in zip(*heard, strict=True):
        assert ours.stages == oracle.stages
        assert ours.norms == pytest.approx(oracle.norms, rel=1e-5)
