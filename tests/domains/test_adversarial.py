"""Programs that hide where values go: context against perturbation at every output, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.perturbation import dependence
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from leadline import read

T, C = 6, 4
LATER = torch.ones(T, T, dtype=torch.bool).triu(1)
HIDDEN = torch.zeros(T, T, dtype=torch.float64).masked_fill(LATER, -torch.inf)
FIRST_AND_LAST = torch.tensor([2, 2, 3, 5, 5, 5])


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Heads(nn.Module):
    """torch's attention module with weights asked for, a causal mask and a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(C, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.arange(T).expand(x.shape[0], T) >= T - 1
        return self.attention(x, x, x, key_padding_mask=padding, attn_mask=LATER)[0]


class Encoder(nn.Module):
    """torch's encoder, causal or not."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(C, 2, 8, dropout=0.0, batch_first=True)
        self.layers, self.causal = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), causal

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x, mask=HIDDEN if self.causal else None, is_causal=self.causal)


def in_place(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:] += x[:, :-1]
    y[:, ::2].mul_(2)
    y[..., 0] = 0
    return y


def written_through_a_view(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y.view(x.shape[0], -1)[:, C:] = x.flatten(1)[:, :-C]
    return y


def running_in_place(x: Tensor) -> Tensor:
    y = x.clone()
    for t in range(1, T):
        y[:, t] = y[:, t] + y[:, t - 1]
    return y


def reversed_loop(x: Tensor) -> Tensor:
    state, states = torch.zeros(x.shape[0], C, dtype=x.dtype), []
    for t in reversed(range(T)):
        state = torch.tanh(x[:, t] + state)
        states.append(state)
    return torch.stack(states[::-1], 1)


def without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        mean = x.mean(1, keepdim=True)
    return x + mean


def checkpointed(x: Tensor) -> Tensor:
    from torch.utils.checkpoint import checkpoint

    return checkpoint(lambda z: z.cumsum(1), x, use_reentrant=False)


def added_up(x: Tensor) -> Tensor:
    y = torch.zeros_like(x).transpose(0, 1).contiguous()
    y.index_put_((FIRST_AND_LAST,), x.transpose(0, 1), accumulate=True)
    return y.transpose(0, 1)


def folded(x: Tensor) -> Tensor:
    return F.fold(F.unfold(x.mT.unsqueeze(2), (1, 2)), (1, T), (1, 2)).squeeze(2).mT


def rotary(x: Tensor) -> Tensor:
    turns = torch.polar(torch.ones(T, C // 2, dtype=x.dtype), torch.arange(T * C // 2, dtype=x.dtype).view(T, C // 2))
    pairs = torch.view_as_complex(x.unflatten(-1, (C // 2, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2)


def doubling(x: Tensor) -> Tensor:
    for step in (1, 2, 4):
        x = x + F.pad(x, (0, 0, step, 0))[:, :T]
    return x


def spread(x: Tensor, fill: float = -torch.inf) -> Tensor:
    """Every position beside every one, the later ones filled."""
    return x.unsqueeze(1).expand(-1, T, -1, -1).masked_fill(LATER[None, :, :, None], fill)


def assembled(x: Tensor) -> Tensor:
    i, j = torch.tril_indices(T, T)
    scores = x @ x.mT
    lower = torch.zeros_like(scores)
    lower[:, i, j] = scores[:, i, j]
    return lower @ x


CLEAN: dict[str, Callable[[Tensor], Tensor] | nn.Module] = {
    "written through a view": written_through_a_view,
    "adding up at constant places": added_up,
    "attention with weights and padding": Heads(),
    "reading bytes as integers": lambda x: (x.view(torch.int64) >> 1).to(x.dtype),
    "masked logsumexp": lambda x: spread(x).logsumexp(2),
}
MORE_CLEAN: dict[str, Callable[[Tensor], Tensor] | nn.Module] = {
    "rotary": rotary,
    "pad and crop": lambda x: F.pad(x, (0, 0, 3, 2), value=1.0)[:, 2 : 2 + T],
    "blocks, shifted": lambda x: F.pad(x.unflatten(1, (T // 2, 2)).mean(2).repeat_interleave(2, 1), (0, 0, 1, 0))[
        :, :T
    ],
    "masked maximum": lambda x: spread(x).amax(2),
    "in place": in_place,
    "in place, running": running_in_place,
    "unfold and fold": folded,
    "encoder": Encoder(True),
    "einsum with a mask": lambda x: torch.einsum("...tc,...sc,ts->...tc", x, x, torch.ones(T, T).tril().to(x.dtype)),
    "where": lambda x: torch.where(x > 0, x.cumsum(1), x.flip(1).flip(1)),
    "channels' spectrum": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=-1) * 2, n=C, dim=-1),
    "cummax": lambda x: x.cummax(1).values,
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "windows": lambda x: F.pad(x, (0, 0, 2, 0)).unfold(1, 3, 1).std(-1),
    "masked mean": lambda x: (torch.ones(T, T).tril() / torch.arange(1, T + 1).view(-1, 1)).to(x.dtype) @ x,
    "mean of what is a number": lambda x: torch.where(~LATER[None, :, :, None], x.unsqueeze(1), torch.nan).nanmean(2),
    "masked minimum": lambda x: spread(x, torch.inf).amin(2),
    "checkpoint": checkpointed,
    "doubling": doubling,
    "assembled triangle": assembled,
    "linear attention": lambda x: torch.einsum("btc,btcd->btd", x, torch.einsum("btc,btd->btcd", x, x).cumsum(1)),
    "roll, the first zeroed": lambda x: x.roll(1, 1) * (torch.arange(T) > 0).to(x.dtype).view(-1, 1),
    "replicated edge": lambda x: F.avg_pool1d(F.pad(x.mT, (2, 0), mode="replicate"), 3, 1).mT,
    "interpolation": lambda x: F.interpolate(F.interpolate(x.mT, scale_factor=0.5), size=T).mT,
    "transposed convolution": lambda x: (
        F.conv_transpose1d(x.mT[..., ::2], torch.ones(C, C, 2).to(x.dtype), stride=2).mT
    ),
    "neighbours' angles": lambda x: (
        F.pad(F.cosine_similarity(x[:, 1:], x[:, :-1], dim=-1), (1, 0)).unsqueeze(-1).expand(-1, -1, C)
    ),
}
LEAKING: dict[str, Callable[[Tensor], Tensor] | nn.Module] = {
    "mask as truth values": lambda x: (x @ x.mT + HIDDEN).bool().to(x.dtype).softmax(-1) @ x,
    "mask clamped": lambda x: (x @ x.mT + HIDDEN).clamp(min=-3).softmax(-1) @ x,
    "no gradients": without_gradients,
}
MORE_LEAKING: dict[str, Callable[[Tensor], Tensor] | nn.Module] = {
    "mask made a number": lambda x: torch.nan_to_num(x @ x.mT + HIDDEN, neginf=0.0).softmax(-1) @ x,
    "reflected edge": lambda x: F.avg_pool1d(F.pad(x.mT, (2, 0), mode="reflect"), 3, 1).mT,
    "bounds from the future": lambda x: torch.clamp(torch.zeros_like(x), max=x.flip(1)),
    "reversed loop": reversed_loop,
    "encoder": Encoder(False),
    "soft cap after the mask": lambda x: torch.tanh(x @ x.mT + HIDDEN).softmax(-1) @ x,
    "zeros for logits": lambda x: (x @ x.mT).tril().softmax(-1) @ x,
    "one less weights": lambda x: (1 - (x @ x.mT + HIDDEN).softmax(-1)) @ x,
    "lerp": lambda x: torch.lerp(torch.zeros_like(x), torch.ones_like(x), x.flip(1)),
    "sorted places": lambda x: x.gather(1, x.argsort(1)),
    "complex filter": lambda x: torch.fft.ifft(torch.fft.fft(x, dim=1) * torch.arange(T).view(-1, 1), dim=1).real,
    "covariance": lambda x: x @ (x.mT @ x),
    "unit vectors over time": lambda x: F.normalize(x, dim=1),
    "halves": lambda x: torch.cat([(p := x.chunk(2, 1))[0] + p[1].mean(1, keepdim=True), p[1]], 1),
    "scatter": lambda x: torch.zeros_like(x).scatter(1, x.argsort(1), x),
    "scatter_reduce": lambda x: x.scatter_reduce(
        1, torch.tensor([0, 1, 2, 3, 4, 4]).view(1, T, 1).expand_as(x), x, "amax"
    ),
    "grid_sample": lambda x: F.grid_sample(
        x.unsqueeze(1), torch.zeros(x.shape[0], T, C, 2, dtype=x.dtype), align_corners=True
    ).squeeze(1),
}


def slow(cases: dict[str, Callable[[Tensor], Tensor] | nn.Module]) -> list[object]:
    return [pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in cases.items()]


def checked(case: Callable[[Tensor], Tensor] | nn.Module) -> tuple[np.ndarray, np.ndarray, str]:
    """Return what is measured, what the context says, and the verdict."""
    torch.manual_seed(0)
    model = (case if isinstance(case, nn.Module) else Function(case)).double().eval()
    x, layout = torch.randn(2, T, C, dtype=torch.float64), "b t c -> b t v"
    reading = read(model, x, layout=layout)
    seen = [reading.context(t).map.numpy() for t in range(T)]
    verdict = reading.causality().verdict.value
    return dependence(model, (x,), layout, draws=4), np.stack(seen), verdict


@pytest.mark.parametrize("case", [*(pytest.param(c, id=n) for n, c in CLEAN.items()), *slow(MORE_CLEAN)])
def test_clean_programs_see_exactly_what_is_measured(case: Callable[[Tensor], Tensor] | nn.Module) -> None:
    measured, seen, verdict = checked(case)
    assert np.array_equal(seen, measured)
    assert verdict == "structural"


@pytest.mark.parametrize("case", [*(pytest.param(c, id=n) for n, c in LEAKING.items()), *slow(MORE_LEAKING)])
def test_leaking_programs_are_found_out(case: Callable[[Tensor], Tensor] | nn.Module) -> None:
    measured, seen, verdict = checked(case)
    assert not (measured & ~seen).any()
    assert np.triu(measured, 1).any()
    assert verdict == "leak"
