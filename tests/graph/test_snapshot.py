"""State that is recorded and put back: contents and their addresses, nested runs, pending gradients, interruptions."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from helpers.described import described, differences
from helpers.stateful import KINDS, Stateful, stateful
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.errors import ModelError
from leadline.graph.restoring import contents
from leadline.graph.restoring.snapshot import Snapshot
from leadline.graph.restoring.undisturbed import restored

LAYOUT = "b t c -> b t v"
WRITING = [kind for kind in KINDS if "weight" in kind or "buffer" in kind or "table" in kind]


@pytest.mark.parametrize("kind", WRITING)
def test_contents_that_are_shared_until_written_come_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models above the limit are not copied; here every one is above it."""
    monkeypatch.setattr(contents, "COPIED", 0)
    model, x = stateful(kind)
    before = described(model, x)
    with restored(model, x):
        model(x)
        assert differences(before, described(model, x))
    assert not differences(before, described(model, x))


def test_what_nobody_writes_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "COPIED", 0)
    model, x = nn.Linear(64, 64), torch.randn(2, 64)
    address = torch._C._data_address(model.weight)
    with restored(model, x) as before:
        model(x)
        shared = [then for live, then in before.contents._held.values() if live.numel() * 8 == 64 * 64 * 4]
        assert [torch._C._data_address(then) for then in shared] == [address]
    assert torch._C._data_address(model.weight) == address


def test_arrays_of_numpy_go_on_sharing_memory() -> None:
    model, x = stateful("a weight written")
    array = model.layer.weight.detach().numpy()
    leadline.check(model, x, layout=LAYOUT)
    array[:] = 7.0
    assert bool((model.layer.weight == 7).all())


def test_a_backward_pass_that_the_user_has_begun_goes_on() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), Stateful(KINDS["a weight written"])), torch.randn(2, 5, 4)
    loss = (nn.Tanh()(model[0](x)) * model[1].scale * model[1].layer.weight.sum()).sum()
    expected = torch.autograd.grad(loss, list(model[0].parameters()), retain_graph=True)
    leadline.check(model, x, layout=LAYOUT)
    loss.backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(model[0].parameters(), expected, strict=True))


