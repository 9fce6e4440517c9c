"""WaveNet's blocks by rows that fit in the cache: the loop with other rounding, and only where nobody looks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import pytest
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from leadline.zoo.layers import gated_rows
from leadline.zoo.wavenet import WaveNet, WaveNetConfig

TINY = WaveNetConfig(classes=5, channels=3, skip=4, head=4, layers=3, stacks=2, tiled=True)
X = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3], [4, 4, 0, 0, 1, 1, 3, 3, 2]])


def build(config: WaveNetConfig, seed: int = 0) -> WaveNet:
    torch.manual_seed(seed)
    return WaveNet(config)


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the logits and the gradients of all weights, for a loss that weighs the logits unevenly."""
    model.zero_grad()
    logits = model(x)
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    return [logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@settings(max_examples=examples(5, 60))
@given(
    kernel=st.integers(1, 3),
    layers=st.integers(2, 4),
    stacks=st.integers(1, 2),
    lag=st.sampled_from([0, 1]),
    shape=st.tuples(st.integers(0, 3), st.integers(1, 40)),
    rows=st.sampled_from([1, 7, 10_000]),
    seed=st.integers(0, 99),
)
def test_logits_and_gradients_are_those_of_the_loop(
    kernel: int, layers: int, stacks: int, lag: int, shape: tuple[int, int], rows: int, seed: int
) -> None:
    """Sequences shorter than a dilation too; a hook on a block makes the model take the loop."""
    config = WaveNetConfig(7, 8, 3, 4, 5, layers, stacks, kernel, lag, tiled=True)
    model = build(config, seed)
    x = torch.randint(7, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gated_rows, "_size", lambda _: rows)
        found = gradients(model, x)
    model.blocks[0].register_forward_hook(lambda *_: None)
    wanted = gradients(model, x)
    assert len(found) == len(wanted) == 1 + len(list(model.parameters()))
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-6 * max(1, x.numel()))


def test_derivatives_of_both_orders_are_those_of_differences() -> None:
    torch.manual_seed(0)
    shapes = ((11, 2), (2, 2, 2, 4), (2, 4), (2, 2, 3), (3,), (1, 2, 2), (1, 2))
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    histories = [range(2, -1, -2), range(4, -1, -4)]

    def sum_of_skips(z: Tensor, *weights: Tensor) -> Tensor:
        return gated_rows.GatedRows.apply(z, histories, *weights)  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(sum_of_skips, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(sum_of_skips, given, fast_mode=True)


def _untiled(model: WaveNet) -> AbstractContextManager[object]:
    model.config = replace(model.config, tiled=False)
    return nullcontext()


def _hooked(model: WaveNet) -> AbstractContextManager[object]:
    model.blocks[1].skip.register_full_backward_hook(lambda *_: None)
    return nullcontext()


def _shared_forward(model: WaveNet) -> AbstractContextManager[object]:
    conv = model.blocks[1].conv
    conv.forward = conv.forward
    return nullcontext()


def _other_kind(model: WaveNet) -> AbstractContextManager[object]:
    model.blocks[1].skip = nn.Sequential(model.blocks[1].skip)
    return nullcontext()


def _evaluated(model: WaveNet) -> AbstractContextManager[object]:
    model.eval()
    return nullcontext()


WATCHED: dict[str, Callable[[WaveNet], AbstractContextManager[object]]] = {
    "not asked for": _untiled,
    "a hook": _hooked,
    "a forward of one's own": _shared_forward,
    "a layer of another kind": _other_kind,
    "evaluation": _evaluated,
    "no gradients": lambda _: torch.no_grad(),
    "autocast": lambda _: torch.autocast("cpu", torch.bfloat16),
    "forward mode": lambda _: forward_ad.dual_level(),
    "a mode": lambda _: FlopCounterMode(display=False),
    "double": lambda model: nullcontext(model.double()),
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the faster way is taken."""
    calls: list[int] = []
    run = gated_rows.summed_skips
    monkeypatch.setattr("leadline.zoo.wavenet.summed_skips", lambda *given: calls.append(1) or run(*given))
    return calls


@pytest.mark.parametrize("name", ["nothing", *WATCHED])
def test_whoever_looks_sees_the_loop(taken: list[int], name: str) -> None:
    model = build(TINY)
    with WATCHED[name](model) if name in WATCHED else nullcontext():
        model(X)
    assert len(taken) == (name not in WATCHED)


def test_exports_and_transforms_see_the_loop(taken: list[int]) -> None:
    model = build(TINY)
    torch.export.export(model, (X,))
    weights = dict(model.named_parameters())
    torch.func.grad(lambda weights: torch.func.functional_call(model, weights, X).square().sum())(weights)
    assert taken == []


def test_of_conditions_only_the_loop_hears(taken: list[int]) -> None:
    model = build(WaveNetConfig(classes=5, channels=3, skip=4, head=4, layers=3, labels=2, tiled=True))
    model(X, torch.tensor([0, 1]))
    assert taken == []
