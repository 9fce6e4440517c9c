"""Masks that are generated: causal by construction is causal by verdict, and what a perturbation shows is a leak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from helpers.examples import examples
from helpers.perturbation import dependence
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import leadline

T, C = 5, 4
LEAST = torch.finfo(torch.float64).min
LATER = torch.ones(T, T, dtype=torch.bool).triu(1)
LAYOUT = "b t c, _ -> b t v"

Masks = tuple[Tensor, Tensor, Tensor]
"""What is seen by a known mask, what an input says (``[b, 1, t]``), and what the scores say."""
Join = Callable[[Tensor, Tensor], Tensor]


def in_place(a: Tensor, b: Tensor) -> Tensor:
    return a.expand(torch.broadcast_shapes(a.shape, b.shape)).clone().logical_and_(b)


# of two masks of truth values, one of which is known where it is false
JOINS: dict[str, Join] = {
    "&": lambda a, b: a & b,
    "the other first": lambda a, b: b & a,
    "bitwise_and": torch.bitwise_and,
    "logical_and": torch.logical_and,
    "in place": in_place,
    "product": lambda a, b: (a * b).bool(),
    "product of numbers": lambda a, b: (a.double() * b.double()) > 0,
    "de Morgan": lambda a, b: ~(~a | ~b),
    "integers": lambda a, b: (a.int() & b.int()).bool(),
    "exclusive": lambda a, b: a ^ (a & ~b),
    "minimum": lambda a, b: torch.minimum(a.int(), b.int()).bool(),
    "where": lambda a, b: torch.where(b, a, False),
    "masked_fill": lambda a, b: a.expand(torch.broadcast_shapes(a.shape, b.shape)).masked_fill(~b, False),
    "counted": lambda a, b: (a.int() + b.int()) == 2,
    "counted, above": lambda a, b: (a.long() + b.long()) > 1,
    "compared": lambda a, b: a & ((b == b.mT) | b),
    "less": lambda a, b: ~(a < torch.ones_like(b)) & b,
    "all": lambda a, b: torch.stack(torch.broadcast_tensors(a, b)).all(0),
}
# of scores under a mask
FILLS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "masked_fill": lambda a, seen, low: a.masked_fill(~seen, low),
    "in place": lambda a, seen, low: a.clone().masked_fill_(~seen, low),
    "where": lambda a, seen, low: torch.where(seen, a, low),
    "added": lambda a, seen, low: a + torch.zeros_like(a).masked_fill(~seen, low),
    "added, where": lambda a, seen, low: a + torch.where(seen, a.new_zeros(()), a.new_full((), low)),
    "twice": lambda a, seen, low: a.masked_fill(~seen, low).masked_fill(~seen, low),
    "minimum": lambda a, seen, low: torch.minimum(a, torch.full_like(a, torch.inf).masked_fill(~seen, low)),
    "scaled": lambda a, seen, low: (a.masked_fill(~seen, low) * 0.5) / 0.5,
    "maximum": lambda a, seen, low: torch.maximum(a.masked_fill(~seen, low), torch.tensor(low, dtype=a.dtype)),
}
ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda a: a.softmax(-1),
    "safe": lambda a: torch.ops.aten._safe_softmax(a, -1),
    "by hand": lambda a: (e := (a - a.amax(-1, keepdim=True)).exp()) / e.sum(-1, keepdim=True),
    "exponentials": lambda a: (e := a.exp()) / (e.sum(-1, keepdim=True) + 1e-9),
    "logarithm": lambda a: a.log_softmax(-1).exp(),
    "logsumexp": lambda a: (a - a.logsumexp(-1, keepdim=True)).exp(),
}
# of weights, some of which are nan
REPAIRS: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda w: w,
    "nan_to_num": torch.nan_to_num,
    "masked_fill": lambda w: w.masked_fill(w.isnan(), 0.0),
    "where": lambda w: torch.where(w == w, w, torch.zeros_like(w)),
    "top-k": lambda w: w.masked_fill(w < w.topk(2, -1).values[..., -1:], 0.0),
    "scattered": lambda w: w * torch.zeros_like(w).scatter(-1, w.topk(2, -1).indices, 1.0),
    "dropout": lambda w: F.dropout(w, 0.5, training=False),
}
# what lets later inputs in again; the second only where a row is masked whole
UNDOING: dict[str, Callable[[Tensor], Tensor]] = {
    "added": lambda w: w + 0.1,
    "the mean instead": lambda w: torch.where(w.isnan(), 1 / T, w),
    "nan_to_num": lambda w: torch.nan_to_num(w, nan=1 / T),
    "the rest": lambda w: 1 - w,
    "cosine": torch.cos,
}


@dataclass(frozen=True)
class Step:
    """A mask from what is known, what an input says, or what the scores say, and how it is laid over the scores."""

    join: str
    parts: tuple[str, ...]
    fill: str
    low: float

    def seen(self, known: Tensor, told: Tensor, scores: Tensor) -> Tensor:
        """Return the mask; the first key is always seen but by what is known."""
        data = (scores > 0) | (torch.arange(T) == 0)
        first, *rest = ({"known": known, "told": told, "data": data}[part] for part in self.parts)
        return JOINS[self.join](first, *rest) if rest else first


@dataclass(frozen=True)
class Recipe:
    """How masks are laid over scores, and what becomes of the weights."""

    steps: tuple[Step, ...]
    end: str
    repair: str
    undo: str | None
    heads: str
    strict: bool
    fused: bool

    @property
    def causal(self) -> bool:
        """Whether no later input can be seen, by construction."""
        return self.undo is None and any("known" in step.parts for step in self.steps)

    @property
    def structural(self) -> bool:
        """Whether nothing rests on finite numbers."""
        return self.causal and self.hidden

    @property
    def hidden(self) -> bool:
        """Whether rows may be masked whole: no number is finite."""
        return all(step.low == -torch.inf for step in self.steps)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    parts = st.sampled_from([("known",), ("told",), ("data",), ("known", "told"), ("known", "data")])
    steps = draw(
        st.lists(
            st.builds(
                Step,
                st.sampled_from(sorted(JOINS)),
                parts,
                st.sampled_from(sorted(FILLS)),
                st.sampled_from([-torch.inf, -torch.inf, LEAST, -1e9, -1e4]),
            ),
            min_size=1,
            max_size=3,
        )
    )
    finite = any(step.low > -torch.inf for step in steps)
    undo = draw(st.none() | st.none() | st.sampled_from(sorted(UNDOING)))
    return Recipe(
        tuple(steps),
        draw(st.sampled_from(sorted(ENDS))),
        draw(st.sampled_from(sorted(REPAIRS))),
        undo,
        draw(st.sampled_from(["apart", "linear", "convolution"])),
        draw(st.booleans()) and not finite,  # a first row of finite numbers alone sees all of them
        draw(st.booleans()) and undo is None,
    )


class Masked(nn.Module):
    """Attention of two heads under the masks of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe, self.qkv = recipe, nn.Linear(C, 3 * C)
        self.mixed, self.convolved = nn.Linear(2, 2, bias=False), nn.Conv2d(2, 2, 1, bias=False)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        recipe, known = self.recipe, ~LATER
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        known = known & ~torch.eye(T, dtype=torch.bool) if recipe.strict else known
        scores = q @ k.mT
        a = torch.zeros_like(scores) if recipe.fused else scores
        for step in recipe.steps:
            a = FILLS[step.fill](a, step.seen(known, told[:, None, None, :].bool(), scores), step.low)
        if recipe.fused:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=a).transpose(1, 2).flatten(2).nan_to_num()
        w = REPAIRS[recipe.repair](ENDS[recipe.end](a))
        w = w if recipe.undo is None else UNDOING[recipe.undo](w)
        if recipe.heads == "linear":
            w = self.mixed(w.movedim(1, -1)).movedim(-1, 1)
        elif recipe.heads == "convolution":
            w = self.convolved(w)
        return (w @ v).transpose(1, 2).flatten(2).nan_to_num()


