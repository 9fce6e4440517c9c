"""The monitor hears the gradients that a training computes, changes none, and leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import weakref
from typing import Any

import pytest
import torch
from helpers.watched import EXACT, KINDS, VECTORS, Block, Recurrent, layers, loss_of, made, steps
from torch import Tensor, nn

import leadline
from leadline.errors import LeadlineError, UsageError
from leadline.training import Moment


def hooks(model: nn.Module) -> list[Any]:
    held = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_forward_hooks_with_kwargs",
    )
    return [hook for module in model.modules() for name in held for hook in getattr(module, name)]


@pytest.mark.parametrize("name", EXACT)
def test_the_stages_and_norms_are_those_of_gradient(name: str) -> None:
    """Two ways to one number: the training's own backward pass heard, and a tape that is cut open at boundaries."""
    model, x = made(name)
    found = leadline.gradient(model, x, loss=loss_of)
    with leadline.monitor(model) as watch:
        steps(model, x, 1)
    (record,) = watch.records
    expected = [stage.gradient.value for stage in found.stages]
    assert record.stages[: len(expected)] == tuple(stage.name for stage in found.stages)
    assert record.norms[: len(expected)] == pytest.approx(expected, rel=1e-4)
    assert record.norms[-1] is not None
    if len(expected) > 1:
        assert record.rate is not None
        assert record.rate.value == pytest.approx(found.rate.value, abs=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_a_training_that_is_watched_is_the_same_training(name: str) -> None:
    """Bit for bit, every step being heard."""
    weights = []
    for watched in (False, True):
        model, x = made(name)
        if watched:
            with leadline.monitor(model, every=1) as watch:
                steps(model, x)
            assert [record.step for record in watch.records] == [0, 1, 2, 3]
        else:
            steps(model, x)
        weights.append({key: value.clone() for key, value in model.state_dict().items()})
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_left_on_the_model(name: str) -> None:
    model, x = made(name)
    before = pickle.dumps(model)
    with leadline.monitor(model, every=1):
        pass
    assert hooks(model) == []
    with pytest.raises(ZeroDivisionError), leadline.monitor(model):  # noqa: PT012 - in the middle of a step
        model(x)
        raise ZeroDivisionError
    assert hooks(model) == []
    if name not in ("batch norm",):  # which counts its calls
        assert pickle.dumps(model) == before


@pytest.mark.parametrize(("length", "stride"), [(6, 1), (40, 4)])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_steps_of_a_fused_recurrence_are_gone_through_again(kind: type[nn.RNNBase], length: int, stride: int) -> None:
    """The oracle runs the cell step by step, with states that require gradients."""
    torch.manual_seed(1)
    model, x = Recurrent(kind), torch.randn(4, length, 4)
    states, state = [], None
    core, outputs = model.core, []
    for t in range(length):
        size = (1, 4, 6)
        parts = tuple(s.clone() for s in state) if state is not None else (torch.zeros(size, requires_grad=True),) * 1
        if state is None and kind is nn.LSTM:
            parts = (torch.zeros(size, requires_grad=True), torch.zeros(size, requires_grad=True))
        states.append(parts)
        output, after = core(x[:, t : t + 1], parts if kind is nn.LSTM else parts[0])
        state = after if isinstance(after, tuple) else (after,)
        outputs.append(output)
    loss = loss_of(model.head(torch.cat(outputs, 1)))
    flat = [part for parts in states for part in parts]
    gradients = iter(torch.autograd.grad(loss, flat))
    expected = [math.sqrt(sum(float(next(gradients).square().sum()) for _ in parts)) for parts in states]
    with leadline.monitor(model) as watch:
        steps(model, x, 1)
    (record,) = watch.records
    assert record.stages == tuple(f"core[{t}]" for t in range(0, length, stride))
    assert record.norms == pytest.approx(expected[::stride], rel=1e-4)
    last = (length - 1) // stride * stride
    assert record.rate is not None
    assert record.rate.value == pytest.approx(math.log(expected[0] / expected[last]) / last, abs=1e-4)


def test_passes_that_add_up_are_samples_of_one_batch() -> None:
    model, x = made("residual")
    records: list[Moment] = []
    for parts in (1, 2, 3):
        twin = copy.deepcopy(model)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
        with leadline.monitor(twin) as watch:
            for part in x.chunk(parts):
                loss_of(twin(part)).backward()
            optimizer.step()
        records += watch.records
    assert all(record.norms == pytest.approx(records[0].norms, rel=1e-6) for record in records)


def test_a_closure_computes_the_gradient_within_the_step() -> None:
    """As Lightning's loop does."""
    model, x = made("layers")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(x))
        loss.backward()
        return loss

    with leadline.monitor(model, every=2) as watch:
        for _ in range(3):
            optimizer.step(closure)
    assert [record.step for record in watch.records] == [0, 2]
    assert watch.records[0].norms != watch.records[1].norms


