"""Videos and volumes: masked convolutions over three axes have equations, schedules and streams."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d

import leadline
from leadline.errors import UsageError
from leadline.recurrence.analysis.schedule import generation_schedule

LAYOUT = "b t h w -> b t h w v"


class Masked(nn.Conv3d):
    """A convolution that sees the places before its own in raster order, and its own unless it is the first."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        seen = torch.ones(27)
        seen[13 + (not first) :] = 0
        self.register_buffer("mask", seen.view(3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return conv3d(x, self.weight * self.mask, self.bias, padding=1)


class Video(nn.Module):
    """Logits of the next symbol of a video, frame after frame."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.logits = nn.Embedding(4, 3), nn.Conv3d(4, 4, 1)
        self.layers = nn.Sequential(Masked(3, 4, True), nn.ReLU(), Masked(4, 4, False), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.layers(self.embed(x).movedim(-1, 1))).movedim(1, -1)


@pytest.mark.parametrize("size", [(3, 4, 3), (2, 2, 5)])
def test_a_video_streams_and_is_drawn_in_fronts(size: tuple[int, int, int]) -> None:
    model, x = Video().double(), torch.randint(4, (2, *size))
    found = leadline.stream(model, x, layout=LAYOUT, backend="torch")
    assert torch.allclose(found.logits(x), model(x), atol=1e-12)
    drawn = leadline.generation(model, x, layout=LAYOUT, lag=1)
    schedule = generation_schedule(leadline.system(model, x, layout=LAYOUT))
    assert schedule.length == drawn.fronts.lo == drawn.fronts.hi < x[0].numel()


def test_the_compiled_path_says_which_grids_it_runs() -> None:
    with pytest.raises(UsageError, match="one or two axes; use backend='torch'"):
        leadline.stream(Video(), x := torch.randint(4, (1, 2, 3, 3)), layout=LAYOUT, backend="numba").logits(x)
