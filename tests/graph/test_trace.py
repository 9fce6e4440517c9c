"""Traces replay, name everything, and leave the model, its flags and the random state alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import cosine_similarity

import leadline
from leadline.errors import LeadlineError, TraceError
from leadline.graph import Kind, run, trace
from leadline.graph.table import OPERATIONS, kind_of
from leadline.graph.user_code import shortened, users_line


@dataclass
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    name: str = "output"


class Everything(nn.Module):
    """In-place work, a region without gradients, weight norm, a buffer that changes, literals, nested containers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 3, padding=1))
        self.norm = nn.BatchNorm1d(4)
        self.lstm = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: Tensor, extra: dict[str, Tensor], *, flag: bool = False, scale: float = 1.0) -> Output:
        y = self.norm(self.conv(x))
        y.add_(extra["bias"])
        y[:, 0] = 0
        with torch.no_grad():
            rounded = y.round()
        z, _ = self.lstm((y * scale).mT)
        return Output(z if flag else -z, (rounded, y))


def everything() -> tuple[nn.Module, Tensor, dict[str, Tensor]]:
    return Everything(), torch.randn(2, 3, 5), {"bias": torch.randn(4, 1)}


@pytest.mark.parametrize("training", [True, False])
def test_a_trace_computes_what_forward_computes(training: bool) -> None:
    model, x, extra = everything()
    model.train(training)
    graph = trace(model, x, extra, flag=True, scale=0.5)
    assert graph.verified
    assert graph.training is training
    assert list(graph.inputs) == ["x", "extra.bias"]
    assert list(graph.outputs) == ["logits", "hidden[0]", "hidden[1]"]
    assert (graph.mutated == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}) is training
    found = run(graph, [x, extra["bias"]])
    expected = model(x, extra, flag=True, scale=0.5)
    torch.testing.assert_close(found["logits"], expected.logits)
    torch.testing.assert_close(found["hidden[0]"], expected.hidden[0])


def test_recurrences_stay_whole_and_places_point_at_the_source() -> None:
    model, x, extra = everything()
    graph = trace(model.eval(), x, extra)
    (lstm,) = (node for node in graph.nodes if node.kind is Kind.SCAN)
    assert (lstm.op, lstm.place.module) == ("aten.lstm.input", "lstm")
    assert lstm.place.source is not None
    assert lstm.place.source.rpartition(":")[0] == shortened(__file__)
    (rounding,) = (node for node in graph.nodes if node.op == "aten.round.default")
    assert rounding.place.source is not None
    assert rounding.place.source.startswith(shortened(__file__))
    assert all(node.args == () or all(ref.node < node.index for ref in node.refs) for node in graph.nodes)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(training: bool) -> None:
    model, x, extra = everything()
    model.train(training)
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    flags = (
        torch.backends.mha.get_fastpath_enabled(),
        torch.is_grad_enabled(),
        logging.getLogger("torch.fx.experimental.symbolic_shapes").level,
    )
    random = torch.get_rng_state()
    trace(model, x, extra)
    assert torch.equal(torch.get_rng_state(), random)
    assert flags == (
        torch.backends.mha.get_fastpath_enabled(),
        torch.is_grad_enabled(),
        logging.getLogger("torch.fx.experimental.symbolic_shapes").level,
    )
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_dropout_and_torch_s_own_encoder(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    graph = trace(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training), torch.randn(2, 4, 8))
    assert graph.verified
    assert any(node.kind is Kind.ATTENTION for node in graph.nodes)


