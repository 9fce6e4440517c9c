"""The naive sampler against a sampler written out by hand, and the laws that every sampler must keep."""

import math

import pytest
import torch
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.errors import Diverged, LayoutError, ModelError, UsageError
from leadline.likelihoods import Bernoulli, Categorical
from leadline.sampling import naive_sample, uniforms

K = 5


class Chain(nn.Module):
    """A causal linear map: logits from all earlier symbols in a given order (lag 1), or from the symbol itself too."""

    def __init__(
        self, ranks: Tensor, lag: int = 1, classes: int = K, labels: int = 0, channels_first: bool = False
    ) -> None:
        super().__init__()
        n = ranks.numel()
        flat = ranks.flatten()
        earlier = flat[:, None] >= flat[None, :] + lag
        self.register_buffer("weight", torch.randn(n, n, dtype=torch.float64) * earlier)
        self.register_buffer("table", torch.randn(classes, classes, dtype=torch.float64))
        self.register_buffer("shift", torch.randn(max(labels, 1), classes, dtype=torch.float64))
        self.channels_first = channels_first

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        z = torch.einsum("ij,bjv->biv", self.weight, self.table[x.flatten(1)])
        z = z + (self.shift[0] if label is None else self.shift[label][:, None])
        z = z.unflatten(1, x.shape[1:])
        return z.movedim(-1, 1) if self.channels_first else z


def by_hand(model: nn.Module, ranks: Tensor, u: Tensor, lag: int, given: Tensor, kept: Tensor) -> Tensor:
    """One sample, symbol by symbol, in plain Python."""
    x, places, before = given.clone() * kept, ranks.flatten().argsort().tolist(), None
    for rank, place in enumerate(places):
        if not kept.flatten()[place]:
            logits = model(x[None])[0].reshape(-1, K)[place if lag else before]
            cumulative = 0.0
            for symbol, p in enumerate(logits.softmax(-1).tolist()):
                cumulative += p
                if u[rank] < cumulative:
                    x.view(-1)[place] = symbol
                    break
        before = place
    return x


SHAPES = st.sampled_from([(1, 1), (1, 4), (3, 2), (4, 3)])
ORDERS = st.sampled_from(["h w", "w h", None, "random"])


@settings(max_examples=40)
@forall(SHAPES, ORDERS, st.sampled_from([0, 1]), st.integers(0, 10**6), st.integers(1, 3))
def test_equals_a_sampler_written_out_in_any_order(
    shape: tuple[int, int], order: str | None, lag: int, seed: int, n: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    ranks = torch.arange(math.prod(shape)).reshape(shape)
    if order == "w h":
        ranks = ranks.reshape(shape[::-1]).T.contiguous()
    if order == "random":
        ranks = torch.randperm(ranks.numel(), generator=generator).reshape(shape)
    model = Chain(ranks, lag)
    symbols = torch.randint(K, (n, *shape), generator=generator)
    mask = torch.rand(n, *shape, generator=generator) < 0.3
    if lag == 0:
        mask.view(n, -1)[:, ranks.flatten().argmin()] = True
    drawn = naive_sample(
        model,
        torch.zeros(1, *shape, dtype=torch.int64),
        layout="b h w -> b h w v",
        likelihood=Categorical(K),
        n=n,
        seed=seed,
        order=ranks if order == "random" else order,
        lag=lag,
        given=symbols,
        mask=mask,
    )
    u = uniforms(seed, n, ranks.numel())
    for i in range(n):
        assert torch.equal(drawn[i], by_hand(model, ranks, u[i], lag, symbols[i], mask[i]))


@settings(max_examples=25)
@forall(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 4))
def test_a_sample_does_not_depend_on_its_batch(seed: int, n: int, i: int) -> None:
    model = Chain(torch.arange(6))
    how = {"layout": "b t -> b t v", "likelihood": Categorical(K)}
    x = torch.zeros(1, 6, dtype=torch.int64)
    batch = naive_sample(model, x, n=n, seed=seed, **how)
    i %= n
    alone = naive_sample(model, x, uniforms=uniforms(seed, 1, 6, first=i), **how)
    assert torch.equal(batch[i], alone[0])
    assert torch.equal(batch, naive_sample(model, x, n=n, seed=seed, **how))


def test_uniforms_differ_by_sample_and_seed_and_are_uniform() -> None:
    u = uniforms(0, 200, 50)
    assert u.dtype == torch.float64
    assert ((u >= 0) & (u < 1)).all()
    assert len(u.flatten().unique()) == u.numel()
    assert not set(u.flatten().tolist()) & set(uniforms(1, 200, 50).flatten().tolist())
    assert abs(u.mean() - 0.5) < 0.01
    assert abs((u[:, 1:] - 0.5).mul(u[:, :-1] - 0.5).mean()) < 0.005


def test_samples_follow_the_joint_distribution() -> None:
    model, n = Chain(torch.arange(2), classes=2), 4000
    how = {"layout": "b t -> b t v", "likelihood": Categorical(2)}
    drawn = naive_sample(model, torch.zeros(1, 2, dtype=torch.int64), n=n, **how)
    for first in (0, 1):
        for second in (0, 1):
            x = torch.tensor([[first, second]])
            p = Categorical(2).log_prob(model(x), x).sum().exp().item()
            found = (drawn == x).all(dim=1).double().mean().item()
            assert abs(found - p) < 4 * math.sqrt(p * (1 - p) / n) + 1e-9


