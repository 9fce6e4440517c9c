"""Saved bytes against hand counts, and the peak against the storages that are alive during a real training step."""

from __future__ import annotations

from inspect import unwrap
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from leadline.domains._memory import memory
from leadline.errors import ModelError, UsageError
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
        outputs = model(x)
        outputs.square().mean().backward()  # a loss whose gradient is as large as the outputs
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


# -- what autograd alone does not tell, against storages counted by hand or found by walking the graph ----------------


class Keeping(torch.autograd.Function):
    """Keeps its factor on the context, as an attribute, in a container, or saved as it should be."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: str) -> Tensor:
        factor = x.sigmoid()
        ctx.how = how
        if how == "saved":
            ctx.save_for_backward(factor)
        else:
            ctx.factor = factor if how == "attribute" else {"nested": [factor]}
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # noqa: ARG004 - torch's signature
        return gradients[0], None


class Custom(nn.Module):
    def __init__(self, how: str, layers: int) -> None:
        super().__init__()
        self.how, self.layers = how, nn.ModuleList(nn.Linear(8, 8) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = Keeping.apply(layer(x), self.how)
        return x


@given(how=st.sampled_from(["attribute", "nested", "saved"]), layers=st.integers(1, 4), batch=st.integers(1, 5))
def test_what_functions_keep_on_their_context_is_counted(how: str, layers: int, batch: int) -> None:
    """Each layer's input and each factor: once."""
    found = memory(Custom(how, layers), torch.zeros(batch, 8))
    assert found.saved == FLOAT * batch * 8 * 2 * layers
    assert found.status is Status.PROVED


class Hooked(nn.Module):
    """Three tanh layers, of which the middle one runs under hooks or checkpoints of its own, maybe nested."""

    def __init__(self, *around: str) -> None:
        super().__init__()
        self.around = around
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        first, middle, last = self.layers

        def run(y: Tensor) -> Tensor:
            return torch.tanh(middle(torch.relu(y)))

        for kind in self.around:
            run = _wrapped(kind, run)
        return torch.tanh(last(run(torch.tanh(first(x)))))


def _wrapped(kind: str, run: Any) -> Any:
    def inner(y: Tensor) -> Tensor:
        if kind == "checkpoint":
            return checkpoint(run, y, use_reentrant=False)
        if kind == "reentrant":
            return checkpoint(run, y, use_reentrant=True)
        if kind == "closure":
            return checkpoint(lambda: run(y * 1.0), use_reentrant=False)
        hooks = save_on_cpu() if kind == "offload" else saved_tensors_hooks(lambda t: t, lambda t: t)
        with hooks:
            return run(y)

    return inner


@pytest.mark.parametrize(
    ("around", "kept"),
    [
        ((), 5),  # the input, and what each of the four functions returns
        (("identity",), 5),
        (("offload",), 5),  # on the CPU it copies nothing
        (("checkpoint",), 4),
        (("reentrant",), 4),
        (("checkpoint", "checkpoint"), 4),
        (("checkpoint", "offload"), 4),
        (("identity", "checkpoint"), 5),  # a checkpoint loses what the hooks within it keep
        (("closure",), 4),
    ],
)
def test_hooks_and_checkpoints_of_the_models_own(around: tuple[str, ...], kept: int) -> None:
    found = memory(Hooked(*around), torch.zeros(4, 8))
    assert found.saved == FLOAT * 4 * 8 * kept
    assert found.status is Status.PROVED


@pytest.mark.parametrize(
    ("pack", "kept"),
    [
        (lambda t: t.detach().numpy(), 256),  # of a storage that the other hooks would save as well
        (lambda t: t.detach().numpy()[:2], 256),
        (lambda t: t.detach().numpy()[:2].copy(), 128),
        (lambda t: (t.shape, t.detach().numpy().tobytes()), 256),
        (lambda t: t.shape, 0),
    ],
)
def test_what_hooks_keep_outside_tensors_is_counted(pack: Any, kept: int) -> None:
    class Packed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with saved_tensors_hooks(pack, lambda _: x):
                return torch.tanh(x.exp() * 1.0)

    found = memory(Packed(), torch.zeros(4, 8, requires_grad=True))
    assert (found.saved, found.status) == (kept, Status.PROVED)


