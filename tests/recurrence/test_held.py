"""What a builder does with its size unseen is found in what the model holds, wherever it was put."""

import functools
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import leadline
from leadline import law
from leadline.recurrence.held import held, same
from leadline.recurrence.watched import Watched
from leadline.results import Status


def holding(**attributes: Any) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@dataclass(frozen=True, slots=True)
class Settings:
    kernel: int


def enclosing(n: int) -> nn.Module:
    class Local(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if len(x) > n else -x

    return Local()


def of_class(n: int) -> nn.Module:
    return type("Own", (nn.Module,), {"limit": n, "__module__": __name__})()


def with_buffer(value: torch.Tensor) -> nn.Module:
    model = holding()
    model.register_buffer("flag", value)
    return model


def with_zeros(n: int) -> nn.Module:
    model = nn.Conv1d(1, 1, 3)
    model.weight.data[..., :n] = 0
    return model


def bound(n: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.run = model[n - 2].forward
    return model


PLACES = {  # a number, 2 or 3, that says what the model does -> a model
    "number": lambda n: holding(n=n),
    "text": lambda n: holding(mode="long" if n > 2 else "short"),
    "list": lambda n: holding(n=[1, [n]]),
    "deque": lambda n: holding(n=deque([n])),
    "table": lambda n: holding(n={"a": {"b": n}}),
    "set": lambda n: holding(n={n}),
    "array": lambda n: holding(n=np.array([n])),
    "length": lambda n: holding(n=torch.zeros(n)),
    "buffer": lambda n: with_buffer(torch.tensor(n)),
    "weights": with_zeros,
    "closure": lambda n: holding(f=lambda x: x + n),
    "default": lambda n: holding(f=eval(f"lambda x, n={n}: x + n")),
    "code": lambda n: holding(f=eval(f"lambda x: x + {n}")),
    "partial": lambda n: holding(f=functools.partial(max, n)),
    "method": bound,
    "settings": lambda n: holding(n=Settings(n)),
    "namespace": lambda n: holding(n=SimpleNamespace(a=n)),
    "class in the builder": enclosing,
    "class attribute": of_class,
    "size of a module": lambda n: nn.Conv1d(1, 1, n),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_number_is_found_wherever_a_model_holds_it(place: str) -> None:
    make = PLACES[place]
    assert same(held(make(2)), held(make(2)))
    assert not same(held(make(2)), held(make(3)))


def test_a_watched_size_is_held_by_models_of_all_sizes() -> None:
    assert same(held(holding(n=Watched(9))), held(holding(n=12)))
    assert not same(held(holding(n=9)), held(holding(n=12)))


class Mode(nn.Module):
    """A network that is another one where its mode says so, which no module and no shape shows."""

    def __init__(self, long: bool) -> None:
        super().__init__()
        self.mode = "long" if long else "short"
        self.layer = nn.Conv1d(1, 1, 2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2 if self.mode == "long" else 1):
            x = self.layer(x)[..., : x.shape[2]]
        return x


@pytest.mark.parametrize("above", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_a_mode_that_a_size_chose_unseen_ends_the_law(above: int) -> None:
    def build(T: int) -> Any:
        return Mode(len(range(T)) > above), (torch.zeros(1, 1, T),)

    found = law(build, layout="b c t -> b v t", T=(9,)).connections
    assert found.status is Status.FITTED
    assert found.until == {"T": above}
    assert found.at(T=above) == leadline.count(*[build(above)[0], *build(above)[1]]).connections


@pytest.mark.slow
def test_a_mode_that_small_sizes_chose_begins_the_law() -> None:
    def build(T: int) -> Any:
        return Mode(len([0, 0, 0, 0, 0][T:]) > 0), (torch.zeros(1, 1, T),)

    found = law(build, layout="b c t -> b v t", T=(9,)).connections
    assert found.status is Status.FITTED
    with pytest.raises(leadline.errors.UsageError, match="from T = 5 on"):
        found.at(T=4)