def test_temperature_zero_is_greedy_and_top_one_too() -> None:
    model = Chain(torch.arange(7))
    how = {"layout": "b t -> b t v", "likelihood": Categorical(K), "n": 3}
    x = torch.zeros(1, 7, dtype=torch.int64)
    cold = naive_sample(model, x, temperature=0.0, **how)
    assert torch.equal(cold, naive_sample(model, x, top_k=1, seed=5, **how))
    assert torch.equal(model(cold).argmax(-1), cold)


def test_conditioning_length_prefix_and_axes() -> None:
    model = Chain(torch.arange(6), labels=3)
    how = {"layout": "b t, _ -> b t v", "likelihood": Categorical(K)}
    x = torch.zeros(2, 6, dtype=torch.int64)
    both = naive_sample(model, x, torch.tensor([0, 2]), n=2, **how)
    for i, label in enumerate((0, 2)):
        own = naive_sample(model, x, torch.tensor([label]), uniforms=uniforms(0, 1, 6, first=i), **how)
        assert torch.equal(both[i], own[0])
    prefix = torch.tensor([[4, 3]])
    completed = naive_sample(model, x, torch.tensor([1]), n=3, given=prefix, **how)
    assert torch.equal(completed[:, :2], prefix.expand(3, -1))
    plain = Chain(torch.arange(6))
    first = Chain(torch.arange(6), channels_first=True)
    first.load_state_dict(plain.state_dict())
    one = naive_sample(plain, x[:1], layout="b t -> b t v", likelihood=Categorical(K))
    assert torch.equal(one, naive_sample(first, x[:1], layout="b t -> b v t", likelihood=Categorical(K)))


class Summing(nn.Module):
    """Real inputs with a feature axis, one logit a position, any length: the sum of what came before."""

    def forward(self, x: Tensor) -> Tensor:
        before = x.sum(-1).cumsum(1) - x.sum(-1)
        return before - 1.0


def test_features_bernoulli_encode_and_length() -> None:
    def encode(drawn: Tensor) -> Tensor:
        return torch.stack([drawn, -drawn * 0.5], dim=-1)

    model = Summing()
    how = {"layout": "b t c -> b t", "likelihood": Bernoulli(), "encode": encode, "n": 4}
    example = torch.zeros(1, 5, 2, dtype=torch.float64)
    five = naive_sample(model, example, **how)
    nine = naive_sample(model, example, length=9, **how)
    assert torch.equal(nine[:, :5], five)
    u = uniforms(0, 4, 9)
    for row, v in zip(nine, u, strict=True):
        total = 0.0
        for symbol, uniform in zip(row.tolist(), v.tolist(), strict=True):
            p_zero = 1 / (1 + math.exp(total - 1.0))
            assert symbol == int(uniform >= p_zero)
            total += 0.5 * symbol


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Embedding(K, K), nn.Dropout(0.5)).train()
    model[1].eval()
    x, how = torch.zeros(1, 3, dtype=torch.int64), {"layout": "b t -> b t v", "likelihood": Categorical(K)}
    naive_sample(model, x, lag=0, given=x[:, :1], **how)
    assert model.training
    assert model[0].training
    assert not model[1].training


def test_misuse_is_refused() -> None:
    model, x = Chain(torch.arange(6)), torch.zeros(1, 6, dtype=torch.int64)

    def draw(**changes: object) -> Tensor:
        return naive_sample(model, x, **{"layout": "b t -> b t v", "likelihood": Categorical(K), **changes})

    for changes, error, reason in [
        ({"n": 0}, UsageError, "at least 1"),
        ({"given": torch.zeros(1, 7, dtype=torch.int64)}, UsageError, r"given has shape \(1, 7\)"),
        ({"given": torch.zeros(3, 6, dtype=torch.int64), "n": 2}, UsageError, "given has shape"),
        ({"given": torch.full((1, 6), K)}, UsageError, "outside 0 to 4"),
        ({"given": torch.zeros(1, 6, dtype=torch.int64), "mask": torch.ones(5, dtype=torch.bool)}, UsageError, "mask"),
        ({"mask": torch.ones(6, dtype=torch.bool)}, UsageError, "give them"),
        ({"uniforms": torch.rand(1, 5, dtype=torch.float64)}, UsageError, "uniforms has shape"),
        ({"uniforms": torch.ones(1, 6, dtype=torch.float64)}, UsageError, "must lie in"),
        ({"lag": 0}, UsageError, "first symbol"),
        ({"likelihood": Bernoulli()}, ModelError, "0 output axes"),
        ({"likelihood": Categorical(K + 1)}, UsageError, "5 classes"),
        ({"layout": "b h w -> b h w v"}, LayoutError, "2 axes"),
        ({"layout": "b t -> b v"}, UsageError, "another form"),
    ]:
        with pytest.raises(error, match=reason):
            draw(**changes)
    model.weight[3] = math.nan
    with pytest.raises(Diverged, match=r"position \(3,\) cannot be drawn"):
        draw()
    conditional = Chain(torch.arange(6), labels=2)
    how = {"layout": "b t, _ -> b t v", "likelihood": Categorical(K), "n": 3}
    with pytest.raises(UsageError, match="conditioning is for 2"):
        naive_sample(conditional, x, torch.tensor([0, 1]), **how)
