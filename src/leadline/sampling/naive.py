"""The naive sampler: a full forward pass for every position. Slow and plainly right: the oracle of all others.

Samples are drawn from uniforms; each sample has its own stream of them, whatever the batch it is drawn in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from leadline.domains.arguments import public, whole
from leadline.errors import Diverged, ModelError, UsageError
from leadline.graph.given import refuse_unusable
from leadline.graph.layout import Layout, Order
from leadline.graph.restoring.undisturbed import evaluating, restored
from leadline.graph.sparse import refuse_all_but_dense
from leadline.graph.user_code import running
from leadline.likelihoods import Likelihood
from leadline.sampling.ahead import Logits, log_prob, refuse_changed, refuse_seen_ahead
from leadline.sampling.uniform_rows import uniform_rows


def uniforms(seed: int, n: int, positions: int, first: int = 0) -> Float[Tensor, "n p"]:
    """Return float64 numbers in [0, 1): row i is the beginning of the stream of sample ``first + i`` under `seed`.

    Entry r of a row decides the symbol of rank r in the generation order, so a longer sample begins like a shorter one.

    Examples
    --------
    >>> alone, among = uniforms(0, 1, 3, first=2), uniforms(0, 4, 5)
    >>> torch.equal(alone[0], among[2, :3])
    True
    """
    if not (whole(seed) and whole(first) and seed >= 0 and first >= 0):
        raise UsageError(f"seed and number of a sample are whole numbers from 0 on, got {seed!r} and {first!r}")
    return torch.from_numpy(uniform_rows(seed, n, positions, first))


@torch.no_grad()
@public("naive_sample")
def naive_sample(
    model: nn.Module,
    *inputs: Tensor,
    layout: Layout | str,
    likelihood: Likelihood,
    n: int = 1,
    seed: int = 0,
    uniforms: Float[Tensor, "n p"] | None = None,
    length: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    given: Int[Tensor, "g ..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    order: Order = None,
    lag: int = 1,
    encode: Callable[[Tensor], Tensor] | None = None,
) -> Int[Tensor, "n ..."]:
    """Draw n samples, symbol after symbol in the order of the positions.

    Parameters
    ----------
    model, inputs
        The model and example inputs: of the one that is drawn, only sizes and dtype count; conditioning (``_`` in the
        layout) is used as it is, for n samples or for one that serves all.
    layout, order
        The axes, ``"b h w -> b h w v"``, and the generation order over position axes, ``"h w"``; None: as they stand.
    likelihood
        The distribution that the output describes.
    n, seed, uniforms
        How many samples. Sample i is drawn from its own uniforms under `seed`, so it does not depend on the batch; or
        from row i of `uniforms`, one entry per position in the order.
    length
        The size of the first position axis, where it is not that of the example.
    temperature, top_k
        As in `leadline.likelihoods.Categorical.probabilities`.
    given, mask
        Symbols to complete, ``(n or 1, *positions)``, kept where `mask` (``(*positions)``, or with a batch axis) is
        True. Without a mask all of `given` is kept; it may then be shorter than the sample along the first position
        axis.
    lag
        1: the output at a position is that symbol's distribution. 0: that of the next one in the order; the first one
        must then be given.
    encode
        From drawn symbols ``(n, *positions)`` to what the model reads, features last; the likelihood's unless given.

    Returns
    -------
    Symbols, ``(n, *positions)``, int64.

    Raises
    ------
    UsageError
        If `given`, `mask` or `uniforms` have the wrong shape, a given symbol does not exist, or n is less than 1.
    ModelError
        If the output does not fit the layout.
    NotCausal
        If an output changes with a symbol that comes later in the order, as perturbations find: nothing is drawn.
    Diverged
        If a logit is not finite; the message names the position.

    Examples
    --------
    >>> from leadline.likelihoods import Categorical
    >>> from leadline.zoo import build
    >>> specimen = build("wavenet", classes=4, layers=2, length=6)
    >>> how = {"layout": specimen.layout, "likelihood": Categorical(4)}
    >>> two = naive_sample(specimen.model, *specimen.inputs, n=2, **how)
    >>> torch.equal(naive_sample(specimen.model, *specimen.inputs, n=1, **how)[0], two[0])
    True
    """
    if n < 1:
        raise UsageError(f"the number of samples must be at least 1, got {n}")
    refuse_unusable(inputs)
    for i, tensor in enumerate(inputs):
        if not isinstance(tensor, Tensor):
            raise UsageError(f"sampling takes tensors by place; input {i} is a {type(tensor).__name__}")
        refuse_all_but_dense(f"input {i}", tensor)
    axes = _Axes.of(layout, inputs, likelihood)
    shape = axes.shape(length)
    ranks = axes.layout.ranks(dict(zip(axes.layout.positions, shape, strict=True)), order).flatten()
    u = _checked_uniforms(uniforms, seed, n, len(ranks))
    symbols, kept = _start(given, mask, n, shape, likelihood.levels)
    flat, kept = symbols.view(n, -1), kept.view(n, -1)
    into = encode or likelihood.encode
    before: int | None = None
    asked = False
    drawn_from: dict[int, tuple[int, Tensor]] = {}
    with running(type(model).__name__, inputs), restored(model, inputs), evaluating(model):
        for rank, place in enumerate(ranks.argsort().tolist()):
            read = place if lag == 1 else before
            before = place
            if kept[:, place].all():
                continue
            if read is None:
                raise UsageError("a model of lag 0 has no distribution of the first symbol: give it (given=)")
            logits = axes.logits(model, into(symbols), n)[:, read]
            try:
                drawn = likelihood.draw(logits, u[:, rank], temperature, top_k)
            except Diverged as error:
                index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), shape))
                raise Diverged(f"the symbol at position {index} cannot be drawn: {error}") from error
            if not asked:  # of a model that has been found to draw such symbols, before any is given away
                asked = True
                refuse_seen_ahead(axes.one().reading(model, into), shape, ranks, likelihood.levels, lag)
            flat[:, place] = torch.where(kept[:, place], flat[:, place], drawn)
            drawn_from[place] = read, log_prob(likelihood, logits, flat[:, place])
        if drawn_from:
            refuse_changed(axes.reading(model, into)(symbols), drawn_from, flat, kept, likelihood)
    return symbols


@dataclass(frozen=True)
class _Axes:
    """Bring what is drawn into the model's axes, and its output into ``(n, positions, channels)``."""

    layout: Layout
    inputs: tuple[Tensor, ...]
    drawn: int

    @classmethod
    def of(cls, layout: Layout | str, inputs: Sequence[Tensor], likelihood: Likelihood) -> _Axes:
        parsed = Layout.parse(layout) if isinstance(layout, str) else layout
        names = [f"input {i}" for i in range(len(inputs))]
        parsed = parsed.named(names, ["output"])
        parsed.fit({name: tensor.shape for name, tensor in zip(names, inputs, strict=True)})
        visible = [i for i, name in enumerate(names) if parsed.inputs[name] is not None]
        if len(visible) != 1 or not parsed.positions:
            raise UsageError(f"sampling draws one input with positions; the layout '{parsed}' has another form")
        channels = len(parsed.channels("output"))
        if channels != likelihood.logit_axes:
            raise ModelError(
                f"a {likelihood.name} likelihood reads {likelihood.logit_axes} output axes beside the positions; "
                f"the layout '{parsed}' has {channels}"
            )
        return cls(parsed, tuple(inputs), visible[0])

    def shape(self, length: int | None) -> tuple[int, ...]:
        """Return the sizes of the position axes."""
        name = list(self.layout.inputs)[self.drawn]
        sizes = dict(zip(self.layout.inputs[name] or (), self.inputs[self.drawn].shape, strict=True))
        shape = tuple(int(sizes[axis]) for axis in self.layout.positions)
        return shape if length is None else (length, *shape[1:])

    def one(self) -> _Axes:
        """Return the same with conditioning for one sample."""
        return replace(self, inputs=tuple(t if i == self.drawn else t[:1] for i, t in enumerate(self.inputs)))

    def reading(self, model: nn.Module, encode: Callable[[Tensor], Tensor]) -> Logits:
        """Return the function from symbols to the model's output."""
        return lambda symbols: self.logits(model, encode(symbols), len(symbols))

    def logits(self, model: nn.Module, encoded: Tensor, n: int) -> Tensor:
        """Run the model on ``(n, *positions, *features)`` and return ``(n, positions, *channels)``."""
        name = list(self.layout.inputs)[self.drawn]
        plain = ("b", *self.layout.positions, *self.layout.features(name))
        wanted, given = self.layout.inputs[name] or (), self.layout.outputs["output"]
        example = self.inputs[self.drawn]
        moved = encoded.permute([plain.index(axis) for axis in wanted]).to(example.device, example.dtype)
        arguments = [moved if i == self.drawn else _expanded(tensor, n) for i, tensor in enumerate(self.inputs)]
        result = model(*arguments)
        if not isinstance(result, Tensor) or result.ndim != len(given):
            found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ModelError(f"the model returned {found} where the layout '{self.layout}' means one tensor {given}")
        order = ("b", *self.layout.positions, *self.layout.channels("output"))
        return result.permute([given.index(axis) for axis in order]).flatten(1, len(self.layout.positions)).cpu()