class Interrupted(nn.Module):
    """Raises, after it has changed something, when an iterator comes to its end: that cannot be taken back."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.layer, self.runs, self.kept = nn.Linear(4, 4), iter(range(runs)), list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.kept.append(self.layer(x))
        self.layer.weight.data.mul_(2)
        if next(self.runs, None) is None:
            raise KeyboardInterrupt
        return self.layer(x)


@pytest.mark.parametrize("runs", range(6))
def test_an_interruption_passes_and_leaves_the_model_as_it_was(runs: int) -> None:
    model, x = Interrupted(runs), torch.randn(2, 5, 4)
    before = described(model, x)
    with pytest.raises(KeyboardInterrupt):
        leadline.check(model, x, layout=LAYOUT)
    assert not differences(before, described(model, x))


def test_an_end_of_the_process_is_an_error_of_the_model() -> None:
    model, x = stateful("an end of the process")
    for ask in (leadline.count, leadline.memory, leadline.gradient, leadline.check):
        with pytest.raises(ModelError, match="SystemExit"):
            ask(model, x)


def test_random_states_of_python_and_numpy_come_back() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with restored():
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002


def test_an_inner_run_goes_back_to_its_own_beginning() -> None:
    model = stateful("a counter")[0]
    with restored(model):
        model.calls, model.layer.bias.data = 5, torch.ones(4)
        handle = model.register_forward_hook(print)
        with restored(model):
            model.calls, model.layer.bias.data[:] = 7, 2.0
            model._forward_hooks.clear()
        assert (model.calls, model.layer.bias.tolist(), len(model._forward_hooks)) == (5, [1.0] * 4, 1)
        handle.remove()
    assert model.calls == 0
    assert not model.layer.bias.equal(torch.ones(4))


TREES = st.recursive(
    st.sampled_from(["tensor", "number", "word"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from("abc"), part, max_size=3),
    max_leaves=8,
)


def grown(tree: Any) -> Any:
    """A tree of values of a drawn form."""
    if isinstance(tree, list):
        return [grown(part) for part in tree]
    if isinstance(tree, dict):
        return {key: grown(part) for key, part in tree.items()}
    return torch.randn(3) if tree == "tensor" else tree


def shaken(tree: Any, generator: random.Random) -> None:
    """Change whatever can be changed within a tree: order, entries, contents, flags, memory."""
    if isinstance(tree, Tensor):
        steps: list[Callable[[], Any]] = [
            lambda: tree.mul_(2), lambda: setattr(tree, "data", torch.ones(5)), lambda: tree.resize_(7),
            lambda: setattr(tree, "mark", [tree]), lambda: tree.requires_grad_(),
            lambda: tree.untyped_storage().resize_(0),
        ]  # fmt: skip
        generator.choice(steps)()
        return
    for part in list(tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()):
        shaken(part, generator)
    if isinstance(tree, list):
        generator.choice([tree.clear, tree.reverse, lambda: tree.append(tree)])()
    if isinstance(tree, dict):
        generator.choice([tree.clear, lambda: tree.update(a=1, z=tree), lambda: tree.update(reversed(tree.items()))])()


@settings(max_examples=40)
@given(TREES, st.integers(0, 99))
def test_any_tree_of_values_comes_back(tree: Any, seed: int) -> None:
    model = nn.Linear(2, 2)
    model.tree = grown(tree)
    before = described(model)
    snapshot = Snapshot(model)
    for _ in range(2):  # as often as it is asked to
        shaken(model.tree, random.Random(seed))
        snapshot.restore()
        assert not differences(before, described(model))


def test_functions_give_back_what_they_close_over() -> None:
    seen: list[Tensor] = []
    total = torch.zeros(3)
    count = 0

    def step(x: Tensor, bound: list[Tensor] = []) -> Tensor:  # noqa: B006 - some do
        nonlocal count
        count += 1
        seen.append(x)
        bound.append(x)
        total.add_(1)
        return x * total

    for f in (step, functools.partial(step)):
        leadline.spectrum(f, torch.ones(3), k=1)
        with pytest.raises(ModelError, match="the step raised RuntimeError"):  # torch's own refusal
            leadline.lyapunov(f, torch.ones(3), steps=3)
        assert (seen, count, total.tolist(), step.__defaults__) == ([], 0, [0.0] * 3, ([],))


def test_lazy_sparse_and_shared_tensors_come_back() -> None:
    shared = torch.zeros(6)
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    model.register_buffer("left", shared[:4])
    model.register_buffer("right", shared[2:])
    model.register_buffer("wide", torch.ones(1).expand(5))
    before = described(model)
    with restored(model):
        model(torch.ones(1, 4))
        model.sparse.mul_(2)
        model.left.add_(1)
        model.right.add_(1)
        model.wide.data.mul_(3) if model.wide.is_contiguous() else model.wide.untyped_storage().fill_(0)
    assert not differences(before, described(model))
    assert isinstance(model[0], nn.LazyLinear)


def test_one_model_may_be_checked_by_several_threads() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), stateful("a state carried on")[0]), torch.randn(2, 5, 4)
    before = described(model, x)
    reading = leadline.read(model, x, layout=LAYOUT)
    asks: list[Callable[[], Any]] = [
        lambda: leadline.check(model, x, layout=LAYOUT),
        lambda: leadline.stream(model, x, layout=LAYOUT, backend="torch").logits(x),
        lambda: leadline.gradient(model, x).rate,
        lambda: reading.check(),
    ]
    alone = [described_answer(ask()) for ask in asks]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda ask: described_answer(ask()), asks * 2))
    assert together == alone * 2
    assert not differences(before, described(model, x))


def described_answer(answer: Any) -> str:
    """An answer without the wall time that it took."""
    return (
        "".join(str(getattr(answer, name)) for name in vars(answer) if name != "seconds")
        if hasattr(answer, "seconds")
        else str(answer)
    )


def scripted(t: Tensor) -> Tensor:
    return t.add_(1)


class Writing(nn.Module):
    """Writes into a parameter, a buffer and what it is given, in one of the ways that there are."""

    def __init__(self, way: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.weight, self.way = nn.Parameter(torch.randn(4, 4)), way
        self.register_buffer("table", torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        for tensor in (self.weight.data, self.table, x):
            self.way(tensor)
        return x @ self.weight + self.table.sum()


WAYS: dict[str, Callable[[Tensor], Any]] = {
    "in place": lambda t: t.mul_(2),
    "an item": lambda t: t.__setitem__((0, 0), 7.0),
    "a view": lambda t: t.view(-1)[1:3].zero_(),
    "out": lambda t: torch.add(t, 1, out=t),
    "a list": lambda t: torch._foreach_mul_([t], 3),
    "scatter": lambda t: t.scatter_(0, torch.zeros(1, 4, dtype=torch.long), 1.0),
    "numpy": lambda t: t.numpy().fill(5),
    "an array": lambda t: np.asarray(t).fill(5),
    "dlpack": lambda t: torch.from_dlpack(t).fill_(5),
    "a storage": lambda t: t.untyped_storage().fill_(0),
    "a storage's size": lambda t: t.untyped_storage().resize_(4).resize_(64),
    "other memory": lambda t: t.set_(torch.ones(4, 4)),
    "a compiled function": torch.jit.script(scripted),
}


@pytest.mark.parametrize("way", WAYS)
def test_contents_that_wait_are_copied_before_anything_writes(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "AT_ONCE", 0)
    model, x = Writing(WAYS[way]), torch.randn(4, 4)
    before = described(model, x)
    with restored(model, x, lazily=True) as snapshot, torch.no_grad(), snapshot.contents.watched():
        model(x)
        assert differences(before, described(model, x))
    assert not differences(before, described(model, x))


def test_what_may_wait_is_not_copied_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "AT_ONCE", 2**20)
    model = nn.Sequential(nn.Linear(1024, 1024), nn.Linear(1024, 1024))
    with restored(model, lazily=True) as snapshot, snapshot.contents.watched(), torch.no_grad():
        model[0].weight.mul_(2)
        held = {then.nbytes for _, then in snapshot.contents._held.values()}
        assert held == {1024 * 4, 1024**2 * 4}
        assert len(snapshot.contents._waiting) == 1
        assert model[1].weight in snapshot.contents
