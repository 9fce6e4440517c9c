"""Live streams in the caller's buffers: `step_into` and the quick ways through `step` are the forward pass as well."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.errors import UsageError
from leadline.sampling._stream import Stream
from leadline.sampling.exported.library import compiler

BACKENDS = ("torch", "numba", *(("c",) if compiler() else ()))
LIVE = pytest.mark.parametrize("backend", BACKENDS)


class Echo(nn.Module):
    """Numbers in, numbers out, with a memory: a dilated convolution, a GRU, and as many channels as are asked for."""

    def __init__(self, given: int, out: int) -> None:
        super().__init__()
        self.past, self.conv = 6, nn.Conv1d(given, 5, 3, dilation=3)
        self.gru, self.head = nn.GRU(5, 4, batch_first=True), nn.Linear(4, out)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.conv(nn.functional.pad(x, (self.past, 0))))
        return self.head(self.gru(h.mT)[0]).mT


class Classes(nn.Module):
    """Classes in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.gru = nn.Embedding(5, 4), nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(self.rows(x))[0]


torch.manual_seed(0)
MADE = {(i, o): Echo(i, o).double().eval() for i in (1, 2) for o in (1, 3)}
STREAMS: dict[Any, Stream] = {}


def of(backend: Any, given: int, out: int) -> tuple[nn.Module, Stream]:
    key = backend, given, out
    if key not in STREAMS:
        x = torch.zeros(1, given, 7, dtype=torch.float64)
        STREAMS[key] = leadline.stream(MADE[given, out], x, layout="b c t -> b v t", backend=backend)
    return MADE[given, out], STREAMS[key]


def laid_out(shape: tuple[int, ...], how: str, dtype: torch.dtype) -> Any:
    """Return a buffer: contiguous, with gaps, with axes in another order, or numpy's."""
    if how == "gaps":
        return torch.zeros(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2]
    if how == "turned":
        return torch.zeros(*reversed(shape), dtype=dtype).permute(*reversed(range(len(shape))))
    plain = torch.zeros(shape, dtype=dtype)
    return plain.numpy() if how == "numpy" else plain


@LIVE
@given(
    sizes=st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=5),
    batch=st.integers(1, 3),
    channels=st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 3])),
    layouts=st.tuples(*[st.sampled_from(["plain", "gaps", "turned", "numpy"])] * 2),
    into=st.lists(st.booleans(), min_size=5, max_size=5),
)
@settings(max_examples=examples(6, 100), deadline=None)
def test_chunks_through_buffers_and_through_step_are_the_forward_pass(
    backend: str, sizes: list[int], batch: int, channels: tuple[int, int], layouts: tuple[str, str], into: list[bool]
) -> None:
    model, made = of(backend, *channels)
    sizes = [*sizes[1:], 70] if backend == "c" else sizes  # it works in blocks of 64
    x = torch.randn(batch, channels[0], sum(sizes), dtype=torch.float64)
    kept: dict[int, tuple[Any, Any]] = {}
    made.reset(batch)
    found = []
    for part, way in zip(x.split(sizes, -1), into, strict=False):
        size = part.shape[-1]
        if not way:
            found.append(made.step(part))
            continue
        chunk, out = kept.setdefault(
            size,
            (laid_out(part.shape, layouts[0], x.dtype), laid_out((batch, channels[1], size), layouts[1], x.dtype)),
        )  # the same objects again where a size comes again
        chunk[:] = part
        made.step_into(chunk, out)
        found.append(torch.as_tensor(out).clone())
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(found, -1), model(x), rtol=0, atol=1e-10)


@LIVE
def test_classes_go_through_buffers_and_wrong_ones_leave_no_trace(backend: Any) -> None:
    torch.manual_seed(0)
    model, x = Classes().double().eval(), torch.randint(5, (1, 9))
    made = leadline.stream(model, x, layout="b t -> b t v", backend=backend)
    chunk, out, found = torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, 3, dtype=torch.float64), []
    for part in x.split(3, 1):
        chunk[:] = 5
        with pytest.raises(UsageError, match="class"):
            made.step_into(chunk, out)
        chunk[:] = -1
        with pytest.raises(UsageError, match="class"):
            made.step_into(chunk, out)
        with pytest.raises(UsageError, match="class"):
            made.step(chunk)
        chunk[:] = part
        made.step_into(chunk, out)
        found.append(out.clone())
    torch.testing.assert_close(torch.cat(found, 1), model(x), rtol=0, atol=1e-10)


BAD: list[tuple[Any, Any, str]] = [
    (torch.zeros(1, 1, 4), torch.zeros(1, 1, 4).double(), "buffers of this stream are torch.float64"),
    (torch.zeros(1, 2, 4).double(), torch.zeros(1, 1, 4).double(), "its features are"),
    (torch.zeros(1, 4).double(), torch.zeros(1, 1, 4).double(), "gives it the axes"),
    (torch.zeros(1, 1, 4).double(), torch.zeros(1, 1, 3).double(), "out has room for 3"),
    (torch.zeros(2, 1, 4).double(), torch.zeros(2, 1, 4).double(), "for 2 samples and this sequence for 1"),
    (torch.zeros(1, 1, 4).double(), torch.zeros(1, 1, 4).double().requires_grad_(), "requires a gradient"),
    (torch.zeros(1, 1, 4).double(), torch.zeros(1, 1, 1).double().expand(1, 1, 4), "several places"),
    (torch.zeros(1, 1, 4).double(), np.zeros((1, 1, 4))[..., ::-1], "laid out backwards"),
    (torch.zeros(1, 1, 4).double(), np.zeros((1, 1, 4), ">f8"), "whose numbers torch does not take"),
    (torch.zeros(1, 1, 4).double(), [0.0], "is a list"),
    (torch.zeros(1, 1, 4).double().to_sparse(), torch.zeros(1, 1, 4).double(), "plain memory"),
]


