"""Stand between the stages of a running model: see, copy or replace what crosses from one to the next."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from leadline.errors import NotDifferentiable
from leadline.jacobian.chains.layers import layer_by_layer
from leadline.jacobian.stages import Chain

Visit = Callable[[int, list[Tensor]], list[Tensor]]
"""Called with the number of a boundary and the tensors that cross it; what it returns crosses instead."""


@contextmanager
def unrolled(layer: nn.RNNBase, visit: Visit) -> Iterator[None]:
    """Make a recurrent layer step through time, with `visit` called on the state before each step and after the last.

    The results are those of the fused layer up to rounding, for any number of layers, projections and both layouts.
    Raises `NotDifferentiable` for packed sequences, whose steps have different batch sizes, and for bidirectional
    layers.

    Examples
    --------
    >>> layer, x, seen = nn.GRU(2, 3, batch_first=True), torch.ones(1, 4, 2), []
    >>> with unrolled(layer, lambda step, state: seen.append(step) or state):
    ...     stepped, _ = layer(x)
    >>> seen, torch.allclose(stepped, layer(x)[0], atol=1e-6)
    ([0, 1, 2, 3, 4], True)
    """
    if layer.bidirectional:
        raise NotDifferentiable("a bidirectional layer has no state that every path through time crosses")
    fused = layer.forward

    def forward(x: Any, hx: Any = None) -> tuple[Tensor, Any]:
        if isinstance(x, PackedSequence):
            raise NotDifferentiable("packed sequences have no time axis of one batch size: pad them instead")
        axis = 1 if layer.batch_first and x.ndim == 3 else 0
        state = list(hx) if isinstance(hx, tuple) else [hx] if hx is not None else initial_state(layer, x)
        outputs = []
        for step in range(x.shape[axis]):
            state = visit(step, state)
            output, after = fused(x.narrow(axis, step, 1), tuple(state) if len(state) > 1 else state[0])
            state = list(after) if isinstance(after, tuple) else [after]
            outputs.append(output)
        state = visit(x.shape[axis], state)
        return torch.cat(outputs, dim=axis), tuple(state) if len(state) > 1 else state[0]

    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


def initial_state(layer: nn.RNNBase, x: Tensor) -> list[Tensor]:
    """Return the zero state that a recurrent layer starts from when it is given none."""
    batch = [x.shape[0 if layer.batch_first else 1]] if x.ndim == 3 else []
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * isinstance(layer, nn.LSTM)
    return [x.new_zeros(layer.num_layers, *batch, width) for width in widths]


@contextmanager
def visited(model: nn.Module, chain: Chain, visit: Visit) -> Iterator[None]:
    """Call `visit` on the tensors that enter each stage of a chain, and on those that leave the last one."""
    with ExitStack() as stack:
        if chain.recurrent is not None:
            layer = cast("nn.RNNBase", model.get_submodule(chain.recurrent))
            if chain.layer is None:
                stack.enter_context(unrolled(layer, visit))
            else:
                stack.enter_context(layer_by_layer(layer, step=visit, of=chain.layer))
        elif chain.grid is not None:
            for handle in _over_fronts(model.get_submodule(chain.grid), visit):
                stack.callback(handle.remove)
        elif chain.calls:
            counts = dict.fromkeys({path for path, _ in chain.calls}, 0)
            starts = {
                call: (stage, chain.carried) for call, stage in zip(chain.calls, chain.first_stages, strict=False)
            }
            starts |= {(path, nth): (chain.first_stages[at], places) for path, nth, at, places in chain.also}
            for path in counts:
                for handle in _hooks(model.get_submodule(path), path, counts, starts, chain, visit):
                    stack.callback(handle.remove)
            for (path, _), first, layers in zip(chain.calls, chain.first_stages, chain.layers, strict=False):
                if layers > 1:
                    inner = cast("nn.RNNBase", model.get_submodule(path))
                    stack.enter_context(layer_by_layer(inner, enter=_within(first, visit)))
        else:
            for handle in _whole(model, chain, visit):
                stack.callback(handle.remove)
        yield


def _within(first: int, visit: Visit) -> Callable[[int, Tensor], Tensor]:
    """Return what is called with what goes into each layer of a recurrence, whose stages begin with the `first`."""
    return lambda layer, x: visit(first + layer, [x])[0] if layer else x


def _hooks(
    module: nn.Module,
    path: str,
    counts: dict[str, int],
    starts: dict[tuple[str, int], tuple[int, tuple[int, ...]]],
    chain: Chain,
    visit: Visit,
) -> Iterator[Any]:
    """Register the hooks of one module of a chain: before each of its calls that is a stage, and after the last.

    What stands for all calls of its module is as many calls.
    """
    lasting = {call for call in starts if call[0] == chain.calls[-1][0]} if chain.also else {chain.calls[-1]}

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        stage, places = starts.get((path, counts[path]), (None, ()))
        counts[path] += 1
        return replaced((args, kwargs), places, stage, visit) if stage is not None else None

    def after(_: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001
        if (path, counts[path] - 1) not in lasting:
            return None
        return replaced(output, _floating(output)[: len(chain.carried)], chain.first_stages[-1], visit)

    yield module.register_forward_pre_hook(before, with_kwargs=True)
    yield module.register_forward_hook(after)


def _over_fronts(module: nn.Module, visit: Visit) -> Iterator[Any]:
    """Register the hooks of a grid recurrence: what drives the cells of each front, and the last cell's output.

    What comes back to a front's drives is what comes back to its cells, times each one's own gain.
    """
    passed: list[int] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        x = args[0]
        if passed:  # the first call alone
            return None
        height, width = x.shape[1:3]
        fronts = (torch.arange(height)[:, None] + torch.arange(width)).flatten()
        order = fronts.argsort(stable=True)
        cells = x.flatten(1, 2)[:, order.to(x.device)]
        parts = cells.split(fronts.bincount().tolist(), dim=1)
        crossing = [visit(front, [part])[0] for front, part in enumerate(parts)]
        passed.append(len(parts))
        whole = torch.cat(crossing, 1)[:, order.argsort().to(x.device)].reshape(x.shape)
        return (whole, *args[1:]), kwargs

    def after(_: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG001
        if len(passed) == 1:
            visit(passed[0], [output[:, -1, -1]])
            passed.append(0)

    yield module.register_forward_pre_hook(before, with_kwargs=True)
    yield module.register_forward_hook(after)


def _whole(model: nn.Module, chain: Chain, visit: Visit) -> Iterator[Any]:
    """Register the hooks of a model that is one stage: before it, or after its first activation, and after it."""
    calls = 0

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        return replaced((args, kwargs), _floating((args, kwargs)), 0, visit)

    def entry(_: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001
        nonlocal calls
        calls += 1
        is_source = chain.source is not None and calls - 1 == chain.source[1]
        return replaced(output, _floating(output)[:1], 0, visit) if is_source else None

    def after(_: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001
        return replaced(output, _floating(output)[:1], 1, visit)

    if chain.source is not None:
        yield model.get_submodule(chain.source[0]).register_forward_hook(entry)
    else:
        yield model.register_forward_pre_hook(before, with_kwargs=True)
    yield model.register_forward_hook(after)


def _floating(tree: Any) -> tuple[int, ...]:
    """Return the leaf positions of the floating tensors of a tree of values."""
    return tuple(i for i, value in enumerate(pytree.tree_leaves(tree)) if _is_floating(value))


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def replaced(tree: Any, positions: tuple[int, ...], stage: int, visit: Visit) -> Any:
    """Return a tree of values with the tensors at some leaf positions replaced by what `visit` makes of them."""
    leaves = pytree.tree_leaves(tree)
    present = [i for i in positions if i < len(leaves) and _is_floating(leaves[i])]
    for i, tensor in zip(present, visit(stage, [leaves[i] for i in present]), strict=True):
        leaves[i] = tensor
    return _rebuilt(tree, iter(leaves))


def _rebuilt(tree: Any, leaves: Iterator[Any]) -> Any:
    """Return a tree of values with other leaves; lists and dicts stay the ones that the model holds, and may change."""
    if pytree.tree_is_leaf(tree):
        return next(leaves)
    held, form = pytree.tree_flatten(tree, is_leaf=lambda part: part is not tree)
    parts = [_rebuilt(part, leaves) for part in held]
    if all(part is before for part, before in zip(parts, held, strict=True)):
        return tree
    if isinstance(tree, list):
        tree[:] = parts
    elif isinstance(tree, dict):
        tree.update(zip(tree, parts, strict=True))
    else:
        return pytree.tree_unflatten(parts, form)
    return tree