def test_values_that_formats_round_to_zero_are_counted() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)).double()
    for layer in model:
        layer.weight.data = torch.eye(4, dtype=torch.float64)  # type: ignore[union-attr]
    scales = torch.tensor([1.0, 2.0**-24, 2.0**-26, 2.0**-140], dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with leadline.monitor(model) as watch:
        (model(torch.ones(1, 4, dtype=torch.float64)) * scales).sum().backward()
        optimizer.step()
    assert watch.records[0].underflow == {"float16": 0.5, "bfloat16": 0.25}


def test_a_zero_is_not_a_value_that_is_lost() -> None:
    model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), torch.randn(VECTORS)
    with leadline.monitor(model) as watch:
        steps(model, x, 1)
    assert watch.records[0].underflow == {"float16": 0.0, "bfloat16": 0.0}


class Token:
    """Lives as long as a node of a graph does."""


class Marked(torch.autograd.Function):
    alive: weakref.ref[Token]

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.token = Token()
        Marked.alive = weakref.ref(ctx.token)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return g


class Marking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Marked.apply(x)
        return out


@pytest.mark.parametrize("backward", [True, False])
def test_the_graph_of_a_step_is_not_held(backward: bool) -> None:
    model, x = nn.Sequential(Block(8, True), Marking(), Block(8, True), Block(8, True)), torch.randn(VECTORS)
    with leadline.monitor(model, every=1):
        loss = loss_of(model(x))
        assert Marked.alive() is not None
        loss.backward() if backward else None
        del loss
        gc.collect()
        assert Marked.alive() is None


def test_copies_and_files_of_a_watched_model_hold_nothing() -> None:
    model, x = made("layers")
    with leadline.monitor(model) as watch:
        twin, again = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        for each in (twin, again):
            loss_of(each(x)).backward()
        steps(model, x, 1)
    assert len(watch.records) == 1
    assert torch.equal(twin(x), again(x))


def test_calls_without_a_gradient_are_not_heard() -> None:
    model, x = made("layers")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with leadline.monitor(model) as watch:
        with torch.no_grad():
            model(x)
        loss_of(model(x)).backward()
        with torch.no_grad():
            model(x)
        optimizer.step()
    model, x = made("layers")
    with leadline.monitor(model) as plain:
        steps(model, x, 1)
    assert watch.records == plain.records


def test_other_optimisers_do_not_count() -> None:
    model, x = made("layers")
    other = layers(nn.Tanh)
    with leadline.monitor(model, every=1) as watch:
        steps(other, x, 3)
        assert watch.step == 0
        steps(model, x, 2)
    assert watch.step == 2


