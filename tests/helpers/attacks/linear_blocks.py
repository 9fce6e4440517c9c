"""Blocks that are linear, or nearly: products of all shapes, convolutions, pooling, views, sums, Fourier transforms."""

import torch
from helpers.attacks.draw import Block
from torch import nn
from torch.nn import functional as F  # noqa: N812


def product(draw):
    A, B, square = draw.tensor(16, 1, 1), draw.tensor(3, 6, 2), draw.tensor(6, 6)
    alpha, beta = draw.number(), draw.number()
    return Block(draw.one(
        lambda s, x: s.A @ x[:, :1],
        lambda s, x: x @ s.B,
        lambda s, x: s.B @ x,
        lambda s, x: x @ s.square,
        lambda s, x: s.square @ x.transpose(1, 2),
        lambda s, x: x[0] @ s.square[0],
        lambda s, x: s.square @ x[0, 0],
        lambda s, x: s.square[0] @ x.transpose(1, 2)[0],
        lambda s, x: torch.addmm(x[0], x[0], s.square, alpha=alpha, beta=beta),
        lambda s, x: torch.addmm(s.square[:2], x[0], s.square, alpha=alpha, beta=beta),
        lambda s, x: torch.baddbmm(x[..., :2].tanh(), x, s.B[:1], alpha=alpha, beta=beta),
        lambda s, x: torch.addbmm(x[0, :, :2], x.expand(3, 2, 6), s.B),
        lambda s, x: torch.bmm(x.tanh(), x.transpose(1, 2)),
        lambda s, x: torch.einsum("bct,dct->bd", x, x.tanh()),
        lambda s, x: torch.einsum("bct,to->boc", x, s.square),
        lambda s, x: F.linear(x, s.square[:3], s.square[0, :3]),
        lambda s, x: F.linear(s.square, x[0], x[0, :, 0]),
        lambda s, x: F.linear(x.tanh(), x[0].sin()),
        lambda s, x: torch.mv(x[0], s.square[0]) + torch.dot(x[0, 0], s.square[1]),
        lambda s, x: torch.addmv(x[0, :, 0], x[0], s.square[0], beta=beta, alpha=alpha),
        lambda s, x: F.bilinear(x, x.tanh(), s.square.reshape(1, 6, 6), None),
        lambda s, x: s.A[:, 0] * x,
        lambda s, x: torch.outer(x[0, 0].tanh(), x[0, 1].sin()),
    ), A=A, B=B, square=square)  # fmt: skip


def convolution(draw):
    k, stride, dilation, padding = (1 + draw.below(3) for _ in range(4))
    groups, out, extra = draw.one(1, 2), 2 * (1 + draw.below(2)), draw.below(stride)
    mode = draw.one("zeros", "circular", "reflect", "replicate")
    if draw.maybe():
        kind = nn.ConvTranspose1d(2, out, k, stride, min(padding, dilation * (k - 1)), extra, groups, dilation=dilation)
    else:
        kind = nn.Conv1d(2, out, k, stride, padding + 2, dilation, groups, padding_mode=mode)
    with torch.no_grad():
        for p in kind.parameters():
            p.copy_(draw.tensor(*p.shape))
    return kind.double()


