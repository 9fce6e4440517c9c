"""Laws of architectures that change with their size: what is called proved is right at every size that is admitted."""

# ruff: noqa: ARG005 - kinds of architectures take a number and a size, which not all need

from __future__ import annotations

import operator
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad, scaled_dot_product_attention

import leadline
from leadline.errors import NotUniform, UsageError
from leadline.recurrence import Laws, law
from leadline.recurrence.watched import Watched
from leadline.results import Status

C = 2
SEQUENCE = "b t c -> b t v"


class Causal(nn.Module):
    """A causal convolution."""

    def __init__(self, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.layer = nn.Conv1d(C, C, kernel, dilation=dilation)
        self.before = (kernel - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(pad(x.mT, (self.before, 0))).mT


class Of(nn.Module):
    """A function of a sequence and two causal layers."""

    def __init__(self, f: Callable[[Tensor, nn.Module, nn.Module], Tensor], **buffers: Tensor) -> None:
        super().__init__()
        self.f, self.one, self.two = f, Causal(2), Causal(3)
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x, self.one, self.two)


class Table(Of):
    """A function of a table too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x, self.table, self.one)


class Recurrent(nn.GRU):
    """The outputs of a recurrent layer."""

    def __init__(self) -> None:
        super().__init__(C, C, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0]


def banded(x: Tensor, width: int) -> Tensor:
    place = torch.arange(x.shape[1])
    apart = place[:, None] - place
    return ((apart >= 0) & (apart < width)).float() @ x


def loop(x: Tensor, one: nn.Module, _: nn.Module) -> Tensor:
    h, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = torch.tanh(h @ one.layer.weight[:, :, 0] + x[:, t])
        states.append(h)
    return torch.stack(states, 1)


Made = Callable[[int], nn.Module]
KINDS: dict[str, Callable[[int], Made]] = {  # a number -> an architecture that may change around it
    "nothing": lambda n: lambda T: nn.Sequential(Causal(n % 3 + 1), nn.Tanh(), Causal(2, n % 2 + 1)),
    "a longer sequence is another network": lambda n: lambda T: Of(lambda x, f, g: g(f(x)) if x.shape[1] > n else f(x)),
    "a shorter one": lambda n: lambda T: Of(lambda x, f, g: f(x) if x.shape[1] < n else g(f(x))),
    "one length is special": lambda n: lambda T: Of(lambda x, f, g: g(x) if x.shape[1] == n else f(x)),
    "odd and even": lambda n: lambda T: Of(lambda x, f, g: g(x) if x.shape[1] % 2 else f(x)),
    "a builder that compares": lambda n: lambda T: Causal(3 if n < T else 2),
    "a builder that divides": lambda n: lambda T: Causal(max(1, T // 4)),
    "a builder with parity": lambda n: lambda T: Causal(2 + T % 2),
    "a builder with a table": lambda n: lambda T: Causal({n: 3}.get(T, 2)),
    "as many layers as places": lambda n: lambda T: nn.Sequential(*(Causal(2) for _ in range(T))),
    "a kernel from a count": lambda n: lambda T: Causal(1 + sum(1 for _ in range(T)) // n),
    "a window": lambda n: lambda T: Of(lambda x, f, g: banded(x, n)),
    "a triangle": lambda n: lambda T: Of(lambda x, f, g: torch.ones(x.shape[1], x.shape[1]).tril() @ x),
    "a wide triangle": lambda n: lambda T: Of(lambda x, f, g: torch.ones(x.shape[1], x.shape[1]).tril(-n) @ x),
    "the last places": lambda n: lambda T: Of(lambda x, f, g: pad(f(x)[:, -n:], (0, 0, max(0, x.shape[1] - n), 0))),
    "a table cut to size": lambda n: (
        lambda T: Table(
            lambda x, table, f: table[: x.shape[1], : x.shape[1]] @ x, table=torch.ones(64, 64).tril().triu(-n)
        )
    ),
    "a loop": lambda n: lambda T: Of(loop),
    "a loop and a number": lambda n: lambda T: Of(lambda x, f, g: loop(x, f, g) if x.shape[1] < n else f(x)),
    "a recurrent layer": lambda n: lambda T: Recurrent(),
    "attention": lambda n: lambda T: Of(lambda x, f, g: scaled_dot_product_attention(x, x, x, is_causal=True)),
}


def laws_of(make: Made, sizes: tuple[int, ...]) -> Laws:
    return law(lambda T: (make(T), (torch.zeros(1, T, C),)), layout=SEQUENCE, T=sizes)


def wrong(make: Made, laws: Laws, sizes: list[int]) -> list[tuple[int, int, int]]:
    """Sizes that the law admits and where it is wrong, with what it says and what is counted."""
    found = []
    for size in sizes:
        try:
            said = laws.connections.at(T=size)
        except UsageError:
            continue
        counted = leadline.count(make(size), torch.zeros(1, size, C)).connections
        if said != counted:
            found.append((size, said, counted))
    return found


def attack(kind: str, seed: int) -> tuple[Status, list[tuple[int, int, int]]] | None:
    """Find the law of one architecture from two or three sizes, and try it at others; None where it is refused."""
    random = Random(seed)
    number = random.choice([3, 5, 7, 11, 16, 20])
    make = KINDS[kind](number)
    sizes = tuple(sorted(random.sample(range(6, 14), random.choice([2, 3]))))
    try:
        laws = laws_of(make, sizes)
    except NotUniform:
        return None
    tried = {*random.sample(range(1, 40), 3), number, number + 1, number + 2, 2 * number + 1, 32}
    return laws.connections.status, wrong(make, laws, sorted(tried))


class Far(Causal):
    """A causal convolution whose dilation stands in no module and in no shape."""

    def __init__(self, before: int) -> None:
        super().__init__(2)
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        return conv1d(pad(x.mT, (self.before, 0)), self.layer.weight, dilation=self.before).mT


SLIPPED: dict[str, Callable[[int], Made]] = {  # sizes that are used without arithmetic or a comparison
    "a length passed on": lambda n: lambda T: Far(T),
    "the smaller one": lambda n: lambda T: Far(min(T, 2 * n)),
    "a range": lambda n: lambda T: Causal(3 if len(range(T)) > n else 2),
    "a range and a large number": lambda n: lambda T: Causal(3 if len(range(T)) > 50 else 2),
    "a tensor's length": lambda n: lambda T: Causal(3 if len(torch.zeros(T)) > 5 * n else 2),
}


@pytest.mark.parametrize("kind", SLIPPED)
@pytest.mark.parametrize("sizes", [(9,), (7, 9)])
def test_what_a_builder_does_with_its_size_unseen_is_never_proved(kind: str, sizes: tuple[int, ...]) -> None:
    make = SLIPPED[kind](11)
    try:
        laws = laws_of(make, sizes)
    except NotUniform:
        return
    assert laws.connections.status is not Status.PROVED
    assert not wrong(make, laws, [8, 12, 51, 60])


def test_arithmetic_on_the_number_of_places_makes_no_constants() -> None:
    def build(T: int) -> Any:
        class Cropped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Conv1d(1, 1, 3, padding=2)

            def forward(self, x: Tensor) -> Tensor:
                return self.layer(x)[..., : x.shape[2] + 1 - 1]

        return Cropped(), (torch.zeros(1, 1, T),)

    found = law(build, layout="b c t -> b v t", T=(7, 9)).connections
    assert (found.status, found.doubt) == (Status.PROVED, "")


def test_constants_that_are_made_place_by_place_prove_nothing() -> None:
    """Ones that are added up so far are known at the size that was traced alone."""
    made = Of(lambda x, f, g: f(x * (torch.ones(x.shape[1]).cumsum(0) <= 16).float()[:, None]))
    found = laws_of(lambda T: made, (9,)).connections
    assert found.status is Status.FITTED
    assert "differ by place" in found.doubt


def test_a_band_that_is_wider_than_the_network_is_tried_beyond_its_edge() -> None:
    def banded_attention(x: Tensor, *_: nn.Module) -> Tensor:
        seen = torch.ones(x.shape[1], x.shape[1]).tril().triu(-11).bool()
        return scaled_dot_product_attention(x, x, x, attn_mask=seen)

    made = Of(banded_attention)
    assert not wrong(lambda T: made, laws_of(lambda T: made, (7, 10)), [12, 13, 20])


SLOW = ("a loop", "a loop and a number", "as many layers as places", "a kernel from a count", "a shorter one")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else []) for kind in KINDS])
def test_what_is_called_proved_holds_at_other_sizes(kind: str) -> None:
    found = attack(kind, len(kind))
    assert found is None or not found[1], found


@pytest.mark.slow
def test_a_thousand_laws_at_fresh_sizes() -> None:
    """Nothing proved is wrong, and next to nothing that was fitted."""
    kinds = list(KINDS)
    found = {(kinds[seed % len(kinds)], seed): attack(kinds[seed % len(kinds)], seed) for seed in range(1000)}
    failed = {key: result for key, result in found.items() if result is not None and result[1]}
    assert not [key for key, (status, _) in failed.items() if status is Status.PROVED]
    assert len(failed) < 10, failed


PROVED = (
    "nothing",
    "a longer sequence is another network",
    "a shorter one",
    "a builder that compares",
    "a recurrent layer",
)


@pytest.mark.parametrize("kind", [*PROVED, "attention"])
def test_what_the_construction_shows_is_proved(kind: str) -> None:
    found = laws_of(KINDS[kind](16), (8, 9)).connections
    assert found.status is Status.PROVED, found.doubt


def test_a_law_ends_where_the_network_changes() -> None:
    found = laws_of(KINDS["a longer sequence is another network"](16), (6, 8))
    assert found.connections.until == {"T": 16}
    assert "≤ T ≤ 16" in str(found.connections)
    with pytest.raises(UsageError, match="up to T = 16, not at 17"):
        found.connections.at(T=17)


def test_equations_that_come_and_go_are_refused() -> None:
    with pytest.raises(NotUniform, match="are others than at"):
        laws_of(KINDS["odd and even"](3), (8, 10))


def test_what_counts_nothing_is_refused() -> None:
    """Fitted over even depths, of which odd ones have no half."""
    found = law(
        lambda d, T: (nn.Sequential(*(Causal(2) for _ in range(d // 2 + 1))), (torch.zeros(1, T, C),)),
        layout=SEQUENCE, d=(2, 4, 6, 8), T=(6, 7),
    ).connections  # fmt: skip
    assert found.at(d=10, T=9) == 6 * 4 * 17
    assert found.status is Status.FITTED
    with pytest.raises(UsageError, match="not for 3"):
        found.at(d=3, T=9)


COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@given(st.integers(1, 30), st.lists(st.tuples(st.sampled_from(COMPARISONS), st.integers(0, 40)), max_size=5))
def test_a_watched_size_knows_who_would_have_been_answered_alike(
    value: int, asked: list[tuple[Callable[[Any, Any], bool], int]]
) -> None:
    size = Watched(value)
    answers = [comparison(size, other) for comparison, other in asked]
    assert answers == [comparison(value, other) for comparison, other in asked]
    low, most = size.asked.least, size.asked.most
    assert low <= value <= (value if most is None else most)
    for same in range(low, (60 if most is None else most) + 1):
        assert [comparison(same, other) for comparison, other in asked] == answers
    assert not size.asked.used


@pytest.mark.parametrize("use", [lambda n: n // 4, lambda n: 2 * n, lambda n: -n, float, {9: 1}.get, lambda n: n % 2])
def test_arithmetic_on_a_watched_size_is_noted(use: Callable[[Any], Any]) -> None:
    size = Watched(9)
    assert use(size) == use(9)
    assert size.asked.used
