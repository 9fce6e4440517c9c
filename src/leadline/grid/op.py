"""The grid recurrence as one differentiable operation: `grid_rnn` and `grid_lstm`.

Each is a custom op, so that an exported graph shows one node, inside an `autograd.Function` with `setup_context`, `jvp`
and a batching rule, so that every transform of `torch.func` is right: the bare op under `torch.func.jvp` would have a
tangent of zero.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import vjp

from leadline.errors import LayoutError
from leadline.grid import functional
from leadline.grid.cells import Cell, LSTMCell, TanhCell, Weights
from leadline.grid.columns import Columns
from leadline.grid.kernels import Swept, adjoint, forward

Outputs = tuple[Tensor, Tensor, Tensor]
_INPUTS = "Tensor x, Tensor weight_in, Tensor weight_below, Tensor weight_north, Tensor weight_west, Tensor bias"
_SCHEMA = f"({_INPUTS}) -> (Tensor, Tensor, Tensor)"
_ADJOINT = f"({_INPUTS}, Tensor carry, Tensor gates, Tensor g) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"


def _registered(name: str, cell: type[Cell]) -> tuple[Any, Any]:
    """Register the recurrence of `cell` and its adjoint as custom ops."""
    op = torch.library.custom_op(f"leadline::{name}", partial(_forward, cell), mutates_args=(), schema=_SCHEMA)
    op.register_fake(partial(_forward_shapes, cell))
    op.register_vmap(lambda info, in_dims, *inputs: _batched(op, info.batch_size, in_dims, inputs))
    adjoint_op = torch.library.custom_op(
        f"leadline::{name}_adjoint", partial(_adjoint, cell), mutates_args=(), schema=_ADJOINT
    )
    adjoint_op.register_fake(lambda *given: tuple(torch.empty_like(value) for value in given[:6]))
    adjoint_op.register_vmap(lambda info, in_dims, *given: _one_by_one(adjoint_op, info.batch_size, in_dims, given))
    return op, adjoint_op


def _differentiable(name: str, cell: type[Cell]) -> type[torch.autograd.Function]:
    """Return the function of which the recurrence and its adjoint are parts.

    Its outputs are the fields of `kernels.Swept`; only the first has a derivative, and where that is to be
    differentiated further, it is taken of the recurrence in plain torch.
    """
    op, adjoint_op = _registered(name, cell)
    plain = partial(functional.run, cell)

    class Grid(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Tensor) -> Outputs:
            out, carry, gates = op(*inputs)
            return out, carry, gates

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Outputs) -> None:
            ctx.save_for_backward(*inputs, *output[1:])
            ctx.save_for_forward(*inputs)
            ctx.mark_non_differentiable(*output[1:])
            ctx.set_materialize_grads(False)  # else zeros are written for the tables

        @staticmethod
        def backward(ctx: Any, g: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
            if g is None:
                return (None,) * 6
            if torch.is_grad_enabled():
                return vjp(plain, *ctx.saved_tensors[:6])[1](g)  # type: ignore[no-any-return]
            return tuple(adjoint_op(*ctx.saved_tensors, g))

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, None, None]:
            # Autograd calls this with forward mode off for every level, so that an outer jvp would silently see a
            # constant. Turn it on again, and give the bare primals the tangents at hand, which outer levels see.
            with forward_ad._set_fwd_grad_enabled(True):
                bare = [forward_ad.unpack_dual(saved, level=0).primal for saved in ctx.saved_tensors]
                given = zip(bare, tangents, strict=True)
                moved = (x if dx is None else forward_ad.make_dual(x, dx, level=0) for x, dx in given)
                tangent = forward_ad.unpack_dual(plain(*moved), level=0).tangent
                return tangent.clone(memory_format=torch.contiguous_format), None, None

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Outputs, tuple[int, int, int]]:
            return _batched(Grid.apply, info.batch_size, in_dims, inputs)

    return Grid


def _forward(cell: type[Cell], x: Tensor, *weights: Tensor) -> Outputs:
    out, carry, gates = forward(cell, x, Weights(*weights))
    return out, carry, gates


def _forward_shapes(cell: type[Cell], x: Tensor, *weights: Tensor) -> Outputs:
    (batch, height, width, _), (layers, _, k) = x.shape, weights[2].shape
    columns = Columns.number(layers, height, width)  # sizes may be symbols
    carry, gates = (x.new_empty(layers, n, k, columns * batch) for n in (cell.states, cell.kept))
    return x.new_empty(batch, height, width, k), carry, gates


def _adjoint(cell: type[Cell], x: Tensor, *given: Any) -> tuple[Tensor, ...]:
    *weights, carry, gates, g = given
    g_x, g_weights = adjoint(cell, x, Weights(*weights), Swept(g, carry, gates))
    return g_x, *g_weights


def _batched(
    run: Callable[..., Outputs], n: int, in_dims: tuple[int | None, ...], inputs: tuple[Tensor, ...]
) -> tuple[Outputs, tuple[int, int, int]]:
    """Fold a further axis of the input into its batch; sets of weights are run one after another."""
    if in_dims[0] is None or in_dims[1:] != (None,) * 5:
        return _one_by_one(run, n, in_dims, inputs)
    x = inputs[0].movedim(in_dims[0], 0)
    out, *tables = run(x.flatten(0, 1), *inputs[1:])
    columns = Columns.of(inputs[3].shape[0], *x.shape[2:4], 1).length
    carry, gates = (table.reshape(*table.shape[:3], columns, *x.shape[:2]).movedim(4, 0).flatten(4) for table in tables)
    return (out.reshape(*x.shape[:2], *out.shape[1:]), carry, gates), (0, 0, 0)


def _one_by_one(
    run: Callable[..., tuple[Tensor, ...]], n: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]
) -> tuple[Any, Any]:
    pairs = list(zip(inputs, in_dims, strict=True))
    runs = [run(*(value if dim is None else value.select(dim, i) for value, dim in pairs)) for i in range(n)]
    found = tuple(torch.stack(values) for values in zip(*runs, strict=True))
    return found, (0,) * len(found)


_GridRNN = _differentiable("grid_rnn", TanhCell)
_GridLSTM = _differentiable("grid_lstm", LSTMCell)


def grid_rnn(
    x: Float[Tensor, "b h w k_in"],
    weight_in: Float[Tensor, "k k_in"],
    weight_below: Float[Tensor, "below k k"],
    weight_north: Float[Tensor, "d k k"],
    weight_west: Float[Tensor, "d k k"],
    bias: Float[Tensor, "d k"],
) -> Float[Tensor, "b h w k"]:
    """Run `d` stacked layers of the two-dimensional tanh recurrence and return the last layer's outputs.

    ``h(i,j) = tanh(W_in x(i,j) + W_N h(i-1,j) + W_W h(i,j-1) + b)``, zero outside the grid; layer l > 0 reads layer l-1
    through ``weight_below[l-1]`` in place of x through ``weight_in``. All cells of an antidiagonal run together, and
    the layers follow one another as a pipeline: ``d + h + w - 2`` sequential steps, forwards and backwards.

    Parameters
    ----------
    x
        The input, features last.
    weight_in, weight_below, weight_north, weight_west, bias
        The layers' weights; ``weight_below`` is empty for one layer.

    Returns
    -------
    Tensor
        The last layer's outputs, ``[b, h, w, k]``; output (i,j) depends on the inputs (i',j') with i' ≤ i and j' ≤ j.

    Raises
    ------
    LayoutError
        If the shapes do not fit together, or the grid or the units are empty.

    Examples
    --------
    >>> k, d = 4, 2
    >>> x, square = torch.randn(3, 5, 6, 1), 0.1 * torch.randn(d, k, k)
    >>> grid_rnn(x, torch.randn(k, 1), square[1:], square, square, torch.zeros(d, k)).shape
    torch.Size([3, 5, 6, 4])

    Notes
    -----
    The recurrence is that of Graves, Fernández, Schmidhuber, *Multi-dimensional recurrent neural networks* (2007).
    """
    weights = Weights(weight_in, weight_below, weight_north, weight_west, bias)
    _check(x, weights, TanhCell)
    out, *_ = _GridRNN.apply(x, *weights)
    return out  # type: ignore[no-any-return]


def grid_lstm(
    x: Float[Tensor, "b h w k_in"],
    weight_in: Float[Tensor, "gk k_in"],
    weight_below: Float[Tensor, "below gk k"],
    weight_north: Float[Tensor, "d gk k"],
    weight_west: Float[Tensor, "d gk k"],
    bias: Float[Tensor, "d gk"],
) -> Float[Tensor, "b h w k"]:
    """Run `d` stacked layers of the two-dimensional LSTM and return the last layer's outputs.

    ``c = f_N c(i-1,j) + f_W c(i,j-1) + i g`` and ``h = o tanh(c)``: one forget gate for each direction. The
    weights hold the gates o, i, g, f_N, f_W in this order, `k` rows each. All else is as in `grid_rnn`.

    Examples
    --------
    >>> k = 4
    >>> x, square = torch.randn(3, 5, 6, 1), 0.1 * torch.randn(1, 5 * k, k)
    >>> grid_lstm(x, torch.randn(5 * k, 1), square[1:], square, square, torch.zeros(1, 5 * k)).shape
    torch.Size([3, 5, 6, 4])
    """
    weights = Weights(weight_in, weight_below, weight_north, weight_west, bias)
    _check(x, weights, LSTMCell)
    out, *_ = _GridLSTM.apply(x, *weights)
    return out  # type: ignore[no-any-return]


def _check(x: Tensor, weights: Weights, cell: type[Cell]) -> None:
    layers, gated, k = weights.weight_north.shape
    square = [layers, gated, k]
    fitting = ([gated, x.shape[-1]], [layers - 1, gated, k], square, square, [layers, gated])
    for name, weight, shape in zip(Weights._fields, weights, fitting, strict=True):
        if list(weight.shape) != shape:
            raise LayoutError(f"{name} has shape {list(weight.shape)}, but x and the other weights ask for {shape}")
    if gated != cell.gates * k or 0 in (layers, k, *x.shape[1:3]):
        raise LayoutError(
            f"a grid of {list(x.shape[1:3])} cells and weights of shape {list(weights.weight_north.shape)}: "
            f"the grid and the units must not be empty, and this cell has {cell.gates} gates per unit"
        )