def test_meta_and_fake_models_need_no_memory() -> None:
    with torch.device("meta"):
        huge = nn.Linear(1 << 20, 1 << 20)
    graph = trace(huge, torch.empty(1, 1 << 20, device="meta"))
    assert (graph.verified, len(graph.values)) == (False, 0)
    with FakeTensorMode():
        fake, x = nn.Linear(1 << 20, 1 << 20), torch.zeros(1, 1 << 20)
        graph = trace(fake, x)
    assert graph.nodes[-1].shape == (1, 1 << 20)


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Counter(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Silent(nn.Module):
    def forward(self, _: Tensor) -> None:
        return None


def test_a_branch_on_values_is_refused_with_its_module_and_line() -> None:
    model = nn.Sequential(nn.ReLU(), Branch())
    with pytest.raises(TraceError, match=r"branches on the values of its tensors, .*at 1 \(.*test_trace\.py:\d+\): "):
        trace(model, torch.ones(3))


class Asking(nn.Module):
    def __init__(self, ask: Callable[[], bool]) -> None:
        super().__init__()
        self.ask = ask

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(0) if self.ask() else x.cumsum(0)


@pytest.mark.parametrize("ask", [torch.compiler.is_exporting, torch.compiler.is_compiling])
def test_a_model_that_does_something_else_where_it_is_traced_is_told_so(ask: Callable[[], bool]) -> None:
    with pytest.raises(TraceError, match=r"does not replay.* asks torch\.compiler\.is_exporting"):
        trace(Asking(ask), torch.ones(3))
    assert not ask()


def test_an_operation_that_torch_compiles_is_named_as_it_was_written() -> None:
    class Flexible(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return flex_attention(x, x, x, score_mod=lambda score, *places: score + places[-1])

    # torch 2.9 exports it, and then there is no rule
    with pytest.raises(LeadlineError, match=r"flex_attention at the model itself .*test_trace\.py:\d+\)(,| is an op)"):
        trace(Flexible(), torch.ones(1, 1, 128, 16))


def test_a_trace_that_does_not_replay_is_refused() -> None:
    with pytest.raises(TraceError, match="does not replay"):
        trace(Counter(), torch.ones(3))


class Mixed(nn.Module):
    """Goes through a trace, which converts, but not through real tensors of two types."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.zeros(2, 3)) + x


def test_what_forward_refuses_on_real_tensors_is_said() -> None:
    with pytest.raises(TraceError, match=r"Mixed cannot be traced: RuntimeError: .*dtype"):
        trace(Mixed().double(), torch.ones(2, 3).double())


def test_what_forward_does_not_take_or_give_is_said() -> None:
    with pytest.raises(TraceError, match="does not take these inputs"):
        trace(nn.Linear(2, 2), torch.ones(2), torch.ones(2))
    with pytest.raises(TraceError, match="returns no tensor"):
        trace(Silent(), torch.ones(2))
    with pytest.raises(TraceError, match="cannot be traced"):
        trace(nn.Linear(2, 2), torch.ones(3))


def test_the_table_knows_real_operations() -> None:
    for name in OPERATIONS:
        space, packet, *_ = name.split(".")
        if space == "aten":
            assert hasattr(torch.ops.aten, packet), name
    assert kind_of("aten.nonzero.default") is Kind.OPAQUE


def test_an_unknown_operation_is_decomposed_where_torch_knows_how() -> None:
    class Cosine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return cosine_similarity(x, x.roll(1, 0))

    graph = trace(Cosine(), torch.randn(3, 4))
    assert all(node.kind is not Kind.OPAQUE for node in graph.nodes)


def test_what_forward_raises_is_told_with_the_user_s_line_and_without_torch_s_frames():
    embed = nn.Embedding(3, 2)

    class Model(nn.Module):
        def forward(self, x):
            return embed(x)

    with pytest.raises(TraceError, match=r"indices.*test_trace\.py:\d+\)\)$") as raised:
        trace(Model(), torch.zeros(1, 2, dtype=torch.uint8))
    assert raised.value.__suppress_context__


def test_a_line_of_the_user_is_told_from_torch_s_by_where_torch_lies() -> None:
    users, torchs = ("/home/me/torch/model.py", 3), (str(torch.nn.modules.linear.__file__), 5)
    assert users_line([users, torchs]) == "/home/me/torch/model.py:3"
    assert users_line([torchs]) == "torch/nn/modules/linear.py:5"


class TypedLike(nn.Module):
    """Takes the type of a buffer, or of a part of its input, whatever their shapes."""

    def __init__(self, like: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("like", like)

    def forward(self, x: Tensor) -> Tensor:
        like = x[:, -1] if self.like is None else self.like
        return x.cumsum(1).type_as(like) + torch.arange(x.shape[1]).type_as(like)[:, None]


@given(shape=st.lists(st.integers(1, 3), max_size=4), dtype=st.sampled_from((torch.float64, torch.bfloat16, torch.int)))
@settings(max_examples=6, deadline=None)
def test_a_tensor_that_is_read_for_its_type_may_have_any_shape(shape, dtype):
    for like in (torch.ones(shape, dtype=dtype), None):
        model, x = TypedLike(like), torch.randn(2, 5, 4)
        reading = leadline.read(model, x, layout="b t c -> b t v")
        assert (reading.causality().verdict, reading.causality().lag) == ("structural", 0)
        assert reading.context(1).map.tolist() == [True, True, False, False, False]
        torch.testing.assert_close(run(reading.graph, (x,))[reading.output], model(x), rtol=0, atol=0)
