"""A cached run is compared with the whole one: right ones agree, and wrong ones are named where they go wrong."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.audit.named_model import find_model
from leadline.errors import ModelError, NotCausal, UsageError
from leadline.sampling.parting import first_parting
from leadline.testing import assert_generate_matches


class Attention(nn.Module):
    """One head that goes on from the keys and values it has kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.kept: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.read(x).chunk(3, dim=-1)
        if self.kept is not None:
            k, v = (torch.cat([old, new], dim=1) for old, new in zip(self.kept, (k, v), strict=True))
            self.kept = [k, v]
        late = torch.ones(k.shape[1], k.shape[1], dtype=torch.bool).triu(1)[-q.shape[1] :]
        scores = (q @ k.mT / x.shape[-1] ** 0.5).masked_fill(late, -torch.inf)
        return self.out(scores.softmax(-1) @ v)


class Small(nn.Module):
    """A language model with a `decode` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 11)
        self.blocks = nn.ModuleList(Attention(8) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)

    def decode(self, tokens: Tensor, new: int, forget: int | None = None) -> Tensor:
        """Add the likeliest tokens; block `forget` loses its cache at the third."""
        for block in self.blocks:
            block.kept = [torch.zeros(len(tokens), 0, 8)] * 2
        fed = tokens
        for i in range(new):
            if i == 3 and forget is not None:
                self.blocks[forget].kept = [part[:, 1:] for part in self.blocks[forget].kept]
            fed = self(fed)[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, fed], dim=1)
        for block in self.blocks:
            block.kept = None
        return tokens


@pytest.fixture(scope="module")
def small() -> Small:
    torch.manual_seed(3)
    return Small()


TOKENS = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(0))


def test_a_right_cache_agrees(small: Small) -> None:
    found = assert_generate_matches(small, TOKENS, generate=small.decode, layout="b t -> b t v")
    assert (found.positions, found.parting) == (12, None)
    assert found.difference is not None
    assert found.difference < 1e-5


@pytest.mark.parametrize("forget", [0, 1])
def test_a_forgetful_cache_is_named_by_module_and_position(small: Small, forget: int) -> None:
    def generate(tokens: Tensor, new: int) -> Tensor:
        return small.decode(tokens, new, forget)

    with pytest.raises(AssertionError, match=rf"at position 7, first in blocks\.{forget}\.out"):
        assert_generate_matches(small, TOKENS, generate=generate, layout="b t -> b t v")


def test_generating_without_a_cache_agrees_too(small: Small) -> None:
    def generate(tokens: Tensor, new: int) -> Tensor:
        for _ in range(new):
            tokens = torch.cat([tokens, small(tokens)[:, -1:].argmax(-1)], dim=1)
        return tokens[:, -new:]  # the new ones alone

    assert assert_generate_matches(small, TOKENS, generate=generate, new=3, layout="b t -> b t v").parting is None


def test_a_generate_that_calls_nothing_is_judged_by_its_tokens(small: Small) -> None:
    right = small.decode(TOKENS, 4)
    found = assert_generate_matches(small, TOKENS, generate=lambda *_: right, new=4, layout="b t -> b t v")
    assert found.difference is None
    wrong = right.clone()
    wrong[:, 7] = (right[:, 7] + 1) % 11
    with pytest.raises(AssertionError, match="at position 6, by"):
        assert_generate_matches(small, TOKENS, generate=lambda *_: wrong, new=4, layout="b t -> b t v")


@given(forgotten=st.integers(0, 5))
def test_a_step_is_named_at_the_position_at_which_its_state_is_lost(forgotten: int) -> None:
    torch.manual_seed(0)
    rnn, x = nn.LSTM(2, 3, batch_first=True), torch.randn(2, 7, 2)
    fed: list[int] = []

    def step(chunk: Tensor, state: Any) -> tuple[Tensor, Any]:
        fed.append(1)
        return rnn(chunk, None if len(fed) == forgotten + 1 else state)

    axes: dict[str, Any] = {"layout": {"input": "b t c", "[0]": "b t v"}, "output": "[0]"}
    if forgotten == 0:  # there is no state yet
        assert assert_generate_matches(rnn, x, step=step, **axes).against == "the derived stream"
        return
    with pytest.raises(AssertionError, match=f"at position {forgotten}, first in"):
        assert_generate_matches(rnn, x, step=step, **axes)


def test_the_cache_of_transformers_agrees_and_a_broken_one_is_named() -> None:
    found = find_model("hf-tiny:gpt2")
    tokens = found.keywords["input_ids"]
    before = {key: value.clone() for key, value in found.model.state_dict().items()}
    cache, model = found.model.config.use_cache, found.model
    assert assert_generate_matches(model, tokens, new=4).against == "the derived stream"
    assert model.config.use_cache == cache
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    attention = model.get_submodule("transformer.h.1.attn")
    usual = attention.forward

    def broken(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        out, *rest = usual(hidden, *args, **kwargs)
        return (out * 1.5 if hidden.shape[1] == 1 else out, *rest)

    attention.forward = broken
    with pytest.raises(AssertionError, match=r"at position 12, first in transformer\.h\.1\.attn, by"):
        assert_generate_matches(model, tokens, new=4)


def test_what_cannot_be_compared_is_refused(small: Small) -> None:
    with pytest.raises(UsageError, match="has no generate"):
        assert_generate_matches(small, TOKENS)
    with pytest.raises(UsageError, match="not both"):
        assert_generate_matches(small, TOKENS, generate=small.decode, step=lambda chunk, _: (small(chunk), None))
    with pytest.raises(UsageError, match="give the tensor"):
        assert_generate_matches(small, generate=small.decode)
    with pytest.raises(UsageError, match="asked for 8 more tokens"):
        assert_generate_matches(small, TOKENS, generate=lambda tokens, _: tokens)
    with pytest.raises(UsageError, match="tokens \\(b, t\\)"):
        assert_generate_matches(nn.Linear(2, 2), torch.zeros(1, 2), generate=lambda tokens, _: tokens)
    with pytest.raises(ModelError, match="generate raised ZeroDivisionError"):
        assert_generate_matches(small, TOKENS, generate=lambda *_: 1 / 0)
    ahead = nn.Conv1d(1, 1, 3, padding=1)
    with pytest.raises(NotCausal):
        assert_generate_matches(
            ahead, torch.randn(1, 1, 6), step=lambda chunk, _: (ahead(chunk), None), layout="b c t -> b v t"
        )


@given(cuts=st.sets(st.integers(1, 8), max_size=4), spoilt=st.integers(0, 8))
def test_any_way_to_cut_a_sequence_shows_the_first_spoilt_position(cuts: set[int], spoilt: int) -> None:
    whole = {"a": torch.arange(18.0).reshape(1, 9, 2), "": torch.ones(1, 9, 3)}
    edges = [0, *sorted(cuts), 9]
    noted = []
    for start, end in itertools.pairwise(edges):
        for path, full in whole.items():
            part = full[:, start:end].clone()
            if path and start <= spoilt:
                part[:, max(0, spoilt - start) :] += 5
            noted.append((path, part[:, -1:] if not path else part))
    longer = any(end - start > start for start, end in itertools.pairwise(edges[1:]))
    if not longer:  # a longer call than all before it would begin anew
        found = first_parting(noted, whole, 9, 1e-3)[1]
        assert found is not None
        assert (found.position, found.module) == (spoilt, "a")
