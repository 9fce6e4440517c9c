"""Blocks of positions give what single positions give, wherever blocks, chunks and circles of equations end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone writes it

from leadline import zoo
from leadline.sampling import stream
from leadline.sampling.compiled.machine import BLOCK, NumbaMachine

LENGTH = 2 * BLOCK + 22


class Mixed(nn.Module):
    """Convolutions before and after a recurrence, with a skip past it, groups and a far look back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.far = nn.Conv1d(3, 6, 3), nn.Conv1d(6, 6, 2, dilation=BLOCK + 3, groups=3)
        self.rnn, self.last = nn.GRU(6, 5, batch_first=True), nn.Conv1d(11, 2, 1)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(F.pad(x, (2, 0))))
        h = h + self.far(F.pad(h, (BLOCK + 3, 0), value=0.5))
        y = self.rnn(self.norm(h.mT))[0].mT
        return self.last(torch.cat([torch.erf(y), h], 1))


class Attending(nn.Module):
    """Attention between convolutions, to all of the past or to some of it."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.out = nn.Conv1d(3, 12, 2), nn.Conv1d(4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.key(F.pad(x, (1, 0))).mT.reshape(len(x), x.shape[-1], 3, 2, 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(F.pad(y.transpose(1, 2).flatten(2).mT, (1, 0)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", [Mixed, Attending])
def test_chunks_of_any_size_equal_the_forward_pass(kind: Any, batch: int) -> None:
    torch.manual_seed(0)
    model, x = kind().double().eval(), torch.randn(batch, 3, LENGTH, dtype=torch.float64)
    made, wanted = stream(model, x, layout="b c t -> b v t", backend="numba"), model(x)
    torch.testing.assert_close(made.logits(x), wanted, rtol=0, atol=1e-10)
    for sizes in ([1, BLOCK - 1, 1, BLOCK, 21], [LENGTH - 3, 3], [BLOCK + 1, BLOCK + 1, 20]):
        assert sum(sizes) == LENGTH
        made.reset(batch, length=LENGTH)
        parts = [made.step(part) for part in x.split(sizes, -1)]
        torch.testing.assert_close(torch.cat(parts, -1), wanted, rtol=0, atol=1e-10)


def test_outputs_that_come_before_their_inputs_are_read_after_a_block() -> None:
    specimen = zoo.build("wavenet", layers=4, classes=6, channels=5, skip=4, head=7, length=LENGTH)
    model, tokens = specimen.model.double().eval(), torch.randint(6, (2, LENGTH))
    made = stream(model, *specimen.inputs, layout=specimen.layout, backend="numba")
    assert made.lag == 1
    torch.testing.assert_close(made.logits(tokens), model(tokens), rtol=0, atol=1e-10)
    made.reset(2)
    parts = [made.step(part) for part in tokens.split([70, 1, LENGTH - 71], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(tokens), rtol=0, atol=1e-10)


def test_what_blocks_need_is_not_counted_as_state() -> None:
    made = stream(Mixed().eval(), torch.randn(1, 3, 90), layout="b c t -> b v t", backend="numba")
    plan = made.plan(90)
    whole, single = (NumbaMachine(plan, 2, torch.float32, blocks=blocks) for blocks in (True, False))
    assert whole.state_bytes == single.state_bytes == made.state_bytes
    assert whole.program.room > single.program.room == single.program.state
