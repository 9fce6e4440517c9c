"""Blocks of functions of one number, of sums, products and quotients, whose literals decide."""

import torch
from helpers.attacks.draw import SHAPE, Block
from torch.nn import functional as F  # noqa: N812


def activation(draw):
    a, b = sorted((draw.number(), draw.number()))
    beta, p = draw.one(-2.0, 0.3, 1.0, 4.0), draw.one(-2.0, -0.5, 0.5, 1.0, 1.5, 2.0, 3.0)
    return Block(draw.one(
        lambda _, x: F.leaky_relu(x, a),
        lambda _, x: F.elu(x, a),
        lambda _, x: F.celu(x, abs(a) + 0.1),
        lambda _, x: F.selu(x),
        lambda _, x: F.softplus(x, beta, b),
        lambda _, x: F.hardtanh(x, a, b),
        lambda _, x: F.threshold(x, a, b),
        lambda _, x: F.hardshrink(x, abs(a)),
        lambda _, x: F.softshrink(x, abs(a)),
        lambda _, x: F.rrelu(x, abs(a) / 4, abs(a), training=False),
        lambda _, x: F.gelu(x, approximate="tanh"),
        lambda _, x: F.hardswish(x),
        lambda _, x: F.relu6(x),
        lambda _, x: F.silu(x) + F.mish(x),
        lambda _, x: F.logsigmoid(x),
        lambda _, x: torch.logit(torch.sigmoid(x), 0.1),
        lambda _, x: x.clamp(a, b),
        lambda _, x: x.clamp(min=a) - x.clamp(max=b),
        lambda _, x: (x.abs() + 0.5) ** p,
        lambda _, x: abs(beta) ** x.tanh(),
        lambda _, x: x.sin() + x.cos(),
        lambda _, x: x.tanh().exp().log1p(),
        lambda _, x: x.abs().sqrt(),
        lambda _, x: x.erf() + x.atan(),
        lambda _, x: x.frac() + x.floor(),
        lambda _, x: torch.nan_to_num(x, a),
        lambda _, x: x.sigmoid().reciprocal(),
        lambda _, x: torch.sign(x) * x.square(),
    ))  # fmt: skip


def with_weight(draw):
    many = draw.one(1, 2)
    w, y = 2 * draw.tensor(many), draw.tensor(*draw.one((6,), (2, 1), SHAPE, (3, *SHAPE)))
    return Block(draw.one(
        lambda s, x: F.prelu(x, s.w),
        lambda s, x: torch.maximum(x, s.y) + torch.minimum(s.y, x),
        lambda s, x: torch.where(s.y > 0, x, 2 * x),
        lambda s, x: torch.where(x > 0, x, s.y),
        lambda s, x: x.masked_fill(s.y > 0, 3.0),
        lambda s, x: x * (x > s.y),
        lambda s, x: torch.lerp(x, s.y.expand(*s.y.shape), 0.3) if s.y.ndim <= 3 else x + s.y,
        lambda s, x: torch.clamp(x, min=s.y),
        lambda s, x: torch.addcmul(x, x, s.y, value=-2.0),
        lambda s, x: x.addcdiv(x, s.y.abs() + 1, value=3.0),
        lambda s, x: torch.hypot(x, s.y),
        lambda s, x: torch.atan2(x, s.y.abs() + 1),
        lambda s, x: torch.logaddexp(x, s.y),
    ), w=w, y=y)  # fmt: skip


def arithmetic(draw):
    a, y = draw.number(), draw.tensor(*draw.one((6,), (2, 1), SHAPE, (3, *SHAPE), ()))
    rounds, signed = draw.one(None, "floor", "trunc"), draw.one(-1.0, 1.0)
    return Block(draw.one(
        lambda s, x: torch.add(x, s.y, alpha=a),
        lambda s, x: torch.sub(s.y, x, alpha=a),
        lambda s, x: torch.rsub(x, s.y, alpha=a),
        lambda s, x: x * s.y,
        lambda s, x: x / (s.y.abs() + 0.1) * signed,
        lambda s, x: torch.div(x, s.y.abs() + 0.1, rounding_mode=rounds),
        lambda s, x: s.y / (x.square() + 0.5),
        lambda s, x: x / (x.abs() + 0.5),
        lambda s, x: torch.remainder(x, a),
        lambda s, x: torch.fmod(x, a),
        lambda s, x: x * x.roll(1, -1) - a * x,
        lambda s, x: x.tanh() * (x @ x.transpose(1, 2)).sum(),
        lambda s, x: (x + 1e9) - 1e9 * s.y.cos(),
        lambda s, x: x.double() * x.to(torch.int32),
    ), y=y)  # fmt: skip


def scaled(draw):
    """Go to the ends of the range of float64, and perhaps back: what is squared on the way over- or underflows."""
    first, second, third = (10.0 ** draw.one(-150, -120, -20, 0, 20, 120, 150) for _ in range(3))
    y = draw.tensor(12, 12)
    return Block(draw.one(
        lambda s, x: x * first * second * third,
        lambda s, x: (x.flatten() @ (first * s.y)) * second,
        lambda s, x: F.linear(x.flatten(), first * s.y) / second * third,
        lambda s, x: torch.tanh(x * first) * second,
        lambda s, x: (x * first).reshape(2, 6) @ (x * second).reshape(6, 2),
        lambda s, x: F.conv1d(x, first * s.y[:4].reshape(4, 2, 6), padding=3) * second,
        lambda s, x: F.layer_norm(x * first, (6,), eps=1e-5) * second,
        lambda s, x: (x * first).cumprod(-1) * second,
        lambda s, x: torch.fft.irfft(torch.fft.rfft(x * first) * second, n=6) * third,
        lambda s, x: F.scaled_dot_product_attention(x, x, x * first, scale=0.1) * second,
    ), y=y)  # fmt: skip
