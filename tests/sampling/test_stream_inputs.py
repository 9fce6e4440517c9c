"""What a stream is fed is checked before anything runs: batches, classes, types, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from inspect import unwrap
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.errors import UsageError
from leadline.likelihoods import Categorical
from leadline.sampling._stream import Stream, stream
from leadline.sampling.interface import Interface

BACKENDS = ("torch", "numba")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Tokens(nn.Module):
    """Logits of the next of four classes; one row of the embedding may serve nothing."""

    def __init__(self, rows: int = 4, shift: int = 0) -> None:
        super().__init__()
        self.rows, self.head, self.shift = nn.Embedding(rows, 6), nn.Linear(6, 4), shift

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.rows(x + self.shift if self.shift else x)))


def of_tokens(backend: Any, **how: Any) -> Stream:
    return stream(Tokens(**how), torch.zeros(1, 6, dtype=torch.int64), layout="b t -> b t v", backend=backend)


RECURRENT = Recurrent().double()


@pytest.fixture(params=BACKENDS)
def recurrent(request: pytest.FixtureRequest) -> Stream:
    return stream(RECURRENT, torch.zeros(1, 6, 3).double(), layout="b t c -> b t v", backend=request.param)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(live=st.integers(1, 4), other=st.integers(1, 600), length=st.integers(1, 5), begun=st.booleans())
def test_a_sequence_goes_on_with_its_own_batch_only(
    recurrent: Stream, live: int, other: int, length: int, begun: bool
) -> None:
    made, x = recurrent, torch.randn(live, 6, 3, dtype=torch.float64)
    made.reset(batch=live)
    first = [made.step(x[:, :2])] if begun else []
    if other != live:
        with pytest.raises(UsageError, match=f"for {other} samples and this sequence for {live}"):
            made.step(torch.zeros(other, length, 3, dtype=torch.float64))
    rest = made.step(x[:, 2 * begun :])  # a refused chunk leaves no trace
    torch.testing.assert_close(torch.cat([*first, rest], 1), RECURRENT(x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_reset_the_first_chunk_says_the_batch(backend: Any) -> None:
    model, x = Recurrent(), torch.randn(3, 6, 3)
    made = stream(model, x[:1], layout="b t c -> b t v", backend=backend)
    torch.testing.assert_close(torch.cat([made.step(x[:, :1]), made.step(x[:, 1:])], 1), model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0, -1]], "classes from -1 to 0"),
        ([[3, 4]], "classes from 3 to 4; the model has an embedding for 0 to 3"),
        ([[2**40, 0]], "classes from 0"),
        ([[0.0, 1.0]], "classes, which are integers"),
        ([[True, False]], "torch.bool; the model reads classes, which are integers"),
        ([[]], "empty"),
    ],
)
def test_what_is_not_a_class_is_refused_and_leaves_no_trace(backend: Any, ids: list[Any], message: str) -> None:
    made = of_tokens(backend)
    made.reset(batch=1)
    good = torch.tensor([[1, 3]])
    for call in (made.step, made.logits):
        bad = torch.tensor(ids) if ids[0] else torch.zeros(1, 0, dtype=torch.int64)
        with pytest.raises(UsageError, match=message):
            call(bad)
    torch.testing.assert_close(made.step(good), made.source.reading.model(good), rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_class_that_fails_midway_ends_the_sequence(backend: Any) -> None:
    made = of_tokens(backend, shift=1)  # the row is chosen by a sum, which no check of the input sees
    made.reset(batch=1)
    with pytest.raises((UsageError, IndexError)):
        made.step(torch.tensor([[0, 1, 3]]))
    with pytest.raises(UsageError, match=r"begin another one with reset\(\)"):
        made.step(torch.tensor([[0]]))
    made.reset(batch=1)
    assert made.step(torch.tensor([[0]])).shape == (1, 1, 4)


def test_more_classes_than_embeddings_cannot_be_drawn() -> None:
    made = stream(
        Tokens(rows=3), torch.zeros(1, 6, dtype=torch.int64), layout="b t -> b t v", likelihood=Categorical(4)
    )
    with pytest.raises(UsageError, match="4 classes are drawn, and the model has embeddings for 3"):
        made.generate(1, given=torch.zeros(1, 1, dtype=torch.int64))


def test_types_that_nobody_promised_are_refused_where_nothing_checks_annotations() -> None:
    x = torch.zeros(1, 4, 3)
    made = stream(nn.Linear(3, 2), x, layout="b t c -> b t v")
    for backend in ("cuda", "", None, 3):
        with pytest.raises(UsageError, match="unknown backend"):
            unwrap(Stream.__init__)(made, made.source, None, None, backend, True)
    with pytest.raises(UsageError, match=r"the input is a ndarray; give a torch\.Tensor"):
        unwrap(Interface.arranged)(made.interface, x.numpy())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", [{"batch": 0}, {"batch": -2}, {"length": 0}])
def test_a_sequence_without_samples_or_positions_is_refused(backend: Any, how: dict[str, int]) -> None:
    made = of_tokens(backend)
    with pytest.raises(UsageError, match="at least one"):
        made.reset(**how)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_ignored(backend: Any) -> None:
    x = torch.randn(1, 6, 3)
    made = stream(Recurrent(), x, layout="b t c -> b t v", backend=backend)
    assert not made.step(x.requires_grad_()).requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_that_share_a_stream_draw_what_one_draws(backend: Any) -> None:
    made = stream(Tokens(), torch.zeros(1, 20, dtype=torch.int64), layout="b t -> b t v", likelihood=Categorical(4),
                  backend=backend)  # fmt: skip
    first = torch.zeros(1, 1, dtype=torch.int64)
    alone = [made.generate(3, seed=seed, given=first) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: made.generate(3, seed=seed, given=first), range(24)))
    assert all(map(torch.equal, alone, together))


def test_a_stream_that_calls_itself_is_refused() -> None:
    def encode(symbols: Tensor) -> Tensor:
        made.generate(1)
        return symbols

    made = stream(Tokens(), torch.zeros(1, 6, dtype=torch.int64), layout="b t -> b t v", encode=encode)
    with pytest.raises(UsageError, match="has called it again"):
        made.generate(1, given=torch.zeros(1, 1, dtype=torch.int64))


@pytest.mark.parametrize("curve", [torch.expm1, lambda x: x**3, torch.exp], ids=["expm1", "cube", "exp"])
def test_in_double_precision_nothing_is_left_of_what_looks_wrong_in_large_values(curve: Any) -> None:
    """In single precision ``expm1(6)`` alone is rounded by 1e-5, and sums before it by more."""

    class Curved(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return curve(x.cumsum(1))

    x = 2 * torch.randn(2, 9, 3, dtype=torch.float64)
    made = stream(Curved(), x[:1, :6], layout="b t c -> b t v", backend="torch")
    torch.testing.assert_close(made.logits(x), Curved()(x), rtol=1e-13, atol=0)
