"""The Jacobian of a function or model at a point, as an operator on flat vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.export import ExportedProgram
from torch.func import functional_call

from leadline.domains.arguments import public
from leadline.errors import Diverged, NotDifferentiable, require_seed
from leadline.graph.assignments import traced_assignments
from leadline.graph.call import Held
from leadline.graph.given import module_of, refuse_unusable
from leadline.graph.restoring.undisturbed import restored
from leadline.graph.user_code import hint_of_empty, running
from leadline.jacobian.kernels import plain_kernels, run_once, same_noise, without_torch_warnings
from leadline.jacobian.operators import Block, Operator
from leadline.jacobian.sources import leaf_at, starting_point, starting_position

Result = TypeVar("Result")

CHUNK, MOST_NUMBERS = 32, 2**22
"""So many columns are carried at once, and so many numbers: more would only cost memory."""

FEW, LARGE = 4, 2**14
"""Up to so many columns, if they have so many numbers, are multiplied one by one.

Batching saves calls, and reads weights once; over large activations, which no longer fit the caches together, it costs
more than that.
"""


@public("jacobian")
def jacobian(f: Callable[..., Any], *inputs: Any, output: str | None = None, seed: int = 0) -> Jacobian:
    """Return the Jacobian of `f` at a point: of its (first or named) output, by all its floating inputs.

    Inputs and output are flattened and concatenated. A model is called with its own weights and in its own mode, on
    copies of its buffers.

    Parameters
    ----------
    f, inputs
        A function or model and what it is called with; integers stay as they are.
    output
        Name of the output, if there are several.
    seed
        Of the model's own noise (dropout), the same at each product.

    Raises
    ------
    NotDifferentiable
        If no input or no output is floating, or either is empty.
    Diverged
        If the output is not finite; from a product, if the derivative is not.
    ModelError
        If the function raises.

    Examples
    --------
    >>> J = jacobian(lambda x: x**2, torch.tensor([1.0, 2.0, 3.0]))
    >>> J.dense().diag()
    tensor([2., 4., 6.])
    """
    name = type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", "the function")
    refuse_unusable(inputs)
    with running(name, inputs):
        f = f if not isinstance(f, nn.Module | ExportedProgram) else module_of(f, inputs, {})
        return Jacobian(f, inputs, output=output, seed=seed)


def _pure(f: Callable[..., Any], dtype: torch.dtype | None) -> Callable[..., Any]:
    """Return a model as a function that changes nothing: fixed weights, fresh copies of the buffers at each call."""
    if not isinstance(f, nn.Module):
        return f
    held = Held(f)
    weights = {name: _in(parameter.detach(), dtype) for name, parameter in held.named_parameters()}

    def call(*inputs: Any) -> Any:
        buffers = {name: _in(buffer.detach().clone(), dtype) for name, buffer in held.named_buffers()}
        return functional_call(held, {**weights, **buffers}, inputs)

    return call


def _in(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a floating tensor in a number format, if one is given."""
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


