"""Attention in the forms that people write, as functions of a small model's queries, keys and values."""

# all forms have one signature
# ruff: noqa: ARG001

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Form = Callable[["Net", Tensor, Tensor, Tensor, Tensor], Tensor]
LAYOUT, WIDTH = "b t c -> b t v", 4


class Net(nn.Module):
    """Queries, keys and values of several heads, a form of attention, and what is made of all heads."""

    def __init__(self, form: Form, heads: int, features: int = 2) -> None:
        super().__init__()
        self.form, self.heads = form, heads
        self.qkv, self.out = nn.Linear(WIDTH, 3 * heads * features), nn.Linear(heads * features, WIDTH)
        self.gates = nn.Linear(WIDTH, heads)
        self.sink, self.scale = nn.Parameter(torch.randn(heads, 1, 1)), nn.Parameter(torch.rand(heads, 1, 1))
        self.memory = nn.Parameter(torch.randn(2, heads, 3, features))
        self.buckets = nn.Embedding(5, heads)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out: Tensor = self.out(self.form(self, x, q, k, v).transpose(1, 2).flatten(2))
        return out


def distance(x: Tensor) -> Tensor:
    places = torch.arange(x.shape[1])
    return places[:, None] - places


def hide(x: Tensor, scores: Tensor, level: float = -math.inf) -> Tensor:
    return scores.masked_fill(distance(x) < 0, level)


