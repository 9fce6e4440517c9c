"""Random sequence models with a known verdict: residual stacks of blocks, half of them with a planted leak."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from helpers.blocks import FINITE, LEAKS, PRESENT, STRUCTURAL, B, C, T
from hypothesis import strategies as st
from torch import Tensor, nn

VOCABULARY = 5


@dataclass(frozen=True)
class Recipe:
    """Names of blocks from input to output, and what the model's verdict must be."""

    blocks: tuple[str, ...]
    verdict: str
    tokens: bool
    seed: int

    def build(self) -> tuple[nn.Module, Tensor]:
        """Return the model and an input for it."""
        torch.manual_seed(self.seed)
        model = Residual(self.blocks, self.tokens)
        return model, torch.randint(VOCABULARY, (B, T)) if self.tokens else torch.randn(B, T, C)

    @property
    def layout(self) -> str:
        """Axes of input and output."""
        return "b t -> b t v" if self.tokens else "b t c -> b t v"


class Residual(nn.Module):
    """``x <- x + block(x)`` for each block, between an embedding of tokens (or a linear map) and a linear head."""

    def __init__(self, names: tuple[str, ...], tokens: bool) -> None:
        super().__init__()
        everything = STRUCTURAL | FINITE | PRESENT | {f"leak: {name}": make for name, make in LEAKS.items()}
        self.first = nn.Embedding(VOCABULARY, C) if tokens else nn.Linear(C, C)
        self.blocks = nn.ModuleList(everything[name]() for name in names)
        self.head = nn.Linear(C, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Draw one to three clean blocks, and in half of the cases a leak among them."""
    clean = st.sampled_from([*STRUCTURAL, *STRUCTURAL, *FINITE, *PRESENT])
    names = draw(st.lists(clean, min_size=1, max_size=3))
    verdict = "structural"
    for family, worse in ((FINITE, "finite-mask"), (PRESENT, "present-weights")):
        verdict = worse if any(name in family for name in names) else verdict
    if draw(st.booleans()):
        verdict = "leak"
        names.insert(draw(st.integers(0, len(names))), "leak: " + draw(st.sampled_from(list(LEAKS))))
    return Recipe(tuple(names), verdict, draw(st.booleans()), draw(st.integers(0, 1000)))