@LIVE
@pytest.mark.parametrize(("chunk", "out", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_buffers_that_do_not_fit_are_refused_and_leave_no_trace(
    backend: str, chunk: Any, out: Any, message: str
) -> None:
    model, made = of(backend, 1, 1)
    x = torch.randn(1, 1, 6, dtype=torch.float64)
    made.reset()
    first = made.step(x[..., :2])
    with pytest.raises(UsageError, match=message):
        made.step_into(chunk, out)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([first, made.step(x[..., 2:])], -1), model(x), rtol=0, atol=1e-10)


@LIVE
def test_buffers_may_be_one_and_may_not_overlap(backend: str) -> None:
    model, made = of(backend, 1, 1)
    x, whole = torch.randn(1, 1, 6, dtype=torch.float64), torch.zeros(1, 1, 9, dtype=torch.float64)
    made.reset()
    with pytest.raises(UsageError, match="share memory"):
        made.step_into(whole[..., :6], whole[..., 1:7])
    both = x.clone()
    made.step_into(both, both)
    with torch.no_grad():
        torch.testing.assert_close(both, model(x), rtol=0, atol=1e-10)


@LIVE
def test_memory_that_moved_is_looked_at_again(backend: str) -> None:
    model, made = of(backend, 1, 1)
    x = torch.randn(1, 1, 4, dtype=torch.float64)
    chunk, out = torch.zeros(1, 1, 2, dtype=torch.float64), torch.zeros(1, 1, 2, dtype=torch.float64)
    made.reset()
    made.step_into(chunk.copy_(x[..., :2]), out)
    first = out.clone()
    chunk.set_(x[..., 2:].clone())
    made.step_into(chunk, out)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([first, out], -1), model(x), rtol=0, atol=1e-10)


@LIVE
def test_a_buffer_that_was_cut_in_place_is_looked_at_again(backend: str) -> None:
    model, made = of(backend, 1, 1)
    x = torch.randn(1, 1, 4, dtype=torch.float64)
    chunk, out = torch.zeros(3, dtype=torch.float64)[None, None], torch.zeros(1, 1, 3, dtype=torch.float64)
    made.reset()
    chunk.copy_(x[..., :3])
    made.step_into(chunk, out)
    first = out.clone()
    chunk.resize_(1, 1, 1)
    chunk.copy_(x[..., 3:])
    with pytest.raises(UsageError, match="out has room for 3"):
        made.step_into(chunk, out)
    made.step_into(chunk, out.resize_(1, 1, 1))
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([first, out], -1), model(x), rtol=0, atol=1e-10)


@LIVE
def test_a_sequence_ends_where_tables_do(backend: Any) -> None:
    specimen = leadline.zoo.build("transformer", classes=4, heads=1, head_channels=4, layers=1, length=5)
    made = leadline.stream(specimen.model, *specimen.inputs, layout=specimen.layout, backend=backend)
    chunk, out = torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2, 4)
    made.reset()
    for _ in range(2):
        made.step_into(chunk, out)
    with pytest.raises(UsageError, match="holds 5 positions and 6 are asked for"):
        made.step_into(chunk, out)
    made.step(chunk[:, :1])
    with pytest.raises(UsageError, match="holds 5 positions and 6 are asked for"):
        made.step(chunk[:, :1])


@LIVE
def test_another_thread_is_not_waited_for(backend: str) -> None:
    _, made = of(backend, 1, 1)
    x, out, refused = torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64), []
    made.reset()

    def call() -> None:
        try:
            made.step_into(x, out)
        except UsageError as error:
            refused.append(str(error))

    with made._alone():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert ["another thread is at work" in text for text in refused] == [True]
    made.step_into(x, out)


@pytest.mark.skipif("c" not in BACKENDS, reason="needs a C compiler")
def test_on_the_c_path_the_same_buffers_allocate_nothing() -> None:
    """Blocks of Python's memory are as many after a thousand calls as before: what a call makes, it gives back."""
    _, made = of("c", 1, 1)
    chunk, out = np.zeros((1, 1, 16)), np.zeros((1, 1, 16))
    made.reset()
    for _ in range(3):
        made.step_into(chunk, out)
    before = sys.getallocatedblocks()
    for _ in range(1000):
        made.step_into(chunk, out)
    assert sys.getallocatedblocks() - before < 10


@LIVE
def test_weights_changed_in_place_are_found_by_the_next_step(backend: str) -> None:
    model = Echo(1, 1).double().eval()
    x = torch.zeros(1, 1, 4, dtype=torch.float64)
    made = leadline.stream(model, x, layout="b c t -> b v t", backend=backend)
    for _ in range(3):
        made.step(x)
    with torch.no_grad():
        model.head.bias.add_(1)
    with pytest.raises(UsageError, match="weights have changed"):
        made.step(x)
    model = Echo(1, 1).double().eval()
    made = leadline.stream(model, x, layout="b c t -> b v t", backend=backend)
    made.step(x)
    model.head = nn.Linear(4, 1).double()
    with pytest.raises(UsageError, match="weights have changed"):
        _ = [made.step(x) for _ in range(64)]
