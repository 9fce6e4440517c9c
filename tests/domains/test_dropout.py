"""Dropout between a softmax and its product with the values must not hide the mask."""

import pytest
import torch
from torch import Tensor, nn

import leadline


class Attention(nn.Module):
    """Masked attention as written out by hand, with dropout on its weights."""

    def __init__(self, mask: float) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(4, 4), nn.Linear(4, 4)
        self.dropout, self.mask = nn.Dropout(0.3), mask

    def forward(self, x: Tensor) -> Tensor:
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (self.query(x) @ x.mT).masked_fill(later, self.mask)
        return self.dropout(scores.softmax(-1)) @ self.value(x)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("mask", "verdict"), [(-torch.inf, "structural"), (-1e4, "finite-mask"), (-1.0, "leak")])
def test_the_verdict_does_not_depend_on_dropout(mask: float, verdict: str, training: bool) -> None:
    model = Attention(mask).train(training)
    assert leadline.causality(model, torch.randn(2, 6, 4), layout="b t c -> b t v").verdict == verdict
