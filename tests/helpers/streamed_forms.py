"""Small causal functions of a sequence (b, t, c), each with one construct that people write."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

Form = Callable[["Parts", Tensor], Tensor]


class Parts(nn.Module):
    """What forms are made of, for 2 · `half` features: linear layers, experts, blocks, a convolution of images."""

    def __init__(self, form: Form, half: int) -> None:
        super().__init__()
        c = self.width = 2 * half
        self.form, self.half = form, half
        self.q, self.k, self.v = (nn.Linear(c, c) for _ in range(3))
        self.experts, self.route = nn.ModuleList(nn.Linear(c, c) for _ in range(3)), nn.Linear(c, 3)
        self.blocks, self.biases = nn.Parameter(torch.randn(2, half, half)), nn.Parameter(torch.randn(2, half))
        self.start, self.matrices = nn.Parameter(torch.randn(c)), nn.Parameter(torch.randn(3, c, c))
        self.image, self.larger = nn.Conv2d(2, 3, 3, padding=1), nn.ConvTranspose2d(2, 2, 2, stride=2)
        self.gru = nn.GRU(c, c, batch_first=True)
        self.lstm = nn.LSTM(c, c, 2, batch_first=True, proj_size=half)

    def forward(self, x: Tensor) -> Tensor:
        return self.form(self, x)


# -- experts ---------------------------------------------------------------------------------------------------------


def gathered(s: Parts, x: Tensor) -> Tensor:
    best, which = s.route(x).topk(2, -1)
    out = torch.stack([expert(x) for expert in s.experts], -2)
    chosen = out.gather(2, which[..., None].expand(-1, -1, -1, s.width))
    return (chosen * best.softmax(-1)[..., None]).sum(2)


def scattered(s: Parts, x: Tensor) -> Tensor:
    scores = s.route(x)
    best, which = scores.topk(2, -1)
    weights = torch.zeros_like(scores).scatter(-1, which, best.softmax(-1))
    return (torch.stack([expert(x) for expert in s.experts], -1) * weights[:, :, None]).sum(-1)


def by_masks(s: Parts, x: Tensor) -> Tensor:
    weight, which = s.route(x).softmax(-1).max(-1)
    out = torch.zeros_like(x)
    for n, expert in enumerate(s.experts):
        out = out + expert(x) * (which == n).to(x.dtype)[..., None]
    return out * weight[..., None]


def chosen_matrices(s: Parts, x: Tensor) -> Tensor:
    flat = x.reshape(-1, s.width)
    best, which = s.route(flat).topk(2, -1)
    many = flat.repeat_interleave(2, dim=0)
    out = torch.bmm(s.matrices[which.reshape(-1)], many[..., None]).squeeze(-1) * best.reshape(-1, 1)
    return out.view(-1, 2, s.width).sum(1).view(x.shape)


def one_hot_of_best(s: Parts, x: Tensor) -> Tensor:
    chosen = functional.one_hot(s.route(x).argmax(-1), 3).to(x.dtype)
    return torch.einsum("bte,eoc,btc->bto", chosen, s.matrices, x)


def sorted_features(s: Parts, x: Tensor) -> Tensor:
    values, places = s.q(x).sort(-1, descending=True)
    return values - s.k(x).gather(-1, places)


def added_at_places(s: Parts, x: Tensor) -> Tensor:
    return s.q(x).scatter_add(-1, s.k(x).argsort(-1), s.v(x))


# -- products ----------------------------------------------------------------------------------------------------------


def block_diagonal(s: Parts, x: Tensor) -> Tensor:
    blocks = x.reshape(-1, 2, s.half).permute(1, 0, 2)
    return torch.baddbmm(s.biases[:, None], blocks, s.blocks).transpose(0, 1).reshape(x.shape)


def block_diagonal_scaled(s: Parts, x: Tensor) -> Tensor:
    blocks = x.reshape(-1, 2, s.half).permute(1, 0, 2)
    out = torch.baddbmm(blocks, blocks, s.blocks, beta=0.5, alpha=2.0)
    return out.transpose(0, 1).reshape(x.shape)


def block_diagonal_einsum(s: Parts, x: Tensor) -> Tensor:
    return torch.einsum("bthi,hij->bthj", x.view(*x.shape[:2], 2, s.half), s.blocks).flatten(2)


def one_number(s: Parts, x: Tensor) -> Tensor:
    total = torch.addmv(x.new_ones(1), x.reshape(-1, s.width), s.start, beta=2.0)
    return total.reshape(*x.shape[:2], 1) * x


# -- what is put together ----------------------------------------------------------------------------------------------


def shift_by_zeros(s: Parts, x: Tensor) -> Tensor:
    y = s.q(x)
    return torch.cat((torch.zeros_like(y[:, :1]), y[:, :-1]), 1) + s.k(x)


def shift_by_products(s: Parts, x: Tensor) -> Tensor:
    y = s.q(x)
    return torch.cat((y[:, :1] * 0, y[:, :-1]), 1) + s.k(x)


def shift_repeating(s: Parts, x: Tensor) -> Tensor:
    y = s.q(x)
    return torch.cat((y[:, :2], y[:, :-2]), 1) + s.k(x)


def shift_by_parameter(s: Parts, x: Tensor) -> Tensor:
    y = s.q(x)
    return torch.cat((s.start.expand(len(x), 1, s.width), y[:, :-1]), 1) + s.k(x)


def shift_by_pad(s: Parts, x: Tensor) -> Tensor:
    return functional.pad(s.q(x), (0, 0, 2, -2)) + s.k(x)


def shift_by_roll(s: Parts, x: Tensor) -> Tensor:
    y = s.q(x).roll(1, 1)
    y[:, 0] = 0
    return y + s.k(x)


def shift_by_masked_roll(s: Parts, x: Tensor) -> Tensor:
    later = (torch.arange(x.shape[1]) > 0)[:, None]
    return torch.where(later, s.q(x).roll(1, 1), 0.0) + s.k(x).roll(1, 1) * later.to(x.dtype)


def shift_by_writing(s: Parts, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 1:] = s.q(x)[:, :-1]
    return y + s.k(x)


def windows(s: Parts, x: Tensor) -> Tensor:
    return (functional.pad(s.q(x), (0, 0, 2, 0)).unfold(1, 3, 1) * torch.arange(1.0, 4.0)).sum(-1)


def doubling(s: Parts, x: Tensor) -> Tensor:
    keep, sums, by = s.q(x).sigmoid(), s.v(x), 1
    while by < x.shape[1]:
        sums = torch.cat((sums[:, :by], sums[:, by:] + keep[:, by:] * sums[:, :-by]), 1)
        keep = torch.cat((keep[:, :by], keep[:, by:] * keep[:, :-by]), 1)
        by *= 2
    return sums


def first_written(s: Parts, x: Tensor) -> Tensor:
    y = s.q(x).clone()
    y[:, 0] = s.start
    return y + s.k(x)


def written_in_slices(s: Parts, x: Tensor) -> Tensor:
    y = x.new_empty(x.shape)
    y[..., : s.half], y[..., s.half :] = s.q(x)[..., : s.half], s.k(x)[..., s.half :]
    return s.v(y)


def written_in_strides(s: Parts, x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y[..., ::2], y[..., 1::2] = s.q(x)[..., 1::2], s.k(x)[..., ::2]
    return y


# -- scans -------------------------------------------------------------------------------------------------------------


def in_logarithms(s: Parts, x: Tensor) -> Tensor:
    decay = functional.logsigmoid(s.q(x)).cumsum(1)
    return (decay + (functional.softplus(s.v(x)).log() - decay).logcumsumexp(1)).exp()


def by_products(s: Parts, x: Tensor) -> Tensor:
    decay = s.q(x).sigmoid().cumprod(1)
    return decay * (s.v(x) / decay).cumsum(1)


def running_norm(s: Parts, x: Tensor) -> Tensor:
    y, n = s.q(x), torch.arange(1, x.shape[1] + 1).view(1, -1, 1)
    mean = y.cumsum(1) / n
    return (y - mean) / ((y * y).cumsum(1) / n - mean * mean + 1e-2).sqrt()


def largest_so_far(s: Parts, x: Tensor) -> Tensor:
    return s.q(x).cummax(1)[0] - s.k(x).cummin(1)[0]


# -- loops -------------------------------------------------------------------------------------------------------------


def learned_start(s: Parts, x: Tensor) -> Tensor:
    h, out = s.start.expand(len(x), -1), []
    for step in x.unbind(1):
        h = torch.tanh(s.q(step) + s.k(h))
        out.append(h)
    return torch.stack(out, 1)


def result_before_update(s: Parts, x: Tensor) -> Tensor:
    h, out = s.start.expand(len(x), -1), []
    for step in x.unbind(1):
        out.append(s.v(h))
        h = torch.tanh(s.q(step) + s.k(h))
    return torch.stack(out, 1)


def start_yielded(s: Parts, x: Tensor) -> Tensor:
    h, out = s.start.expand(len(x), -1), []
    for step in x.unbind(1):
        out.append(h)
        h = torch.tanh(s.q(step) + s.k(h))
    return torch.stack(out, 1)


def layer_with_start(s: Parts, x: Tensor) -> Tensor:
    out: Tensor = s.gru(x, s.start.expand(1, len(x), -1).contiguous())[0]
    return out


def projected_layer(s: Parts, x: Tensor) -> Tensor:
    out: Tensor = s.lstm(x)[0]
    return out


# -- features as maps --------------------------------------------------------------------------------------------------


def maps(s: Parts, x: Tensor) -> Tensor:
    image = x.reshape(-1, 2, s.half, 1).expand(-1, -1, -1, 3)
    return s.image(image).reshape(*x.shape[:2], -1)


def shared_kernels(s: Parts, x: Tensor) -> Tensor:
    weight = s.blocks[:, :1, :1].softmax(0).expand(2, 1, 3)
    rows = functional.pad(s.q(x).mT, (2, 0)).reshape(-1, 2, x.shape[1] + 2)
    return functional.conv1d(rows, weight, s.biases[:, 0], groups=2).reshape(x.mT.shape).mT


def strided_maps(s: Parts, x: Tensor) -> Tensor:
    image = x.reshape(-1, 2, s.half, 1).expand(-1, -1, -1, 4)
    y = functional.conv2d(image, s.image.weight[:2], None, (1, 2), 1)
    return functional.max_pool2d(s.larger(y), (1, 2)).reshape(*x.shape[:2], -1)


def maps_in_a_loop(s: Parts, x: Tensor) -> Tensor:
    z, out = x.unflatten(-1, (2, s.half, 1)), []
    h = torch.zeros_like(z[:, 0])
    for t in range(x.shape[1]):
        h = torch.tanh(z[:, t] + s.image(h)[:, 1:])
        out.append(h)
    return torch.stack(out, 1).flatten(2)


def enlarged(s: Parts, x: Tensor) -> Tensor:
    image = s.q(x).reshape(-1, 2, 1, s.half)
    return functional.interpolate(image, scale_factor=2).roll(1, 3).flatten(1).view(*x.shape[:2], -1)


def turned(s: Parts, x: Tensor) -> Tensor:
    y = s.q(x)[..., None] * s.k(x)[..., None, :]
    return torch.cat((y.tril().flatten(2), y.diagonal(dim1=-2, dim2=-1), x.repeat(1, 1, 2)), -1)


FORMS: Mapping[str, Form] = {
    form.__name__.replace("_", " "): form
    for form in (
        gathered, scattered, by_masks, chosen_matrices, one_hot_of_best, sorted_features, added_at_places,
        block_diagonal, block_diagonal_scaled, block_diagonal_einsum, one_number,
        shift_by_zeros, shift_by_products, shift_repeating, shift_by_parameter, shift_by_pad, shift_by_roll,
        shift_by_masked_roll, shift_by_writing, windows, doubling, first_written, written_in_slices, written_in_strides,
        in_logarithms, by_products, running_norm, largest_so_far,
        learned_start, result_before_update, start_yielded, layer_with_start, projected_layer,
        maps, shared_kernels, strided_maps, maps_in_a_loop, enlarged, turned,
    )
}  # fmt: skip
