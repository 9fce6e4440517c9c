"""Blocks with layers: attention and its literals, normalisations, recurrences, and noise on inputs and on constants."""

import torch
from helpers.attacks.draw import Block
from torch import nn
from torch.nn import functional as F  # noqa: N812


def attention(draw):
    scale = draw.one(None, -1.0, 0.0, 0.3, 2.0)
    p, causal = draw.one(0.0, 0.5, 0.9), draw.maybe()
    c, v, m = 2 * draw.tensor(1, 4, 2, 2), draw.tensor(1, 1, 3, 2), draw.tensor(2, 3)

    def attend(*operands, **literals):
        return F.scaled_dot_product_attention(*operands, scale=scale, **literals)

    return Block(draw.one(
        lambda s, x: attend(s.c, s.c, 3 * s.c, attn_mask=x[0, :, :2]),
        lambda s, x: attend(s.c, s.v.expand(1, 4, 3, 2), x.reshape(1, 1, 6, 2)[:, :, :3]),
        lambda s, x: attend(s.c, s.v, x.reshape(1, 1, 6, 2)[:, :, :3], enable_gqa=True),
        lambda s, x: attend(s.c, x.reshape(1, 2, 3, 2), 2 * x.reshape(1, 2, 3, 2), enable_gqa=True),
        lambda s, x: attend(s.c, x.reshape(1, 1, 6, 2)[:, :, :3], s.v.expand(1, 4, 3, 2)),
        lambda s, x: attend(x.reshape(1, 2, 3, 2), x.reshape(1, 2, 3, 2), x.reshape(1, 2, 3, 2), is_causal=causal),
        lambda s, x: attend(x, x, x, dropout_p=p),
        lambda s, x: attend(x[..., :2], s.v[0], s.v[0], attn_mask=s.m, dropout_p=p),
        lambda s, x: attend(x[..., :2], s.v[0], s.v[0], attn_mask=s.m > 0),
        lambda s, x: attend(x, x, x, attn_mask=(x @ x.transpose(1, 2)) * 0.1),
        lambda s, x: attend(x, x, x, attn_mask=x[0, 0, 0] * torch.ones(1, 1, dtype=x.dtype)),
    ), c=c, v=v, m=m)  # fmt: skip


def multihead(draw):
    layer = nn.MultiheadAttention(6, draw.one(1, 2, 3), dropout=draw.one(0.0, 0.5), batch_first=True).double()
    mode, weights = draw.maybe(), draw.maybe()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw.number(0, 1) * draw.tensor(*parameter.shape))
    held = Block(lambda s, x: s.layer(x, x, x, need_weights=weights)[0])
    held.layer = layer
    return held.train(mode)


def normalisation(draw):
    eps = draw.one(1e-12, 1e-5, 0.1, 1.0)
    w = draw.tensor(2), draw.tensor(6), draw.tensor(2).abs() + 0.1
    frozen = draw.maybe()
    return Block(draw.one(
        lambda s, x: F.layer_norm(x, (6,), s.w6, s.w6, eps),
        lambda s, x: F.layer_norm(x, (2, 6), None, None, eps),
        lambda s, x: F.rms_norm(x, (6,), s.w6, eps),
        lambda s, x: F.rms_norm(x, (2, 6), None, eps),
        lambda s, x: F.group_norm(x, 1, s.w2, None, eps),
        lambda s, x: F.group_norm(x, 2, s.w2, s.w2, eps),
        lambda s, x: F.instance_norm(x, weight=s.w2, eps=eps),
        lambda s, x: F.batch_norm(x, s.w2 * 0, s.var, s.w2, None, training=not frozen, eps=eps),
        lambda s, x: F.normalize(x, dim=-1, eps=eps),
        lambda s, x: F.local_response_norm(x, 2),
        lambda s, x: F.layer_norm(x, (6,), x[0, 0], None, eps),
        lambda s, x: (x - x.mean()) / (x.var() + eps).sqrt(),
    ), w2=w[0], w6=w[1], var=w[2])  # fmt: skip


def recurrence(draw):
    kind, layers = draw.one(nn.RNN, nn.GRU, nn.LSTM), 1 + draw.below(2)
    literals = {"bidirectional": draw.maybe(), "bias": draw.maybe(), "dropout": draw.one(0.0, 0.5) * (layers > 1)}
    if kind is nn.LSTM and draw.maybe():
        literals["proj_size"] = 2
    if kind is nn.RNN and draw.maybe():
        literals["nonlinearity"] = "relu"
    layer, which = kind(6, 3, layers, batch_first=True, **literals).double(), draw.one(0, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw.number(0, 2) * draw.tensor(*parameter.shape))

    def run(s, x):
        y, last = s.layer(x)
        return (y, last[0] if isinstance(last, tuple) else last)[which] * s.y

    held = Block(run, y=draw.tensor(1))
    held.layer = layer
    return held.train(draw.maybe())


def noise(draw):
    p, A = draw.one(0.1, 0.5, 0.9), draw.tensor(6, 6)
    return Block(draw.one(
        lambda s, x: F.linear(x, s.A + s.A.sin() * torch.randn_like(s.A)),
        lambda s, x: F.linear(x, F.dropout(s.A, p, True)),
        lambda s, x: F.dropout(x, p, True),
        lambda s, x: F.dropout1d(x, p, True),
        lambda s, x: F.alpha_dropout(x, p, True),
        lambda s, x: F.feature_alpha_dropout(x, p, True),
        lambda s, x: x * torch.bernoulli(torch.full_like(s.A[0], p)),
        lambda s, x: x * torch.rand_like(s.A[0]),
        lambda s, x: x + s.A[0] * torch.randn_like(x),
        lambda s, x: x * torch.randn(6, dtype=x.dtype),
        lambda s, x: x * torch.normal(s.A[0], s.A[1].abs()),
        lambda s, x: x * torch.randint(0, 9, (6,)),
        lambda s, x: x * torch.randint_like(s.A[0], 5, 20),
        lambda s, x: x[..., torch.randperm(6)],
        lambda s, x: F.rrelu(x, 0.1, 2.0, True),
        lambda s, x: x * F.rrelu(s.A[0], 0.1, 2.0, True),
        lambda s, x: x @ F.scaled_dot_product_attention(s.A[None], s.A[None], s.A[None], dropout_p=p),
        lambda s, x: x * torch.empty_like(s.A[0]).uniform_(0, 4),
        lambda s, x: x * torch.empty_like(s.A[0]).exponential_(),
        lambda s, x: x * F.gumbel_softmax(s.A[0], 0.5),
        lambda s, x: x * torch.poisson(s.A[0].abs()),
        lambda s, x: x * torch.multinomial(s.A[0].abs(), 6),
        lambda s, x: x * torch.empty_like(s.A[0]).log_normal_(),
        lambda s, x: x * torch.empty_like(s.A[0]).geometric_(0.2),
        lambda s, x: x * torch.empty_like(s.A[0]).cauchy_().atan(),
        lambda s, x: x * (torch.rand(6) < p) / (1 - p),
        lambda s, x: x @ torch.linalg.qr(torch.randn_like(s.A))[0],
        lambda s, x: x @ torch.linalg.matrix_exp(s.A - s.A.T),
    ), A=A)  # fmt: skip
