"""A causal sound model live: blocks of audio in, blocks of audio out, no sample of latency more than the model has.

    python examples/live_sound.py

The model is a plain stack of dilated convolutions that knows nothing of streaming. The stream derived from it holds the
live window of every layer, takes blocks of any size, and returns what the whole signal at once would have given.
"""

import math
import time

import torch
from torch import Tensor, nn

import leadline

RATE, BLOCK = 8000, 160


class Filter(nn.Module):
    """Six dilated causal convolutions with residuals, one channel in and out."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, channels, 1)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=3**i) for i in range(6))
        self.last = nn.Conv1d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        for layer in self.layers:
            z = z + torch.tanh(layer(nn.functional.pad(z, (2 * layer.dilation[0], 0))))
        return self.last(z)


def main() -> None:
    torch.manual_seed(0)
    model, seconds = Filter().eval(), 0.5
    time_axis = torch.arange(int(seconds * RATE)) / RATE
    signal = torch.sin(2 * math.pi * 440 * time_axis + 8 * torch.sin(2 * math.pi * 3 * time_axis))[None, None]

    live = leadline.stream(model, signal, layout="b c t -> b d t")
    live.step(signal[..., :BLOCK])  # the first call compiles
    live.reset()
    start = time.perf_counter()
    blocks = [live.step(block) for block in signal.split(BLOCK, dim=-1)]
    spent = time.perf_counter() - start

    with torch.no_grad():
        whole = model(signal)
    error = (torch.cat(blocks, -1) - whole).abs().max().item()
    print(f"{len(blocks)} blocks of {BLOCK} samples, largest difference from the whole signal at once {error:.1e}")
    print(f"state {live.state_bytes} bytes, {seconds / spent:.1f} times real time at {RATE} Hz")
    assert error < 1e-4


if __name__ == "__main__":
    main()