def test_a_compiled_model_is_heard_and_runs_compiled_between() -> None:
    model, x = made("layers")
    ran: list[int] = []

    def backend(graph: Any, _: Any) -> Any:
        ran.append(0)

        def run(*args: Any) -> Any:
            ran[-1] += 1
            return graph(*args)

        return run

    compiled = torch.compile(model, backend=backend)
    steps(compiled, x, 1)
    before = ran[-1]
    with leadline.monitor(compiled, every=2) as watch:
        steps(compiled, x, 4)
    assert [record.step for record in watch.records] == [0, 2]
    assert watch.records[0].stages[0] == "0"
    assert ran[-1] == before + 2


def test_mixed_precision() -> None:
    model, x = made("layers")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    norms = []
    for factor in (None, scaler):
        with leadline.monitor(model, scaler=factor) as watch:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(x)
            loss = loss_of(output)
            (loss if factor is None else scaler.scale(loss)).backward()
            optimizer.step() if factor is None else None
            if factor is not None:
                watch.stepped()  # with the weights as they are
        optimizer.zero_grad()
        norms.append(watch.records[0].norms)
        model, x = made("layers")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("name", ["layers", "lstm"])
def test_a_step_that_a_scaler_leaves_out_does_not_count(name: str, to_none: bool) -> None:
    """An overflow, by a loss too large for the scale: the record is that of the step that was made after it."""
    model, x = made(name)
    with leadline.monitor(model, every=1) as alone:
        steps(model, x, 1)
    model, x = made(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with leadline.monitor(model, every=1, scaler=scaler) as watch:
        for factor in (1e38, 1.0):
            optimizer.zero_grad(set_to_none=to_none)
            scaler.scale((factor * loss_of(model(x))).float()).backward()
            scaler.step(optimizer)
            scaler.update()
            if factor > 1:
                assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
                assert watch.step == 0
    assert scaler.get_scale() == 2.0**9
    assert [record.step for record in watch.records] == [0]
    assert watch.records[0].norms == pytest.approx(alone.records[0].norms, rel=1e-4)


def test_the_log_gets_flat_numbers() -> None:
    model, x = made("layers")
    seen: list[tuple[dict[str, float], int]] = []
    with leadline.monitor(model, every=3, start=6, log=lambda numbers, step: seen.append((numbers, step))):
        steps(model, x, 4)
    assert [step for _, step in seen] == [6, 9]
    assert {"gradient/norm/0", "gradient/norm/8", "gradient/rate", "gradient/underflow/float16"} <= set(seen[0][0])
    assert all(isinstance(value, float) for numbers, _ in seen for value in numbers.values())


def test_the_reach_is_measured_at_intervals() -> None:
    torch.manual_seed(0)
    model, x = Recurrent(nn.GRU), torch.randn(2, 12, 4)
    how: dict[str, Any] = {"layout": "b t c -> b t v", "positions": [11]}
    with leadline.monitor(model, x, every=1, reach_every=2, **how) as watch:
        before = leadline.reach(model, x, **how, seed=0)
        steps(model, x, 3, lr=0.1)
    reached = [record.reach for record in watch.records]
    assert [each is not None for each in reached] == [True, False, True]
    assert reached[0] is not None
    assert reached[2] is not None
    assert torch.equal(reached[0].rms, before.rms)
    assert not torch.equal(reached[0].rms, reached[2].rms)
    assert hooks(model) == []


def test_what_cannot_be_asked_is_said_at_the_first_step() -> None:
    model, x = made("layers")
    with pytest.raises(LeadlineError), leadline.monitor(model, x, layout="b t c -> b t v"):
        steps(model, x, 1)
    assert hooks(model) == []
    with pytest.raises(UsageError, match="every=1 on"):
        leadline.monitor(model, every=0)


def test_a_fault_of_the_monitor_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made("layers")
    with leadline.monitor(model, every=1) as watch:
        steps(model, x, 1)
        monkeypatch.setattr(watch._taps, "finish", lambda: 1 / 0)
        with pytest.warns(UserWarning, match="monitor stopped at step 1"):
            steps(model, x, 3)
    assert len(watch.records) == 1
    assert hooks(model) == []
