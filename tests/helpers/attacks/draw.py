"""Draws of literals, and modules that hold what was drawn."""

import torch
from torch import nn

SHAPE = (1, 2, 6)
"""Of what goes into every block: batch, channels, length."""


class Draw:
    """Random literals from one seed."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def below(self, n):
        return int(torch.randint(n, (), generator=self.generator))

    def one(self, *options):
        return options[self.below(len(options))]

    def maybe(self):
        return bool(self.below(2))

    def number(self, lo=-3.0, hi=3.0):
        return lo + (hi - lo) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def tensor(self, *shape):
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def complex(self, *shape):
        return torch.view_as_complex(self.tensor(*shape, 2))


class Block(nn.Module):
    """A function of x and of some constants: parameters or buffers."""

    def __init__(self, function, **held):
        super().__init__()
        self.function = function
        for i, (name, value) in enumerate(held.items()):
            if i % 2:
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))

    def forward(self, x):
        return self.function(self, x)


class Chain(nn.Module):
    """Blocks one after another, each given its first elements back in the common shape."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for i, block in enumerate(self.blocks):
            x = _fitting(x, SHAPE) if i else x
            x = block(x)
        return x


def _fitting(x, shape):
    flat = (torch.view_as_real(x) if x.is_complex() else x).flatten()[:12]
    return torch.nn.functional.pad(flat, (0, 12 - len(flat))).reshape(shape)
