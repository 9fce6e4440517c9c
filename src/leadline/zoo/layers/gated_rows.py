"""Gated blocks over time as one differentiable function, which walks over as many rows as fit in a core's cache.

What a plain block does is some ten passes over maps of all positions, which are larger than the cache: they, not the
products of matrices, take most of its time. Here each product is followed at once by what comes after it. Positions are
rows, time before the batch, so that a tap of the dilated convolution is a slice of them. Since ``σ(x) = (1 + tanh(x /
2)) / 2``, halves of the gates' weights make both gates one tanh, ``t``, and halves of the next ones take the factor:
``tanh(v) σ(o) = (t_v + t_v t_o) / 2``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp
from torch.nn.functional import pad

_NUMBERS = 65_536  # in the rows of one channel map that are worked on together: with all that belongs to them, some MB


class Weights(NamedTuple):
    """The blocks' weights, one block after another, as the products want them; the last block has no residual."""

    conv: Float[Tensor, "d taps k kk"]
    conv_bias: Float[Tensor, "d kk"]
    skip: Float[Tensor, "d k s"]
    skip_bias: Float[Tensor, " s"]
    residual: Float[Tensor, "e k k"]
    residual_bias: Float[Tensor, "e k"]

    @classmethod
    def of(cls, blocks: Sequence[Any]) -> Weights:
        """Gather the weights of WaveNet's blocks."""
        convs, skips = [block.conv for block in blocks], [block.skip for block in blocks]
        residuals = [block.residual for block in blocks[:-1]]
        k = residuals[0].weight.shape[0]
        half = torch.cat([torch.ones(k), torch.full((k,), 0.5)])
        return cls(
            torch.stack([conv.weight for conv in convs]).permute(0, 3, 2, 1) * half,
            torch.stack([conv.bias for conv in convs]) * half,
            torch.stack([skip.weight.squeeze(2) for skip in skips]).mT / 2,
            torch.stack([skip.bias for skip in skips]).sum(0),
            torch.stack([residual.weight.squeeze(2) for residual in residuals]).mT / 2,
            torch.stack([residual.bias for residual in residuals]),
        )


def summed_skips(blocks: Sequence[Any], z: Float[Tensor, "b k t"]) -> Float[Tensor, "b s t"]:
    """Return the sum of the skips of two or more of WaveNet's blocks without conditions, as a loop over them does."""
    batch, _, steps = z.shape
    rows = z.permute(2, 0, 1).flatten(0, 1)
    apart = max(1, batch)  # rows from one step to the next
    histories = [range(block.conv.history * apart, -1, -block.conv.dilation[0] * apart) for block in blocks]
    total: Tensor = GatedRows.apply(rows, histories, *Weights.of(blocks))  # type: ignore[no-untyped-call]
    return total.unflatten(0, (steps, batch)).transpose(0, 1).contiguous().mT  # type: ignore[no-any-return]


def plain(z: Float[Tensor, "n k"], histories: Sequence[range], *given: Tensor) -> Float[Tensor, "n s"]:
    """Return the same as `GatedRows` in plain torch, which has derivatives of any order."""
    weights = Weights(*given)
    total = weights.skip_bias
    for i, history in enumerate(histories):
        taps = torch.cat([pad(z, (0, 0, back, -back)) for back in history], -1)
        value, opening = torch.tanh(taps @ weights.conv[i].flatten(0, 1) + weights.conv_bias[i]).chunk(2, -1)
        y = value + value * opening
        total = total + y @ weights.skip[i]
        if i < len(weights.residual):
            z = z + y @ weights.residual[i] + weights.residual_bias[i]
    return total


