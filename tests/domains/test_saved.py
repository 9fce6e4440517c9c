"""Saved bytes against hand counts, and the peak against the storages that are alive during a real training step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from leadline.domains._memory import memory
from leadline.errors import ModelError
from leadline.results import Status

FLOAT = 4


class Checkpointed(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False)


@given(widths=st.lists(st.integers(1, 9), min_size=2, max_size=5), batch=st.integers(1, 4))
def test_a_perceptron_keeps_each_layers_input(widths: list[int], batch: int) -> None:
    """x and every tanh output, once each: a linear layer's input is the storage that tanh has saved already."""
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.Tanh())]
    found = memory(nn.Sequential(*layers), torch.zeros(batch, widths[0]))
    assert found.saved == FLOAT * batch * sum(widths)
    assert found.parameters == found.gradients == FLOAT * sum((a + 1) * b for a, b in pairwise(widths))
    assert found.by_module["0"] == FLOAT * batch * widths[0]
    assert found.status is Status.PROVED


def test_what_needs_no_gradient_is_not_kept() -> None:
    frozen = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).requires_grad_(False)
    found = memory(frozen, torch.zeros(2, 3))
    assert (found.saved, found.gradients) == (0, 0)
    assert found.parameters == 2 * 12 * FLOAT


def test_a_parameter_is_never_an_activation() -> None:
    """The weight that a linear layer saves, transposed or not, is reported once, under parameters."""
    layer = nn.Linear(5, 5)
    assert memory(nn.Sequential(layer, layer), torch.zeros(1, 5)).saved == 2 * 5 * FLOAT


def test_checkpointing_keeps_only_the_input() -> None:
    body = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(5)])
    x = torch.zeros(4, 8, requires_grad=True)
    assert memory(Checkpointed(body), x).saved == 4 * 8 * FLOAT
    assert memory(body, x).saved == 6 * 4 * 8 * FLOAT


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_recurrence_keeps_every_step(layers: int) -> None:
    """Affine in the number of steps (a kernel may keep a packed copy of its weights), at least every state."""
    model = nn.LSTM(4, 6, layers, batch_first=True)
    few, more, most = (memory(model, torch.zeros(2, steps, 4)).saved for steps in (32, 64, 96))
    assert most - more == more - few >= 2 * 32 * 6 * layers * FLOAT


def models() -> dict[str, tuple[nn.Module, Tensor]]:
    x = torch.zeros(4, 24, 32)
    image = torch.zeros(4, 3, 16, 16)
    conv = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.GELU()]
    return {
        "convolutions": (nn.Sequential(*conv), image),
        "transformer": (nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), x),
        "deep": (nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.SiLU()) for _ in range(8)]), x),
    }


@pytest.mark.parametrize("name", models())
def test_on_meta_nothing_is_allocated(name: str) -> None:
    model, x = models()[name]
    real = memory(model, x)
    estimate = memory(model.to("meta"), x.to("meta"))
    assert estimate.status is Status.ESTIMATE
    assert estimate.saved == pytest.approx(real.saved, rel=0.25)
    assert estimate.parameters == real.parameters


@pytest.mark.parametrize("name", models())
def test_the_peak_is_near_the_storages_alive_in_a_training_step(name: str) -> None:
    model, x = models()[name]
    predicted = memory(model, x).peak
    with Alive([*model.parameters(), *model.buffers(), x]) as alive:
        model(x).sum().backward()
    assert predicted == pytest.approx(alive.peak, rel=0.25)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        memory(model, torch.randn(3, 2, 8))
        assert not torch.is_grad_enabled()
    # randn itself has moved the state: only what memory did must not show
    torch.set_rng_state(state)
    x = torch.randn(3, 2, 8)
    after_input = torch.get_rng_state()
    memory(model, x)
    assert torch.equal(torch.get_rng_state(), after_input)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.training


def test_hooks_go_when_the_model_fails() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(3, 4))
    with pytest.raises(ModelError, match="cannot be multiplied"):
        memory(model, torch.zeros(1, 3))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Alive(TorchDispatchMode):
    """Bytes of all storages alive at once, watched through weak references at every operation."""

    def __init__(self, resident: list[Tensor]) -> None:
        super().__init__()
        self.known: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0
        self._see(resident)

    def _see(self, tensors: list[Any]) -> None:
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.known[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.known = {key: seen for key, seen in self.known.items() if not seen[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.known.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._see(tree_leaves(result))
        return result
