"""Training step of a masked convolution: kernel cropped to the rows it sees, against the masked full kernel.

Forward and backward of one layer at batch 16 and 28 × 28 pixels, the two forms interleaved in one run on one thread;
the ratio is the median over rounds of full time / cropped time, with the quartiles beside it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tables import machine
from torch import Tensor, nn
from torch.nn.functional import conv2d

from leadline.zoo.layers.masked_conv import MaskedConv2d

RESULTS = Path(__file__).parent / "results" / "masked_conv.json"
BATCH, SIZE, ROUNDS = 16, 28, 21


class MaskedFullConv2d(nn.Module):
    """The usual form: a k × k kernel times a mask of zeros and ones."""

    def __init__(self, cropped: MaskedConv2d) -> None:
        super().__init__()
        outputs, inputs, rows, k = cropped.weight.shape
        self.register_buffer("mask", torch.cat([cropped.mask, torch.zeros(k - rows, k)]))
        lower = torch.randn(outputs, inputs, k - rows, k)
        self.weight = nn.Parameter(torch.cat([cropped.weight.detach(), lower], dim=2))
        self.bias = nn.Parameter(cropped.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with all k rows."""
        return conv2d(x, self.weight * self.mask, self.bias, padding=self.mask.shape[0] // 2)


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(kernel: int, channels: int) -> dict[str, float]:
    cropped = MaskedConv2d(channels, channels, kernel, "B")
    full = MaskedFullConv2d(cropped)
    x = torch.randn(BATCH, channels, SIZE, SIZE, requires_grad=True)
    cotangent = torch.randn_like(x)
    torch.testing.assert_close(cropped(x), full(x), rtol=1e-4, atol=1e-4)

    def train(conv: nn.Module) -> Callable[[], object]:
        return lambda: torch.autograd.grad(conv(x), [x, *conv.parameters()], cotangent)

    steps = {"full": train(full), "cropped": train(cropped)}
    times = [{name: seconds(step) for name, step in steps.items()} for _ in range(ROUNDS + 2)][2:]
    low, ratio, high = statistics.quantiles([t["full"] / t["cropped"] for t in times], n=4)
    milliseconds = {f"{name}_ms": 1e3 * statistics.median(t[name] for t in times) for name in steps}
    return {"kernel": kernel, "channels": channels, **milliseconds, "ratio": ratio, "low": low, "high": high}


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"{'kernel':>6} {'channels':>8} {'full ms':>8} {'cropped ms':>10}  full / cropped (quartiles)")
    rows = []
    for kernel in (3, 5, 7):
        for channels in (16, 32, 64):
            row = measure(kernel, channels)
            rows.append(row)
            print(
                f"{kernel:>6} {channels:>8} {row['full_ms']:>8.1f} {row['cropped_ms']:>10.1f}"
                f"  {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            )
    setting = {"batch": BATCH, "height": SIZE, "width": SIZE, "rounds": ROUNDS, "dtype": "float32"}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "setting": setting, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