class GatedRows(torch.autograd.Function):
    """The sum of all blocks' skips at each row; ``histories`` says how many rows back the taps of each block lie."""

    @staticmethod
    def forward(ctx: Any, z: Float[Tensor, "n k"], histories: Sequence[range], *given: Tensor) -> Float[Tensor, "n s"]:
        """Keep what the blocks are given and their gates for the backward pass."""
        weights, (rows, k) = Weights(*given), z.shape
        before = max(history[0] for history in histories)  # rows of zeros
        inputs = [torch.cat([z.new_zeros(before, k), z])]
        gates, total = [], weights.skip_bias.repeat(rows, 1)
        y = z.new_empty(_size(k), k)
        for i, history in enumerate(histories):
            x, t = inputs[i], z.new_empty(rows, 2 * k)
            following = torch.empty_like(x) if i < len(weights.residual) else None
            for here in _slices(rows, k):
                _gates(x, here, before, history, weights.conv[i], weights.conv_bias[i], out=t[here])
                value, opening = t[here].chunk(2, 1)
                torch.addcmul(value, value, opening, out=y[: len(value)])
                total[here].addmm_(y[: len(value)], weights.skip[i])
                if following is not None:
                    there = _moved(here, before)
                    torch.add(x[there], weights.residual_bias[i], out=following[there])
                    following[there].addmm_(y[: len(value)], weights.residual[i])
            gates.append(t)
            if following is not None:
                following[:before] = 0
                inputs.append(following)
        ctx.histories = histories
        ctx.save_for_backward(z, *given, *inputs, *gates)
        return total

    @staticmethod
    def backward(ctx: Any, g: Float[Tensor, "n s"]) -> tuple[Tensor | None, ...]:
        """Return the gradients, in plain torch where they are to be differentiated further."""
        z, *saved = ctx.saved_tensors
        given, maps = saved[: len(Weights._fields)], saved[len(Weights._fields) :]
        if torch.is_grad_enabled():
            g_z, *g_weights = vjp(lambda z, *given: plain(z, ctx.histories, *given), z, *given)[1](g)
            return g_z, None, *g_weights
        depth = len(ctx.histories)
        g_z, found = _adjoint(ctx.histories, Weights(*given), maps[:depth], maps[depth:], g)
        return g_z, None, *found


def _adjoint(
    histories: Sequence[range], weights: Weights, inputs: Sequence[Tensor], gates: Sequence[Tensor], g: Tensor
) -> tuple[Tensor, Weights]:
    """Return the gradients of the first block's input and of the weights.

    The gradients of what a block says lie beside each other, those of the skips first. Rows are taken in order: what a
    row's taps add to the gradients of rows before it is then never read by the block itself.
    """
    (rows, s), k = g.shape, weights.skip.shape[1]
    before = len(inputs[0]) - rows
    said = torch.cat([g.new_zeros(before, s + k), pad(g, (0, k))])
    ways = torch.cat([weights.skip, pad(weights.residual, (0, 0, 0, 0, 0, 1))], -1)
    g_conv, g_bias = torch.zeros_like(weights.conv), torch.zeros_like(weights.conv_bias)
    g_ways, g_said = torch.zeros_like(ways), g.new_zeros(len(gates), s + k)
    y, g_y, g_t = (g.new_empty(_size(k), width) for width in (k, k, 2 * k))
    for i in reversed(range(len(gates))):
        for here in _slices(rows, k):
            n, ends, t = here.stop - here.start, said[_moved(here, before)], gates[i][here]
            value, opening = t.chunk(2, 1)
            torch.addcmul(value, value, opening, out=y[:n])
            g_ways[i].addmm_(y[:n].mT, ends)
            g_said[i] += ends.sum(0)
            torch.mm(ends, ways[i].mT, out=g_y[:n])
            torch.addcmul(g_y[:n], g_y[:n], opening, out=g_t[:n, :k])
            torch.mul(g_y[:n], value, out=g_t[:n, k:])
            torch.ops.aten.tanh_backward.grad_input(g_t[:n], t, grad_input=g_t[:n])
            g_bias[i] += g_t[:n].sum(0)
            for tap, back in enumerate(histories[i]):
                there = _moved(here, before - back)
                g_conv[i, tap].addmm_(inputs[i][there].mT, g_t[:n])
                said[there, s:].addmm_(g_t[:n], weights.conv[i, tap].mT)
    found = Weights(g_conv, g_bias, g_ways[..., :s], g_said[-1, :s], g_ways[:-1, :, s:], g_said[:-1, s:])
    return said[before:, s:], found


def _gates(x: Tensor, here: slice, before: int, history: range, conv: Tensor, bias: Tensor, *, out: Tensor) -> None:
    """Write the gates of some rows: a product for each tap, and the tanh."""
    for tap, back in enumerate(history):
        read = x[_moved(here, before - back)]
        torch.addmm(bias if tap == 0 else out, read, conv[tap], out=out)
    out.tanh_()


def _size(channels: int) -> int:
    return max(64, _NUMBERS // channels)


def _slices(rows: int, channels: int) -> Iterable[slice]:
    size = _size(channels)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _moved(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)