class Attends(nn.Module):
    def __init__(self, mask: bool = False) -> None:
        super().__init__()
        self.mask = mask
        self.project = nn.Linear(32, 96)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in self.project(x).chunk(3, -1))
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.mask)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("device", [None, "cpu", "cuda"])
@pytest.mark.parametrize("length", [64, 256])
def test_fused_attention_on_meta_keeps_what_its_kernel_keeps(mask: bool, device: Any, length: int) -> None:
    """The input, queries with keys and values, the result, and one logarithm for each query of each head."""
    model, x = Attends(mask), torch.zeros(2, length, 32)
    by_hand = FLOAT * 2 * length * (32 + 96 + 32 + 4)
    assert memory(model, x).saved == by_hand
    found = memory(model.to("meta"), x.to("meta"), device=device)
    assert found.saved == by_hand
    assert found.status is Status.ESTIMATE


def test_another_device_is_asked_without_allocating() -> None:
    model, x = Attends(), torch.zeros(2, 64, 32)
    assert memory(model, x, device="cpu").status is Status.PROVED  # it is there already
    assert memory(model, x, device="cuda").saved == memory(model, x).saved
    with pytest.raises(UsageError, match="'cpu' or 'cuda'"):
        unwrap(memory)(model, x, device="tpu")


@settings(max_examples=10)
@given(widths=st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_the_optimiser_keeps_what_it_keeps_after_a_real_step(widths: list[int]) -> None:
    model = nn.Sequential(*[nn.Linear(a, b) for a, b in pairwise(widths)])
    model[0].weight.requires_grad_(False)
    x = torch.zeros(2, widths[0])
    kinds: dict[Any, Any] = {
        "sgd": torch.optim.SGD,
        "AdamW": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "nadam": torch.optim.NAdam,
        "adafactor": torch.optim.Adafactor,  # these two ask tensors for numbers
        "asgd": torch.optim.ASGD,
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)): lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    }
    plain = memory(model, x)
    for named, kind in kinds.items():
        real = kind([p for p in model.parameters() if p.requires_grad])
        model.zero_grad()
        model(x).sum().backward()
        real.step()
        kept = sum(t.nbytes for t in tree_leaves(list(real.state.values())) if isinstance(t, Tensor))
        found = memory(model, x, optimizer=named)
        assert found.optimizer == kept
        assert found.peak == plain.peak + kept


def test_an_optimiser_that_is_not_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no optimiser 'adamv' in torch\.optim; did you mean 'adam'"):
        memory(nn.Linear(2, 2), torch.zeros(1, 2), optimizer="adamv")
    other: list[tuple[Any, str]] = [
        ("muon", "2D parameters"),
        ("lbfgs", "closure"),
        (lambda _: 3, "no attribute 'step'"),
    ]
    for named, why in (*other, (["adam"], r"a function of parameters, not \['adam'\]")):
        with pytest.raises(UsageError, match=why):
            memory(nn.Linear(2, 2), torch.zeros(1, 2), optimizer=named)


def test_a_wrapper_for_several_devices_and_a_script_are_what_they_wrap() -> None:
    body = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    x = torch.zeros(4, 8)
    plain = memory(body, x)
    assert memory(nn.DataParallel(body), x).saved == plain.saved
    assert memory(torch.jit.script(body), x).saved == plain.saved


def test_inputs_that_are_changed_in_place_are_as_before() -> None:
    class Adds(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x.add_(1.0))

    x = torch.zeros(3)
    memory(Adds(), x)
    assert torch.equal(x, torch.zeros(3))
