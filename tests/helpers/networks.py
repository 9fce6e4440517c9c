"""Random sequence models with a known verdict: stacks of drawn parts, half of them with a planted leak."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from helpers import parts as p
from helpers.attentions import attentions
from helpers.blocks import FINITE, LEAKS, PRESENT, STRUCTURAL, B, C
from helpers.blocks import T as T_CATALOGUE
from helpers.parts import Part, delayed
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn

VOCABULARY = 5
_WORST = ("structural", "finite-mask", "present-weights")
_PRECISE = (p.convolutions, p.masked_convolutions, p.poolings, p.gathers, p.mixers, attentions)
"""Strategies whose parts look exactly as far ahead as they are asked to."""
_FAMILIES = (
    *_PRECISE, attentions, attentions, p.recurrences, p.loops, p.norms, p.cumulations, p.spectra, p.moves,
    p.routings, p.chunks, p.reductions,
)  # fmt: skip
_WIRINGS = ("residual", "gated", "dense", "zero-initialised", "pre-norm")


@dataclass(frozen=True)
class Recipe:
    """Parts and wirings from input to output; the rest of a model's setting."""

    T: int
    parts: tuple[tuple[Part, str], ...]
    tokens: bool
    backwards: bool
    seed: int

    @property
    def verdict(self) -> str:
        """What is true by design: the residual stream carries every part's dependence to the output."""
        if any(part.ahead for part, _ in self.parts):
            return "leak"
        return max((part.family for part, _ in self.parts), key=_WORST.index)

    def build(self) -> tuple[nn.Module, Tensor]:
        """Return the model and an input for it."""
        torch.manual_seed(self.seed)
        model = Network(self)
        return model, torch.randint(VOCABULARY, (B, self.T)) if self.tokens else torch.randn(B, self.T, C)

    @property
    def layout(self) -> str:
        """Axes of input and output."""
        return "b t -> b t v" if self.tokens else "b t c -> b t v"

    @property
    def order(self) -> Tensor | None:
        """Ranks of the positions."""
        return torch.arange(self.T).flip(0) if self.backwards else None


class Network(nn.Module):
    """Wired parts between an embedding of tokens (or a linear map) and a linear head, possibly over reversed time."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.first = nn.Embedding(VOCABULARY, C) if recipe.tokens else nn.Linear(C, C)
        self.parts = nn.ModuleList(part.make() for part, _ in recipe.parts)
        self.mixers = nn.ModuleList(nn.Linear(2 * C, C) for _ in recipe.parts)
        self.scales = nn.ParameterList(torch.zeros(1) for _ in recipe.parts)
        self.wirings, self.backwards = [wiring for _, wiring in recipe.parts], recipe.backwards
        self.head = nn.Linear(C, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flip(1) if self.backwards else x)
        for part, wiring, mixer, scale in zip(self.parts, self.wirings, self.mixers, self.scales, strict=True):
            y = part(nn.functional.layer_norm(x, (C,)) if wiring == "pre-norm" else x)
            if wiring == "dense":
                x = mixer(torch.cat([x, y], -1))
            else:
                x = x + {"gated": x.sigmoid(), "zero-initialised": scale}.get(wiring, 1.0) * y
        x = self.head(x)
        return x.flip(1) if self.backwards else x


@st.composite
def _clean(draw: st.DrawFn, T: int) -> Part:
    kind = draw(st.integers(0, 9))
    if kind == 0:  # what looks ahead may be delayed by as much
        ahead = draw(st.integers(1, 2))
        return delayed(draw(draw(st.sampled_from(_PRECISE))(T, ahead)), ahead)
    if kind < 3 and T == T_CATALOGUE:
        families = (("structural", STRUCTURAL), ("finite-mask", FINITE), ("present-weights", PRESENT))
        family, blocks = draw(st.sampled_from(families))
        name = draw(st.sampled_from(list(blocks)))
        return Part(name, blocks[name], 0, family)
    return draw(draw(st.sampled_from(_FAMILIES))(T, 0))


@st.composite
def _leaking(draw: st.DrawFn, T: int) -> Part:
    kind, ahead = draw(st.integers(0, 9)), draw(st.integers(1, 2))
    if kind == 0:  # delayed by too little
        return delayed(draw(draw(st.sampled_from(_PRECISE))(T, 2)), 1)
    if kind < 3 and T == T_CATALOGUE:
        name = draw(st.sampled_from(list(LEAKS)))
        return Part(f"leak: {name}", LEAKS[name], 1)
    if kind < 6:
        return draw(attentions(T, ahead, meant=False))
    return draw(draw(st.sampled_from(_FAMILIES))(T, ahead))


@st.composite
def recipes(draw: st.DrawFn, *, leaking: bool) -> Recipe:
    """Draw one or two clean parts, and a leak among them if asked for one."""
    T = draw(st.sampled_from([T_CATALOGUE, 5, 7, 8]))
    parts = draw(st.lists(_clean(T), min_size=1, max_size=2))
    if leaking:
        parts.insert(draw(st.integers(0, len(parts))), draw(_leaking(T)))
    wired = tuple((part, draw(st.sampled_from(_WIRINGS))) for part in parts)
    backwards = draw(st.sampled_from([False, False, False, True]))
    return Recipe(T, wired, draw(st.booleans()), backwards, draw(st.integers(0, 1000)))


def numbered(number: int) -> Recipe:
    """Return the network of a number; those of odd numbers leak."""
    drawn: list[Recipe] = []

    @seed(number)
    @settings(max_examples=2, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=HealthCheck)
    @given(recipes(leaking=number % 2 == 1))
    def draw(recipe: Recipe) -> None:
        drawn.append(recipe)

    draw()
    return drawn[-1]  # the first is the simplest there is, whatever the seed


def single(name: str, blocks: dict[str, object], family: str) -> Recipe:
    """Return the network of one block of the catalogue."""
    part = Part(name, blocks[name], int(family == "leak"), family)  # type: ignore[arg-type]
    return Recipe(T_CATALOGUE, ((part, "residual"),), tokens=False, backwards=False, seed=0)


def looks_ahead(recipe: Recipe, draws: int = 2) -> bool:
    """Perturb the model itself, in float64 and one position at a time: does an earlier output move?"""
    model, x = recipe.build()
    model, x = model.double(), x.double() if x.is_floating_point() else x

    def run(x: Tensor) -> Tensor:
        torch.manual_seed(recipe.seed)  # the same noise in every run
        return torch.nan_to_num(model(x))

    with torch.no_grad():
        base = run(x)
        for _ in range(draws):
            for t in range(recipe.T):
                moved = x.clone()
                moved[:, t] = (x[:, t] + 1) % VOCABULARY if recipe.tokens else x[:, t] + 2 * torch.randn(B, C)
                difference = (run(moved) - base).abs().amax((0, 2)) > 1e-9 * base.abs().amax().clamp(min=1.0)
                if bool(difference[t + 1 :].any() if recipe.backwards else difference[:t].any()):
                    return True
    return False
