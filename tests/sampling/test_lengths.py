"""Streams at other lengths than the traced one: as the model is there, whatever it asks of its length, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from leadline.errors import UsageError
from leadline.sampling import stream

C, TRACED, LAYOUT = 2, 6, "b t c -> b t v"


class Asking(nn.Module):
    """Causal convolutions, chosen by what is asked of the length."""

    def __init__(self, asked: Callable[[int], bool]) -> None:
        super().__init__()
        self.asked = asked
        self.one, self.two = nn.Conv1d(C, C, 2), nn.Conv1d(C, C, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mT
        return self.causal(self.one if self.asked(x.shape[2]) else self.two, x).mT

    @staticmethod
    def causal(layer: nn.Conv1d, x: Tensor) -> Tensor:
        return layer(pad(x, (layer.kernel_size[0] - 1, 0)))


class Loop(Asking):
    """A recurrence in Python."""

    def forward(self, x: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.one.weight[:, :, 0] + x[:, t])
            states.append(h if self.asked(x.shape[1]) else h * 2)
        return torch.stack(states, 1)


def always(_: int) -> bool:
    return True


MODELS: dict[str, tuple[Callable[[], nn.Module], int | None]] = {  # and how far it goes on past the traced length
    "nothing": (lambda: Asking(always), None),
    "shorter": (lambda: Asking(lambda n: n < 10), 9),
    "at least": (lambda: Asking(lambda n: 2 * n >= 9), None),
    "parity": (lambda: Asking(lambda n: n % 2 == 0), TRACED),
    "one length": (lambda: Asking(lambda n: n == 9), None),
    "a power": (lambda: Asking(lambda n: n & (n - 1) == 0), None),
    "a loop": (lambda: Loop(always), None),
    "a loop and a number": (lambda: Loop(lambda n: n < 9), TRACED),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_is_the_model_at_every_length(name: str) -> None:
    make, most = MODELS[name]
    model = make().double().eval()
    x = torch.randn(1, 14, C, dtype=torch.float64)
    made = stream(model, x[:, :TRACED], layout=LAYOUT, backend="torch")
    with torch.no_grad():
        for length in (4, TRACED, 9, 14):
            assert torch.allclose(made.logits(x[:, :length]), model(x[:, :length]), rtol=0, atol=1e-10)
        made.reset()
        steps = [made.step(x[:, i : i + 1]) for i in range(most or 14)]
        if most is not None:
            with pytest.raises(UsageError, match="change with their length"):
                made.step(x[:, most : most + 1])
        expected = model(x[:, : most or 14])
        assert torch.allclose(torch.cat(steps, 1), expected, rtol=0, atol=1e-10)