FEW = settings(
    max_examples=examples(8, 60),
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # recipes are short, and every model is traced
)


KNOWN_AND_TOLD = Step("product", ("known", "told"), "maximum", -torch.inf)


@FEW
@given(recipes(), st.integers(0, 99))
@example(Recipe((KNOWN_AND_TOLD,), "logarithm", "where", None, "linear", strict=True, fused=False), 58)
@example(Recipe((KNOWN_AND_TOLD,), "logsumexp", "nothing", "nan_to_num", "linear", strict=False, fused=False), 55)
def test_masks_are_read_for_what_they_are(recipe: Recipe, seed: int) -> None:
    judge(recipe, seed)


def judge(recipe: Recipe, seed: int) -> None:
    """Hold the verdict and the context against the design, and against perturbation."""
    torch.manual_seed(seed)
    model, x = Masked(recipe).double().eval(), torch.randn(2, T, C, dtype=torch.float64)
    told = torch.rand(2, T) > 0.4
    told[:, 0] |= not recipe.hidden
    inputs = x, told.long()
    reading = leadline.read(model, *inputs, layout=LAYOUT)
    found = reading.causality()
    measured = dependence(model, inputs, "b t c -> b t v", draws=2)
    leaks = bool(torch.from_numpy(measured).triu(1).any())
    assert not (leaks and found.causal), found
    if recipe.causal:
        assert not leaks, "the design is wrong"
        assert found.verdict.value == "structural" if recipe.structural else found.causal, found
    for t in range(T):
        assert not bool((torch.from_numpy(measured[t]) & ~reading.context(t).map).any())


