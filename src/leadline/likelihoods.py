"""Distributions of one symbol given its logits: log-probability, probabilities, drawing from explicit uniforms.

Drawing works in float64 whatever the model's precision, row by row: the class drawn depends on its own logits and its
own uniform, never on what else is in the batch. A likelihood also says how a drawn class goes back into the model
(`encode`); for models that read integers that is the class itself.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from leadline.errors import Diverged, UsageError, near_misses


@runtime_checkable
class Likelihood(Protocol):
    """What training, scoring and sampling need to know about an output distribution."""

    @property
    def name(self) -> str:
        """The word that a `Specimen` calls this likelihood by."""

    @property
    def levels(self) -> int:
        """The number of classes; symbols are 0 to levels - 1."""

    @property
    def logit_axes(self) -> int:
        """The number of trailing output axes that hold one symbol's logits."""

    def fits(self, channels: tuple[int, ...]) -> bool:
        """Say whether trailing output axes of these sizes hold one symbol's logits."""

    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        """Return the log-probability of every symbol, in nats."""

    def draw(self, logits: Tensor, u: Tensor, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
        """Return the class whose step of the cumulative distribution holds `u`."""

    def encode(self, drawn: Tensor) -> Tensor:
        """Turn a drawn class into what the model reads."""


@dataclass(frozen=True)
class Categorical:
    """A softmax over `levels` classes; logits carry the classes on their last axis.

    Examples
    --------
    >>> coin = Categorical(levels=2)
    >>> coin.log_prob(torch.zeros(1, 2), torch.tensor([1]))
    tensor([-0.6931])
    >>> coin.draw(torch.zeros(3, 2), torch.tensor([0.1, 0.49, 0.5], dtype=torch.float64))
    tensor([0, 0, 1])
    """

    levels: int
    name: str = "categorical"
    logit_axes: int = 1

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise UsageError(f"a categorical likelihood needs at least 2 levels, got {self.levels}")

    def fits(self, channels: tuple[int, ...]) -> bool:
        """Say whether there is a logit for each class."""
        return channels == (self.levels,)

    def log_prob(self, logits: Float[Tensor, "*p v"], x: Int[Tensor, "*p"]) -> Float[Tensor, "*p"]:
        """Return ``log softmax(logits)[x]``, in nats per symbol and in the precision of the logits."""
        flat = cross_entropy(logits.reshape(-1, logits.shape[-1]), x.reshape(-1).long(), reduction="none")
        return -flat.reshape(x.shape)

    def probabilities(
        self, logits: Float[Tensor, "*p v"], temperature: float = 1.0, top_k: int | None = None
    ) -> Float[Tensor, "*p v"]:
        """Return the float64 distribution that `draw` uses.

        Parameters
        ----------
        logits
            Classes on the last axis.
        temperature
            The logits are divided by it; 0 is the limit, all mass on the largest logit (the first of equal ones).
        top_k
            Keep the k most probable classes only (of equal ones, the first), renormalised.

        Raises
        ------
        Diverged
            If a logit is not finite; the message holds its position.
        UsageError
            If the temperature is negative, ``top_k < 1``, or the number of classes is not `levels`.
        """
        _check(logits, temperature, top_k)
        if logits.shape[-1] != self.levels:
            raise UsageError(f"the model returns {logits.shape[-1]} classes on the last axis, not {self.levels}")
        logits = logits.double()
        kept = 1 if temperature == 0 else min(top_k or self.levels, self.levels)
        if kept < self.levels:
            order = logits.argsort(dim=-1, descending=True, stable=True)
            logits = logits.scatter(-1, order[..., kept:], -torch.inf)
        return (logits / (temperature or 1.0)).softmax(dim=-1)

    def draw(
        self, logits: Float[Tensor, "*p v"], u: Float[Tensor, "*p"], temperature: float = 1.0, top_k: int | None = None
    ) -> Int[Tensor, "*p"]:
        """Return ``min {c : F(c) > u}``, F being the cumulative distribution and `u` uniform on [0, 1).

        Raises what `probabilities` raises.
        """
        cumulative = self.probabilities(logits, temperature, top_k).cumsum(dim=-1)
        # Scaling by the last entry, and counting no further than its first occurrence, keeps rounding from drawing a
        # class of probability zero at either end.
        total = cumulative[..., -1:]
        target = u.double().unsqueeze(-1) * total
        return ((cumulative <= target) & (cumulative < total)).sum(dim=-1)

    def encode(self, drawn: Int[Tensor, "*p"]) -> Int[Tensor, "*p"]:
        """Return the class: the model reads integers."""
        return drawn


@dataclass(frozen=True)
class Bernoulli:
    """A coin per position: one logit each, without a class axis.

    Examples
    --------
    >>> Bernoulli().log_prob(torch.zeros(1), torch.tensor([1]))
    tensor([-0.6931])
    >>> Bernoulli().draw(torch.zeros(2), torch.tensor([0.4, 0.6], dtype=torch.float64))
    tensor([0, 1])
    """

    levels: int = 2
    name: str = "bernoulli"
    logit_axes: int = 0

    def fits(self, channels: tuple[int, ...]) -> bool:
        """Say whether there is one logit, without an axis."""
        return channels == ()

    def log_prob(self, logits: Float[Tensor, "*p"], x: Int[Tensor, "*p"]) -> Float[Tensor, "*p"]:
        """Return ``x log σ(logit) + (1 - x) log σ(-logit)``, in nats per symbol."""
        return -binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none")

    def probabilities(
        self, logits: Float[Tensor, "*p"], temperature: float = 1.0, top_k: int | None = None
    ) -> Float[Tensor, "*p 2"]:
        """Return the float64 probabilities of 0 and 1 on a new last axis; arguments and errors as in `Categorical`."""
        return Categorical(2).probabilities(self._pair(logits), temperature, top_k)

    def draw(
        self, logits: Float[Tensor, "*p"], u: Float[Tensor, "*p"], temperature: float = 1.0, top_k: int | None = None
    ) -> Int[Tensor, "*p"]:
        """Return 1 where `u` is at or above the probability of 0; arguments and errors as in `Categorical`."""
        return Categorical(2).draw(self._pair(logits), u, temperature, top_k)

    def encode(self, drawn: Int[Tensor, "*p"]) -> Int[Tensor, "*p"]:
        """Return the class: the model reads integers."""
        return drawn

    @staticmethod
    def _pair(logits: Float[Tensor, "*p"]) -> Float[Tensor, "*p 2"]:
        return torch.stack([torch.zeros_like(logits), logits], dim=-1)


@dataclass(frozen=True)
class Logistics:
    """A mixture of logistic distributions over `levels` ordered classes, cut into the steps between them.

    The last axis of the logits holds, for m components, m logits of their weights, m means and m logarithms of their
    scales. Classes lie evenly on [-1, 1]; each takes the mass around it, half a step to either side, the first and the
    last one what lies beyond, too. The mass of a step is computed as ``σ(a) σ(-b) (1 - exp(b - a))``, which is exact
    where the difference ``σ(a) - σ(b)`` would vanish.

    Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++", 2017.

    Examples
    --------
    >>> narrow = torch.tensor([[0.0, -1.0, -9.0]])  # all mass at the first class
    >>> Logistics(levels=5).log_prob(narrow, torch.tensor([0])).abs() < 1e-6
    tensor([True])
    >>> Logistics(levels=5).probabilities(torch.randn(3, 6)).sum(-1)
    tensor([1.0000, 1.0000, 1.0000], dtype=torch.float64)
    """

    levels: int
    name: str = "logistics"
    logit_axes: int = 1

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise UsageError(f"a mixture of logistics needs at least 2 levels, got {self.levels}")

    def fits(self, channels: tuple[int, ...]) -> bool:
        """Say whether there are three numbers for each component."""
        return len(channels) == 1 and channels[0] > 0 and channels[0] % 3 == 0

    def log_prob(self, logits: Float[Tensor, "*p m3"], x: Int[Tensor, "*p"]) -> Float[Tensor, "*p"]:
        """Return the log-probability of classes, in nats per symbol and in the precision of the logits."""
        weights, means, scales = logits.unflatten(-1, (3, -1)).unbind(-2)
        return torch.logsumexp(weights.log_softmax(-1) + self.of_each(means, scales, x), dim=-1)

    def of_each(
        self, means: Float[Tensor, "*p m"], scales: Float[Tensor, "*p m"], x: Int[Tensor, "*p"]
    ) -> Float[Tensor, "*p m"]:
        """Return the log-probability that each component alone gives to classes; `scales` are logarithms.

        The scale of a component is at least a thirtieth of a step: a narrower one is a point among these classes.
        """
        inverse, off = self._inverse(scales), x.to(means.dtype).unsqueeze(-1) - self._in_steps(means)
        first, last = (x == 0).unsqueeze(-1), (x == self.levels - 1).unsqueeze(-1)
        below = logsigmoid((off + 0.5) * inverse).masked_fill(last, 0.0)
        above = logsigmoid((0.5 - off) * inverse).masked_fill(first, 0.0)
        within = torch.log(-torch.expm1(-inverse)).masked_fill(first | last, 0.0)
        return below + above + within

    def _inverse(self, scales: Tensor) -> Tensor:
        """Return how many scales a step between classes is, at most 30."""
        step = 2 / (self.levels - 1)
        return step * torch.exp(-scales.clamp(min=math.log(step / 30)))

    def _in_steps(self, means: Tensor) -> Tensor:
        """Return means as classes, between which they may lie.

        So the difference to a class is exact near it, where in float32 a place on [-1, 1] is known to a part of a step.
        """
        return (means + 1) * ((self.levels - 1) / 2)

    def on_the_line(self, x: Int[Tensor, "*p"], dtype: torch.dtype) -> Float[Tensor, "*p"]:
        """Return where classes lie on [-1, 1]."""
        return x.to(dtype) * (2 / (self.levels - 1)) - 1

    def probabilities(
        self, logits: Float[Tensor, "*p m3"], temperature: float = 1.0, top_k: int | None = None
    ) -> Float[Tensor, "*p v"]:
        """Return the float64 probabilities of all classes; arguments and errors as in `Categorical`."""
        return Categorical(self.levels).probabilities(self._classes(logits, temperature, top_k), temperature, top_k)

    def draw(
        self, logits: Float[Tensor, "*p m3"], u: Float[Tensor, "*p"], temperature: float = 1.0, top_k: int | None = None
    ) -> Int[Tensor, "*p"]:
        """Return the class whose step of the cumulative distribution holds `u`; errors as in `Categorical`.

        At a temperature of 1 the distribution function is known, and is asked in two rounds of about √levels classes.
        """
        if temperature != 1 or top_k is not None:
            return Categorical(self.levels).draw(self._classes(logits, temperature, top_k), u, temperature, top_k)
        self._check(logits, temperature, top_k)
        shares, means, scales = logits.double().unflatten(-1, (3, -1)).unbind(-2)
        parts = shares.softmax(-1), self._in_steps(means), self._inverse(scales)
        width = math.isqrt(self.levels - 1) + 1
        ends = torch.arange(width - 1, self.levels + width - 1, width, device=logits.device).clamp(max=self.levels - 1)
        first = width * self._passed(parts, ends.expand(*u.shape, -1), u)
        inside = first.unsqueeze(-1) + torch.arange(width, device=logits.device)
        return first + self._passed(parts, inside.clamp(max=self.levels - 1), u)

    def _passed(
        self, parts: tuple[Tensor, Tensor, Tensor], x: Int[Tensor, "*p n"], u: Float[Tensor, "*p"]
    ) -> Int[Tensor, "*p"]:
        """Return at how many of some growing classes the cumulative distribution is not above `u`.

        As in `Categorical`, rounding draws no class of probability zero.
        """
        shares, means, inverse = (part.unsqueeze(-2) for part in parts)
        up_to = torch.sigmoid((x.unsqueeze(-1) + 0.5 - means) * inverse)
        up_to = up_to.masked_fill((x == self.levels - 1).unsqueeze(-1), 1.0)
        cumulative, total = (shares * up_to).sum(-1), shares.sum(-1)
        return ((cumulative <= u.double().unsqueeze(-1) * total) & (cumulative < total)).sum(-1)

    def encode(self, drawn: Int[Tensor, "*p"]) -> Int[Tensor, "*p"]:
        """Return the class: the model reads integers."""
        return drawn

    def _classes(self, logits: Float[Tensor, "*p m3"], temperature: float, top_k: int | None) -> Float[Tensor, "*p v"]:
        """Return the log-probabilities of all classes, in float64."""
        self._check(logits, temperature, top_k)
        x = torch.arange(self.levels, device=logits.device).expand(*logits.shape[:-1], self.levels)
        return self.log_prob(logits.double().unsqueeze(-2).expand(*x.shape, -1), x)

    def _check(self, logits: Float[Tensor, "*p m3"], temperature: float, top_k: int | None) -> None:
        _check(logits, temperature, top_k)
        if not self.fits(tuple(logits.shape[-1:])):
            raise UsageError(f"a mixture of logistics has three numbers a component, not {logits.shape[-1]} in all")


def likelihood(name: str, levels: int) -> Likelihood:
    """Return the likelihood that a `Specimen` names, over symbols of `levels` classes.

    Raises
    ------
    UsageError
        If the name is unknown, or a Bernoulli model meets data of more than two levels.

    Examples
    --------
    >>> likelihood("categorical", 17)
    Categorical(levels=17, name='categorical', logit_axes=1)
    """
    if name == "categorical":
        return Categorical(levels)
    if name == "logistics":
        return Logistics(levels)
    if name != "bernoulli":
        raise UsageError(f"unknown likelihood {name!r}; {near_misses(name, ['categorical', 'logistics', 'bernoulli'])}")
    if levels != 2:
        raise UsageError(
            f"a Bernoulli model describes two levels and the data has {levels}; "
            "binarise it (binarise=fixed or binarise=dynamic), or use a categorical model"
        )
    return Bernoulli()


def check_drawing(temperature: float, top_k: int | None) -> None:
    """Refuse, by a `UsageError`, what no symbol can be drawn with."""
    if not 0 <= temperature < math.inf:
        raise UsageError(f"the temperature must be at least 0 and finite, got {temperature}")
    if top_k is not None and top_k < 1:
        raise UsageError(f"top_k must be at least 1, got {top_k}")


def _check(logits: Float[Tensor, "..."], temperature: float, top_k: int | None) -> None:
    check_drawing(temperature, top_k)
    finite: Bool[Tensor, ...] = torch.isfinite(logits)
    if not finite.all():
        place = tuple((~finite).nonzero()[0].tolist())
        raise Diverged(f"the logit at {place} of {tuple(logits.shape)} is {logits[place].item()}, not a finite number")