def products(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / math.sqrt(q.shape[-1])


def alibi(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return hide(x, products(q, k) - m.scale * distance(x)).softmax(-1) @ v


def alibi_by_keys(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """BLOOM's: the bias depends on the key alone, and is added by `baddbmm`, batch and heads in one."""
    b, h, t, d = q.shape
    bias = (m.scale.view(h, 1) * torch.arange(t)).expand(b, h, t).reshape(b * h, 1, t)
    scores = bias.baddbmm(q.reshape(b * h, t, d), k.reshape(b * h, t, d).mT, beta=1.0, alpha=0.5).view(b, h, t, t)
    mask = torch.full((t, t), torch.finfo(x.dtype).min, dtype=x.dtype).triu(1)
    weights = functional.softmax(scores + mask, -1).view(b * h, t, t)
    return torch.bmm(weights, v.reshape(b * h, t, d)).view(b, h, t, d)


def buckets(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """T5's: a table by the logarithm of the distance, passed to torch's own attention together with the mask."""
    index = distance(x).clamp(min=0).float().add(1).log().long().clamp(max=4)
    bias = m.buckets(index).movedim(-1, 0)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=hide(x, bias), scale=1.0)


def by_place(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A bias that is no function of the distance."""
    t = x.shape[1]
    bias = torch.sin(torch.arange(t * t, dtype=x.dtype)).view(t, t)
    return hide(x, products(q, k) + bias).softmax(-1) @ v


def repeated(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each head of keys serves two of queries, repeated each by itself."""
    k, v = (z[:, ::2].repeat_interleave(2, 1)[:, : m.heads] for z in (k, v))
    return hide(x, products(q, k)).softmax(-1) @ v


def gqa(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k[:, :1], v[:, :1], is_causal=True, enable_gqa=True)


def one_more_axis(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries in groups, with an axis of their own, over one head of keys."""
    grouped = q.unflatten(1, (1, -1))
    return (hide(x, products(grouped, k[:, :1, None])).softmax(-1) @ v[:, :1, None]).flatten(1, 2)


def one_head_of_keys(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As `einsum` has it, which multiplies all heads of a query in one go."""
    scores = hide(x, torch.einsum("b h i d, b j d -> b h i j", q, k[:, 0]))
    return torch.einsum("b h i j, b j d -> b h i d", scores.softmax(-1, dtype=x.dtype), v[:, 0])


def no_heads(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (z.transpose(1, 2).flatten(2) for z in (q, k, v))
    y = hide(x, products(q, k)).softmax(-1) @ v
    return y.unflatten(-1, (m.heads, -1)).transpose(1, 2)


def retention(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    decay = (m.scale ** distance(x).clamp(min=0)).tril()
    return (products(q, k) * decay) @ v


def linear(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.tril(functional.elu(q) @ functional.elu(k).mT)
    return (scores @ v) / (scores.sum(-1, keepdim=True).square() + 1)


def squared(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.tril(functional.relu(q @ k.mT) ** 2) @ v


def sigmoid(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return hide(x, products(q, k) - 1).sigmoid() @ v


def renormalised(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    z = products(q, k)
    z = (z - hide(x, z).amax(-1, keepdim=True)).exp().tril()
    return (z / z.sum(-1, keepdim=True)) @ v


def cosine(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k = (z * z.square().sum(-1, keepdim=True).rsqrt() for z in (q, k))
    return hide(x, (q @ k.mT) * (m.scale * 3).exp()).softmax(-1) @ v


def averaged(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """No scores at all: a matrix of positions by positions."""
    decay = torch.where(distance(x) >= 0, 0.9 ** distance(x).clamp(min=0).to(x.dtype), 0.0)
    return (decay / decay.sum(-1, keepdim=True)) @ v


def forgetting(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Lin et al., "Forgetting Transformer", 2025: what is forgotten between key and query is added to the scores."""
    kept = torch.log(torch.sigmoid(m.gates(x))).cumsum(1).mT
    return hide(x, products(q, k) + kept[..., :, None] - kept[..., None, :]).softmax(-1) @ v


def sinks(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = hide(x, products(q, k))
    scores = torch.cat([scores, m.sink.expand(*scores.shape[:-1], 1)], -1)
    return (scores - scores.max(-1, keepdim=True).values).softmax(-1)[..., :-1] @ v


def nothing(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A score of zero beside the others: what sees nothing that it wants may add up to less than one."""
    return functional.pad(hide(x, products(q, k)), (1, 0)).softmax(-1)[..., 1:] @ v


def memories(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Learned keys and values before those of the positions, which all queries see."""
    more, (mk, mv) = m.memory.shape[2], m.memory
    k, v = (torch.cat([z.expand(len(x), -1, -1, -1), own], 2) for z, own in ((mk, k), (mv, v)))
    seen = functional.pad(distance(x) >= 0, (more, 0), value=True)
    return products(q, k).masked_fill(~seen, -math.inf).softmax(-1) @ v


def capped(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return hide(x, torch.tanh(products(q, k) / 2) * 2, torch.finfo(x.dtype).min).softmax(-1) @ v


def capped_in_a_window(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    seen = (distance(x) >= 0) & (distance(x) < 3)
    return torch.where(seen, torch.tanh(products(q, k)), -math.inf).softmax(-1) @ v


def strided(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A mask that is no band."""
    far = distance(x)
    return products(q, k).masked_fill((far < 0) | ((far > 1) & (far % 3 != 0)), -math.inf).softmax(-1) @ v


def rotary(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As in Llama's first code."""
    angles = torch.outer(torch.arange(x.shape[1], dtype=x.dtype), torch.tensor([0.7], dtype=x.dtype))
    turn = torch.polar(torch.ones_like(angles), angles)
    q, k = (torch.view_as_real(torch.view_as_complex(z.unflatten(-1, (-1, 2))) * turn).flatten(3) for z in (q, k))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def documents(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Positions see their own document, of which each begins where a feature is large."""
    document = (x[..., 0] > 0.7).to(x.dtype).cumsum(1)
    same = (document[:, :, None] == document[:, None, :])[:, None] & (distance(x) >= 0)
    return products(q, k).masked_fill(~same, -math.inf).softmax(-1) @ v


def largest(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    z = hide(x, products(q, k))
    return z.masked_fill(z < z.topk(2, -1)[0][..., -1:], -math.inf).softmax(-1) @ v


COMPILED: dict[str, Form] = {
    form.__name__: form
    for form in (
        alibi, alibi_by_keys, buckets, by_place, repeated, gqa, one_more_axis, one_head_of_keys, no_heads, retention,
        linear, squared, sigmoid, renormalised, cosine, averaged, forgetting, sinks, nothing, memories,
        capped, capped_in_a_window, strided, rotary,
    )
}  # fmt: skip
FORMS: dict[str, Form] = {**COMPILED, "documents": documents, "largest": largest}