class Fixed(nn.Module):
    """A function of the input and of modules that are its attributes."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **dict(self.named_children()))


def judged(function: Callable[..., Tensor], **parts: nn.Module) -> tuple[str, int | None]:
    found = leadline.causality(Fixed(function, **parts), torch.randn(2, T, C), layout="b t c -> b t v")
    return found.verdict.value, found.lag


def sure(x: Tensor) -> Tensor:
    """A truth value for each sample that rests on all of it."""
    return (x.sum((1, 2)) > 0)[:, None, None]


def test_whether_a_lone_key_is_there_may_be_for_the_mask_to_say() -> None:
    """The first query sees one key at most, of weight one whatever its score; a mask from later inputs hides it."""
    seen = judged(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=~LATER & sure(x)))
    assert seen == ("leak", 1 - T)
    assert judged(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=~LATER)) == ("structural", 0)


def test_a_mask_that_is_not_known_does_not_hide_for_certain() -> None:
    assert judged(lambda x: (x @ x.mT).masked_fill(LATER & sure(x), -torch.inf).softmax(-1) @ x)[0] == "leak"
    assert judged(lambda x: (x @ x.mT).masked_fill(LATER | sure(x), -torch.inf).softmax(-1) @ x)[0] == "leak"
    # whether a row is masked whole is told by later inputs, what stands in it is not; the rest of it is hidden
    assert (
        judged(lambda x: ((x @ x.mT).masked_fill(LATER | sure(x), -torch.inf)).softmax(-1).nan_to_num() @ x)[1] == 1 - T
    )


def test_a_bonus_for_some_is_no_mask_for_others() -> None:
    """A constant that may be added to some logits says nothing of those without it."""
    assert judged(lambda x: (x @ x.mT + 1e9 * (x[:, :1, :1] > 0)).softmax(-1) @ x)[0] == "leak"
    bonus = torch.zeros(T, T).fill_diagonal_(1.0).bool()
    assert judged(lambda x: (x @ x.mT).masked_fill(bonus & (x[..., :1] > 0), 1e9).softmax(-1) @ x)[0] == "leak"


def test_a_row_masked_whole_by_finite_numbers_sees_all() -> None:
    known = torch.zeros(T, T).masked_fill(LATER | torch.eye(T, dtype=torch.bool), -1e9)
    assert judged(lambda x: (x @ x.mT + known).softmax(-1) @ x)[0] == "leak"


def test_a_softmax_along_any_axis_counted_from_either_end() -> None:
    later = torch.zeros(T, T).masked_fill(LATER, -1e4)

    def verdict(dim: int) -> str:
        def attention(x: Tensor) -> Tensor:
            heads = x.unflatten(-1, (2, -1)).transpose(1, 2)
            return ((heads @ heads.mT + later).softmax(dim) @ heads).transpose(1, 2).flatten(2)

        return judged(attention)[0]

    assert [verdict(dim) for dim in range(1, 4)] == ["leak", "leak", "finite-mask"]
    assert [verdict(dim) for dim in range(-3, 0)] == ["leak", "leak", "finite-mask"]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "call",
    [
        lambda x, encoder, **_: encoder(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1])),
        lambda x, encoder, **_: encoder(x, mask=LATER),
        lambda x, decoder, **_: decoder(x, torch.ones(2, 3, C), tgt_mask=LATER),
    ],
    ids=["made in forward", "truth values", "decoder"],
)
def test_torch_s_transformers_take_their_masks(call: Callable[..., Tensor], mode: str) -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(C, 2, 8, 0.0, batch_first=True), 2)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(C, 2, 8, 0.0, batch_first=True), 2)
    model = Fixed(call, encoder=encoder, decoder=decoder).train(mode == "train")
    found = leadline.causality(model, torch.randn(2, T, C), layout="b t c -> b t v")
    assert (found.verdict.value, found.lag) == ("structural", 0)


def test_a_mask_that_is_an_input_is_not_known_to_torch_s_transformers() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(C, 2, 8, 0.0, batch_first=True), 1)
    mask = nn.Transformer.generate_square_subsequent_mask(T)
    found = leadline.causality(model, torch.randn(2, T, C), mask, layout="b t c, _ -> b t v")
    assert found.verdict.value == "leak"


def test_one_tensor_under_several_names() -> None:
    x = torch.randn(2, T, C)
    attention = nn.MultiheadAttention(C, 2, batch_first=True)
    once, thrice = (leadline.count(attention, x, *rest) for rest in ((x.clone(), x.clone()), (x, x)))
    assert once.macs == thrice.macs == 2 * (4 * T * C * C + 2 * T * T * C)


@pytest.mark.parametrize("how", ["fused", "masked_fill", "where", "added", "tril"])
def test_masked_pairs_are_no_connections(how: str) -> None:
    """Two products of pairs up to the diagonal, however the mask is laid."""

    def attention(x: Tensor) -> Tensor:
        if how == "fused":
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)
        a = x @ x.mT
        if how == "tril":
            return a.tril() @ x
        return FILLS[how](a, ~LATER, -torch.inf).softmax(-1) @ x

    found = leadline.count(Fixed(attention), torch.randn(1, T, C))
    assert found.connections == 2 * C * T * (T + 1) // 2


def test_context_says_in_which_sense() -> None:
    masks = {low: torch.zeros(T, T).masked_fill(LATER, low) for low in (-torch.inf, -1e9)}
    for low, sense in ((-torch.inf, "structural"), (-1e9, "finite-mask")):
        model = Fixed(lambda x, low=low: (x @ x.mT + masks[low]).softmax(-1) @ x)
        reading = leadline.read(model, torch.randn(1, T, C), layout="b t c -> b t v")
        found = reading.context(2)
        assert found.map.tolist() == [True, True, True, False, False]
        assert found.sense == sense == reading.causality().verdict


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("both", [False, True])
def test_context_says_where_it_is_cut(layers: int, both: bool) -> None:
    """At the length that is named the map is whole, at any less it is not."""
    stack = nn.Sequential(*(nn.Conv1d(1, 1, 3, padding=1) for _ in range(layers)))
    reach = layers if both else 2 * layers

    def seen(length: int) -> leadline.Context:
        model = Fixed(lambda x, stack: stack(x if both else F.pad(x, (layers, 0))[..., :length]), stack=stack)
        return leadline.context(model, torch.zeros(1, 1, length), layout="b c t -> b v t")

    whole = 2 * reach + both
    assert not seen(whole).shown
    assert seen(whole).size == 2 * layers + 1
    for length in range(reach + 2, whole):
        found = seen(length)
        assert found.shown == {"t": whole}
        assert found.size < 2 * layers + 1
        assert f"at least {found.size} positions" in str(found)
        assert f"a length of {whole} shows" in str(found)


PUT_BACK: dict[str, Callable[[Tensor], Tensor]] = {
    "values": lambda a: torch.full_like(a, -torch.inf).scatter(-1, (t := a.topk(2, -1)).indices, t.values),
    "sorted": lambda a: torch.full_like(a, -torch.inf).scatter(-1, (t := a.sort(-1)).indices, t.values),
    "gathered": lambda a: torch.full_like(a, -torch.inf).scatter(-1, (i := a.topk(2, -1).indices), a.gather(-1, i)),
    "in place": lambda a: torch.full_like(a, -torch.inf).scatter_(-1, (t := a.topk(1, -1)).indices, t.values),
}


@pytest.mark.parametrize("how", sorted(PUT_BACK))
def test_scores_that_are_put_back_stay_masked(how: str) -> None:
    """The largest of each row, put into another tensor at their places; elsewhere they would tell of later ones."""

    def attention(x: Tensor, turn: Callable[[Tensor], Tensor] = lambda a: a) -> Tensor:
        return turn(PUT_BACK[how]((x @ x.mT).masked_fill(LATER, -torch.inf))).softmax(-1) @ x

    assert judged(attention) == ("structural", 0)
    assert judged(lambda x: attention(x, lambda a: a.flip(-1)))[0] == "leak"