def _expanded(tensor: Tensor, n: int) -> Tensor:
    """Repeat conditioning for n samples, if it is for one; raises `UsageError` if it is for another number."""
    if len(tensor) not in (1, n):
        raise UsageError(
            f"the conditioning is for {len(tensor)} samples where {n} are drawn; give it for {n}, or for 1"
        )
    return tensor.expand(n, *tensor.shape[1:])


def _checked_uniforms(u: Tensor | None, seed: int, n: int, positions: int) -> Float[Tensor, "n p"]:
    if u is None:
        return uniforms(seed, n, positions)
    if u.shape != (n, positions):
        raise UsageError(
            f"uniforms has shape {tuple(u.shape)}; {n} samples of {positions} symbols need {(n, positions)}"
        )
    if not ((u >= 0) & (u < 1)).all():
        raise UsageError("uniforms must lie in [0, 1)")
    return u.cpu()


def _start(
    given: Tensor | None, mask: Tensor | None, n: int, shape: tuple[int, ...], levels: int
) -> tuple[Int[Tensor, "n ..."], Bool[Tensor, "n ..."]]:
    """Return the symbols to begin with, and which of them are kept."""
    symbols, kept = torch.zeros(n, *shape, dtype=torch.int64), torch.zeros(n, *shape, dtype=torch.bool)
    if given is None:
        if mask is not None:
            raise UsageError("a mask says which of the given symbols are kept: give them (given=)")
        return symbols, kept
    whole = given.shape[1:] == shape
    begins = (
        mask is None and given.ndim == 1 + len(shape) and given.shape[2:] == shape[1:] and given.shape[1] <= shape[0]
    )
    if given.shape[:1] not in ((1,), (n,)) or not (whole or begins):
        raise UsageError(f"given has shape {tuple(given.shape)}; {n} samples need {(n, *shape)} or {(1, *shape)}")
    if mask is not None and mask.shape not in (shape, given.shape, (n, *shape)):
        raise UsageError(f"mask has shape {tuple(mask.shape)}; it needs {shape}, or {(n, *shape)}")
    end = given.shape[1]
    symbols[:, :end] = given.cpu()
    kept[:, :end] = True if mask is None else mask.cpu()
    symbols *= kept
    if symbols.min() < 0 or symbols.max() >= levels:
        raise UsageError(f"given holds symbols outside 0 to {levels - 1}")
    return symbols, kept