class Jacobian(Operator):
    """The ``m × n`` matrix of derivatives of a function at a point, where its output is `value`; see `jacobian`.

    `method` says how forward products are made, from the first on: ``"double backward"`` or ``"jvp"``. With a `dtype`
    the function is taken in that number format instead of its own.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        inputs: Sequence[Any],
        *,
        output: str | None,
        seed: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        inputs = [_in(x, dtype) if isinstance(x, Tensor) else x for x in inputs]
        self._floating = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.is_floating_point()]
        require_seed(seed)
        self._inputs, self._seed = list(inputs), seed
        point = [inputs[i].detach() for i in self._floating]
        if not point:
            kinds = ", ".join(str(x.dtype) if isinstance(x, Tensor) else type(x).__name__ for x in inputs)
            raise NotDifferentiable(
                f"no floating input to differentiate by (inputs: {kinds or 'none'}): "
                "take the part of the model after its embedding"
            )
        if any(x.numel() == 0 for x in point):
            raise NotDifferentiable(f"nothing to differentiate by{hint_of_empty(point)}")
        self.model, self._f, self._point, self._name = f, _pure(f, dtype), point, output
        self._format = dtype
        self._leaves = [x.clone().requires_grad_() for x in point]
        self._value, self._position = self._taped(lambda: self._started(self._leaves))
        self.value = self._value.detach()
        self.shape = (self.value.numel(), sum(x.numel() for x in point))
        self.dtype, self.device = self.value.dtype, self.value.device
        self.method = ""
        self._forward: Block | None = None
        self._chunk = max(1, min(CHUNK, MOST_NUMBERS // max(self.shape)))

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``J V``, by forward mode or the double-backward trick."""
        with self._own_backward():
            if self._forward is None:
                self._forward, self.method = self._prepared()
            return _finite(torch.cat([self._forward(part) for part in torch.split(V.T, self._chunk)])).T

    def _own_backward(self) -> AbstractContextManager[None]:
        """Say what hooks and backward functions of the user's raise, which run while products are made."""
        name = type(self.model).__name__ if isinstance(self.model, nn.Module) else "the function"
        return running(f"the derivative of {name}", self._inputs)

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``Jᵀ U``, by back-propagation."""
        with self._own_backward():
            parts = torch.split(U.T, self._chunk)
            return _finite(torch.cat([_pulled(self._value, self._leaves, part) for part in parts])).T

    def dense(self) -> Float[Tensor, "m n"]:
        """Form the matrix, by rows if they are fewer or columns cannot be had."""
        m, n = self.shape
        if n < m:
            try:
                return self.matmat(torch.eye(n, dtype=self.dtype, device=self.device))
            except NotDifferentiable:
                pass
        return self.rmatmat(torch.eye(m, dtype=self.dtype, device=self.device)).T

    @property
    def weights(self) -> int:
        """How many numbers the function holds, if it is a model."""
        return sum(p.numel() for p in self.model.parameters()) if isinstance(self.model, nn.Module) else 0

    def in_format(self, dtype: torch.dtype) -> Jacobian:
        """Return the same Jacobian with inputs, weights and new numbers in another format."""
        return Jacobian(self.model, self._inputs, output=self._name, seed=self._seed, dtype=dtype)

    def run(self) -> Any:
        """Call the function at the point."""
        return self._run(self._point)

    def _started(self, point: Sequence[Tensor]) -> tuple[Tensor, int]:
        """Return the output that gradients start from, which may be a tensor that the function holds, and its place."""
        result = self._run(point)
        return starting_point(result, self._name).clone(), starting_position(result, self._name)

    def _taped(self, work: Callable[[], Result]) -> Result:
        """Run with gradients, for a tape that is used when what the function wrote has been written back."""
        with restored(self.model, self._inputs) as before, torch.enable_grad():
            result = work()
            if not before.contents.written():
                return result
            before.restore()
            contents = before.contents
            with saved_tensors_hooks(lambda t: t.clone() if contents.written(t) else t, lambda t: t):
                return work()

    def _run(self, point: Sequence[Tensor]) -> Any:
        """Call the function at a point, with the same noise every time."""
        inputs = list(self._inputs)
        for i, x in zip(self._floating, point, strict=True):
            inputs[i] = x.clone()  # which the function may write into
        with same_noise(self._seed), run_once(), _new_numbers_in(self._format):
            return self._f(*inputs)

    def _evaluate(self, *point: Tensor) -> Tensor:
        """Return the chosen output at a point, which may carry tangents."""
        return leaf_at(self._run(point), self._name, self._position)

    def _prepared(self) -> tuple[Block, str]:
        """Choose how forward products are made: the first way that works and agrees with back-propagation."""
        reasons = []
        for way in (self._by_double_backward, self._by_jvp):
            try:
                block = way()
                agrees = self._agrees(block) or self._agrees_in_float64(way.__name__)
            except (RuntimeError, NotImplementedError) as error:
                reasons.append(str(error).splitlines()[0])
                continue
            if agrees:
                return block, way.__name__.removeprefix("_by_").replace("_", " ")
            reasons.append("forward derivatives contradict back-propagation")
        raise NotDifferentiable(f"no forward products, only those with the transpose: {reasons[0]}")

    def _agrees(self, block: Block) -> bool:
        """Check ``⟨u, J v⟩ = ⟨Jᵀ u, v⟩``: a custom operation without a forward derivative silently yields zero."""
        generator = torch.Generator().manual_seed(self._seed)
        u, v = (torch.randn(1, size, generator=generator).to(self.value) for size in self.shape)
        info = torch.finfo(self.dtype)
        for enlarged in (1.0, 2.0 ** (math.log2(info.max) // 2)):  # products must not lose digits to underflow
            pushed, pulled = block(enlarged * v), _finite(_pulled(self._value, self._leaves, enlarged * u))
            size = max(float(pushed.abs().max()), float(pulled.abs().max()))
            if size > info.smallest_normal / info.eps:
                break
        if size == 0.0:
            return True
        pushed, pulled, u, v = (t.double() for t in (pushed / size, pulled / size, u, v))
        scale = float(pushed.norm() * u.norm() + pulled.norm() * v.norm())
        difference = abs(float((u * pushed).sum() - (pulled * v).sum()))
        return bool(difference <= info.eps**0.5 * scale)

    def _agrees_in_float64(self, way: str) -> bool:
        """Tell whether rounding alone is why the two differ; a model that does not run in float64 tells nothing."""
        with suppress(Exception):
            if self.dtype != torch.float64:
                precise = self.in_format(torch.float64)
                return precise._agrees(getattr(precise, way)())
        return False

    def _by_jvp(self) -> Block:
        """Carry each column through the function by dual numbers."""

        def carried(row: Tensor) -> Tensor:
            with restored(self.model, self._inputs), traced_assignments(), plain_kernels(), without_torch_warnings():
                parts = torch.split(row, [x.numel() for x in self._point])
                tangents = tuple(part.reshape(x.shape) for part, x in zip(parts, self._point, strict=True))
                pushed: Tensor = torch.func.jvp(self._evaluate, tuple(self._point), tangents)[1]
            return pushed.flatten()

        return lambda rows: torch.stack([carried(row) for row in rows])

    def _by_double_backward(self) -> Block:
        """Differentiate the back-propagated gradient, which is linear in its cotangent, by that cotangent."""
        leaves = [x.clone().requires_grad_() for x in self._point]

        def pulled() -> tuple[Tensor, Tensor]:
            value = self._evaluate(*leaves)
            cotangent = torch.zeros_like(value, requires_grad=True)
            gradients = torch.autograd.grad(value, leaves, cotangent, create_graph=True, materialize_grads=True)
            return cotangent, torch.cat([gradient.flatten() for gradient in gradients])

        with plain_kernels():
            cotangent, flat = self._taped(pulled)
        if not flat.requires_grad:
            raise RuntimeError("the back-propagated gradient is not differentiable by its cotangent")
        return lambda rows: _pulled(flat, [cotangent], rows)


@contextmanager
def _new_numbers_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Let what a function makes have a number format, if one is given."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _finite(product: Tensor) -> Tensor:
    """Return a product, unless the derivative overflows or is undefined."""
    if not bool(torch.isfinite(product).all()):
        raise Diverged(
            "the derivative is not finite, though the output is: look for a root or logarithm of 0, or for an "
            "activation that overflows"
        )
    return product


def _pulled(end: Tensor, leaves: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Back-propagate flat cotangents: a few large ones by one, others at once where the operations allow it."""

    def back(cotangent: Tensor, *, batched: bool) -> Tensor:
        gradients = torch.autograd.grad(
            end, leaves, cotangent, retain_graph=True, is_grads_batched=batched, allow_unused=True
        )
        shapes = [(len(rows), x.numel()) if batched else (x.numel(),) for x in leaves]
        flat = [
            rows.new_zeros(shape) if gradient is None else gradient.reshape(shape)
            for gradient, shape in zip(gradients, shapes, strict=True)
        ]
        return torch.cat(flat, dim=-1)

    return _by_rows(
        lambda rows: back(rows.reshape(-1, *end.shape), batched=True),
        lambda row: back(row.reshape(end.shape), batched=False),
        rows,
    )


def batched(push: Block, rows: Tensor) -> Tensor:
    """Apply a linear function to each row, all at once where the operations allow it and it pays."""
    return _by_rows(torch.vmap(push, randomness="same"), push, rows)


def _by_rows(together: Block, alone: Block, rows: Tensor) -> Tensor:
    """Apply a function to all rows at once, unless that fails, or adds more to every operation than it saves."""
    with without_torch_warnings():
        if len(rows) > FEW or (len(rows) > 1 and rows.shape[1] < LARGE):
            with suppress(RuntimeError, NotImplementedError):
                return together(rows)
        return torch.stack([alone(row) for row in rows])