def pooling(draw):
    k, s, d, ceil = 1 + draw.below(3), 1 + draw.below(3), 1 + draw.below(2), draw.maybe()
    pad, count, size = draw.below(k // 2 + 1), draw.maybe(), 1 + draw.below(4)
    divisor = draw.one(None, 1, 2, 7, -3)
    d = d if d * (k - 1) < 6 else 1
    return Block(draw.one(
        lambda _, x: F.avg_pool1d(x, k, s, pad, ceil, count),
        lambda _, x: F.avg_pool2d(x.reshape(1, 1, 4, 3), (min(k, 3),), s, pad, ceil, count, divisor),
        lambda _, x: F.avg_pool3d(x.reshape(1, 1, 3, 2, 2), min(k, 2), s, 0, ceil, count, divisor),
        lambda _, x: F.max_pool1d(x, k, s, pad, d, ceil),
        lambda _, x: F.max_pool2d(x.reshape(1, 1, 4, 3), (min(k, 2),), s, 0, 1, ceil),
        lambda _, x: x.reshape(1, 1, 12).mul(F.max_pool1d(x.reshape(1, 1, 12), k, s, 0, d, ceil, True)[1].sum()),
        lambda _, x: F.max_pool1d(x, k, s, 0, d, ceil, True)[0],
        lambda _, x: F.adaptive_avg_pool1d(x, size),
        lambda _, x: F.adaptive_max_pool1d(x, size),
        lambda _, x: F.adaptive_avg_pool2d(x.reshape(1, 1, 4, 3), (size, None)),
        lambda _, x: F.adaptive_max_pool1d(x, size, True)[0],
        lambda _, x: F.lp_pool1d(x + 4, 2, k, s, ceil),
    ))  # fmt: skip


def view(draw):
    n, at = draw.below(3), draw.one(-1, 1)
    index = torch.tensor([draw.below(6) for _ in range(4)])
    y = draw.tensor(1, 2, 3)
    return Block(draw.one(
        lambda s, x: torch.cat([x, x.tanh(), s.y], -1),
        lambda s, x: torch.stack([x, 2 * x]).sum(0),
        lambda s, x: F.pad(x, (n, -1), value=5.0),
        lambda s, x: F.pad(x, (n, 1), "reflect"),
        lambda s, x: x.expand(3, 2, 6).flip(0).roll(1, at),
        lambda s, x: x.unfold(-1, 3, 1 + n),
        lambda s, x: x.repeat(1, 2, n + 1),
        lambda s, x: x.repeat_interleave(n + 1, at),
        lambda s, x: x[0, :, :2].diagonal() + x[0].tril().sum(),
        lambda s, x: x.index_select(-1, index),
        lambda s, x: x[..., index],
        lambda s, x: x.gather(-1, index.expand(1, 2, 4)),
        lambda s, x: torch.slice_scatter(x, s.y, 2, n, n + 3),
        lambda s, x: torch.index_add(x, 2, index[:3], s.y),
        lambda s, x: x.chunk(2, -1)[1] * x.chunk(2, -1)[0],
        lambda s, x: F.interpolate(x, scale_factor=2.0, mode=("nearest", "linear")[n % 2]),
        lambda s, x: F.pixel_shuffle(x.expand(4, 2, 6).reshape(1, 4, 2, 6), 2),
        lambda s, x: x.sort(-1).values,
        lambda s, x: x.topk(3, -1).values,
        lambda s, x: torch.meshgrid(x[0, 0], x[0, 1], indexing="ij")[n % 2],
        lambda s, x: x.view(torch.int64).view(torch.float64) * 2,
        lambda s, x: x.detach() * x,
    ), y=y)  # fmt: skip


def reduction(draw):
    dim, keep = draw.one(-1, 1, (1, 2), (0, 1, 2)), draw.maybe()
    one = dim if isinstance(dim, int) else -1
    return Block(draw.one(
        lambda _, x: x.sum(dim, keepdim=keep),
        lambda _, x: x.mean(dim, keepdim=keep),
        lambda _, x: x.amax(dim, keepdim=keep),
        lambda _, x: x.max(one).values,
        lambda _, x: x.min(),
        lambda _, x: x.logsumexp(dim),
        lambda _, x: x.prod(one),
        lambda _, x: x.var(one),
        lambda _, x: x.norm(dim=one),
        lambda _, x: x.cumsum(one),
        lambda _, x: x.cumprod(one),
        lambda _, x: x.cummax(one).values,
        lambda _, x: x.logcumsumexp(one),
        lambda _, x: x.median(one).values,
        lambda _, x: x.argmax(one, keepdim=True) * x,
        lambda _, x: (x > 0).sum() * x,
        lambda _, x: x * x.max(one, keepdim=True).indices,
        lambda _, x: x.softmax(one),
        lambda _, x: x.log_softmax(one),
        lambda _, x: x - x.mean(one, keepdim=True),
    ))  # fmt: skip


def fourier(draw):
    n, norm, k = draw.one(None, 4, 5, 6, 8), draw.one(None, "ortho", "forward", "backward"), draw.number()
    dims = draw.one((-1,), (1,), (-2, -1), (-1, 1))
    s = None if n is None else (n,) * len(dims)
    f = torch.fft
    return Block(draw.one(
        lambda s_, x: x + f.irfft(f.rfft(x) * 100, n=6),
        lambda s_, x: f.irfft(f.rfft(x, n, norm=norm) * s_.z, n=n or 6, norm=norm),
        lambda s_, x: f.fft(x, n, norm=norm).abs(),
        lambda s_, x: f.fftn(x, s, dims, norm).real,
        lambda s_, x: f.ifftn(f.rfftn(x, s, dims, norm), s, dims, norm).imag,
        lambda s_, x: f.irfftn(torch.complex(x, k * x), s, dims, norm),
        lambda s_, x: f.irfft2(f.rfft2(x), (2, 6)),
        lambda s_, x: f.hfft(f.ihfft(x, n, norm=norm), norm=norm),
        lambda s_, x: torch.stft(x[0], 4, window=torch.ones(4).double(), return_complex=True).abs(),
        lambda s_, x: torch.einsum("bct,to->bco", f.rfft(x), s_.W).abs(),
        lambda s_, x: f.fft(x, n, norm=norm),
        lambda s_, x: torch.view_as_real(f.rfft(x, norm=norm)),
    ), z=draw.complex(1), W=draw.complex(4, 3))  # fmt: skip


def pairs(draw):
    z, w = draw.complex(2, 3), draw.complex(3, 3)
    turns = torch.polar(torch.ones(2, 3).double(), draw.tensor(2, 3))

    def as_complex(x):
        return torch.view_as_complex(x.reshape(2, 3, 2))

    return Block(draw.one(
        lambda s, x: torch.view_as_real(as_complex(x) * s.turns),
        lambda s, x: (as_complex(x) * s.z).real,
        lambda s, x: (as_complex(x) @ s.w).abs(),
        lambda s, x: as_complex(x).conj() * as_complex(x),
        lambda s, x: (as_complex(x) / s.z).imag,
        lambda s, x: as_complex(x).angle(),
        lambda s, x: torch.complex(x, x.tanh()).abs(),
        lambda s, x: torch.polar(x, 3 * x).real,
        lambda s, x: as_complex(x).square().sum().real,
        lambda s, x: as_complex(x).exp().imag,
        lambda s, x: (s.z - 2 * as_complex(x)).mean(0).abs(),
        lambda s, x: torch.cat([as_complex(x), s.z]).flip(0).T.abs(),
        lambda s, x: (x[0, :, :3] * s.z).abs(),
        lambda s, x: (x[0] + 0j).to(torch.complex128).real,
        lambda s, x: torch.where(s.z.real > 0, as_complex(x), s.z).real,
        lambda s, x: F.linear(as_complex(x), s.w).imag,
        lambda s, x: as_complex(x).sgn().real,
        lambda s, x: as_complex(x).view(torch.float64) * 2,
        lambda s, x: torch.linalg.vector_norm(as_complex(x)),
    ), z=z, turns=turns, w=w)  # fmt: skip
