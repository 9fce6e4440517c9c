"""Attention in all the forms that people write: streams beside the forward pass, past the traced length, in chunks."""

# all forms have one signature
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.forms_of_attention import COMPILED, FORMS, LAYOUT, WIDTH, Form, Net, distance, products
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from leadline.errors import NotUniform
from leadline.sampling import stream


def net(form: Form, heads: int) -> Net:
    torch.manual_seed(heads)
    return Net(form, heads).double().eval()


def signals(batch: int, length: int) -> Tensor:
    return torch.randn(batch, length, WIDTH, dtype=torch.float64)


def assert_streams(name: str, backend: Any, heads: int, batch: int, traced: int, longer: int, chunk: int) -> None:
    model, x = net(FORMS[name], heads), signals(batch, longer)
    made = stream(model, signals(2, traced), layout=LAYOUT, backend=backend)
    with torch.no_grad():
        wanted = model(x)
        assert torch.allclose(made.logits(x), wanted, rtol=0, atol=1e-10)
        assert torch.allclose(made.logits(x[:, :traced]), model(x[:, :traced]), rtol=0, atol=1e-10)
    made.reset(batch, length=longer)
    parts = [made.step(part) for part in x.split(chunk, 1)]
    assert torch.allclose(torch.cat(parts, 1), wanted, rtol=0, atol=1e-10)


QUICK = {"torch": ("alibi_by_keys", "memories", "documents", "largest"), "numba": ("forgetting", "sinks", "averaged")}


def quick_first(names: Iterable[str], backend: str) -> list[Any]:
    """The others are for `make test-all`."""
    return [pytest.param(name, marks=() if name in QUICK[backend] else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", quick_first(FORMS, "torch"))
def test_a_form_of_attention_streams(name: str) -> None:
    assert_streams(name, "torch", heads=2, batch=3, traced=5, longer=8, chunk=3)


@pytest.mark.parametrize("name", quick_first(COMPILED, "numba"))
def test_a_form_of_attention_streams_compiled(name: str) -> None:
    assert_streams(name, "numba", heads=2, batch=3, traced=5, longer=8, chunk=3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "numba"])
@given(
    st.sampled_from(sorted(COMPILED)),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(4, 9),
    st.integers(0, 12),
    st.integers(1, 6),
)
@settings(max_examples=60)
def test_forms_stream_at_all_sizes(
    backend: str, name: str, heads: int, batch: int, traced: int, more: int, chunk: int
) -> None:
    assert_streams(name, backend, 2 * heads if name == "repeated" else heads, batch, traced, traced + more, chunk)


def future(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return products(q, k).tanh().softmax(-1) @ v


def seen_then_hidden(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.tril(products(q, k).softmax(-1)) @ v


def hidden_wholly(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return products(q, k).masked_fill(distance(x) < 1, torch.finfo(x.dtype).min).softmax(-1) @ v


def averaged_over_all(m: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    z = torch.tril(products(q, k))
    return (z - z.mean(-1, keepdim=True)).tril() @ v


REFUSED: dict[str, tuple[Form, str]] = {
    "the future": (future, "attention without a mask reads the whole future"),
    "a softmax over the future": (seen_then_hidden, "attention without a mask reads the whole future"),
    "nothing is seen": (hidden_wholly, "hides every position from some"),
    "a mean over all": (averaged_over_all, "counts those to come"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_ahead_is_refused_by_name(name: str) -> None:
    form, message = REFUSED[name]
    with pytest.raises(NotUniform, match=rf"(?s)^aten\.\S+ at .*\(\S+:\d+\): .*{message}"):
        stream(net(form, 2), signals(2, 6), layout=LAYOUT, backend="torch")


def test_no_c_is_written_for_scores_of_other_forms(tmp_path: Path) -> None:
    made = stream(net(FORMS["alibi"], 2), signals(2, 6), layout=LAYOUT, backend="torch")
    with pytest.raises(NotUniform, match="no C is written for attention whose scores go through more"):
        made.export(tmp_path / "alibi.c")
