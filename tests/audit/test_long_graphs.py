"""However long autograd's graph is, letting go of it must not overrun the stack, which would end the user's process."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import threading
import torch
from torch import nn
import leadline

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        h = self.layer(x)
        for _ in range({steps}):
            h = h * 1.0
        return h

class Sum(nn.Module):
    '''Adds all partial results of a chain: one node of the graph has thousands of parents.'''

    def forward(self, x):
        parts = [x]
        for _ in range({steps}):
            parts.append(parts[-1] * 1.0)
        return torch.stack(parts).mean(0)

def measure():
    model, x = nn.Sequential(Block(), Block(), Block(), Sum()), torch.randn(1, 4, 4)
    {call}

threading.stack_size(256 * 1024)
thread = threading.Thread(target=measure)
thread.start()
thread.join()
print("alive")
"""
CALLS = {
    "memory": "leadline.memory(model, x)",
    "gradient": "leadline.gradient(model, x, probes=1)",
}


@pytest.mark.parametrize("function", CALLS)
def test_a_small_stack_is_enough(function: str) -> None:
    script = SCRIPT.format(steps=1_500, call=CALLS[function])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
