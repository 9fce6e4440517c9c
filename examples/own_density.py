"""Your own model, trained by your own loop; the sampler is derived from it.

    python examples/own_density.py --steps 2000

A density model of handwritten digits in thirty lines: causal convolutions over the rows of the picture. leadline says
whether it is one (no pixel may see itself), how many pixels can be drawn at once, and draws them.
"""

import argparse
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import leadline
from leadline.data import load

LEVELS = 17


class RowsAbove(nn.Module):
    """Every pixel from the three rows above it and the four pixels to its left."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(LEVELS, 8)
        self.above = nn.Conv2d(8, width, (3, 7))
        self.left = nn.Conv2d(8, width, (1, 4))
        self.deeper = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, LEVELS, 1))

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x).permute(0, 3, 1, 2)
        above = self.above(nn.functional.pad(z, (3, 3, 3, 0)))[:, :, :-1]
        left = self.left(nn.functional.pad(z, (4, 0, 0, 0)))[..., :-1]
        return self.deeper(above + left)


def train(model: nn.Module, images: Tensor, steps: int, batch: int = 32) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(steps):
        x = images[torch.randint(len(images), (batch,))]
        loss = cross_entropy(model(x), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 500 == 0:
            print(f"step {step}: {loss.item() / math.log(2):.3f} bits a pixel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    data = load("digits")
    images, test = data.train.examples.long(), data.test.examples.long()
    model, layout = RowsAbove(), "b h w -> b v h w"

    verdict = leadline.causality(model, images[:2], layout=layout, strict=True)
    print(f"causality: {verdict}")
    train(model, images, steps)
    with torch.no_grad():
        bits = cross_entropy(model(test), test) / math.log(2)
    print(f"test: {bits:.3f} bits a pixel")

    sampler = leadline.stream(model, images[:2], layout=layout)
    pictures = sampler.generate(4, seed=0)
    print(f"{sampler.schedule.length} fronts draw {pictures[0].numel()} pixels; {sampler.state_bytes} bytes of state")
    for rows in zip(*pictures.tolist(), strict=True):
        print("   ".join("".join(" .:-=+*#%@"[9 * level // (LEVELS - 1)] for level in row) for row in rows))


if __name__ == "__main__":
    main()
