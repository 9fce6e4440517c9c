"""What `gradient_numbers.py` measures: random networks at initialisation, each figure over several seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.jacobian import gradient, lyapunov
from leadline.jacobian._lyapunov import averaged, exponents_through
from leadline.jacobian.theory.gates import lstm_step
from leadline.jacobian.theory.quadrature import normal_mean
from leadline.results import Estimate
from leadline.zoo.batchnorm import BatchNormConfig, BatchNormNet
from leadline.zoo.mlp import MLP, MLPConfig
from leadline.zoo.settings import Activation

Phi = Callable[[Tensor], Tensor]


def mean_of(samples: Iterable[float]) -> Estimate:
    """Return the mean with its standard error."""
    values = np.array(list(samples))
    return Estimate.of(values, 0)


def in_the_limit(sizes: Sequence[int], measure: Callable[[int], Estimate], power: float) -> Estimate:
    """Extrapolate a measurement to infinite size, linearly in ``size^-power``, with its standard error."""
    found = [measure(size) for size in sizes]
    design = np.array([[1.0, size**-power] for size in sizes])
    weights = np.array([1 / estimate.sem**2 for estimate in found])
    covariance = np.linalg.inv(design.T * weights @ design)
    fitted = covariance @ (design.T * weights) @ np.array([estimate.value for estimate in found])
    return Estimate(float(fitted[0]), math.sqrt(covariance[0, 0]), sum(e.n for e in found), 0)


def squares_along(net: Callable[[Tensor], list[Tensor]], x: Tensor) -> list[float]:
    """Return squared gradient norms at all states of a network, from a random cotangent at its output."""
    states = net(x.requires_grad_())
    gradients = torch.autograd.grad(states[-1], states, torch.randn_like(states[-1]))
    return [float(g.double().square().sum()) for g in gradients]


def normalised_growth(phi: Phi, width: int, batch: int, seeds: int, depth: int = 40) -> Estimate:
    """Return the growth per layer of squared gradients through ``x ↦ BN(W φ(x))``, ends left out."""

    def states(x: Tensor) -> list[Tensor]:
        found = [x]
        for _ in range(depth):
            mixed = phi(found[-1]) @ torch.randn(width, width) / width**0.5
            found.append(nn.functional.batch_norm(mixed, None, None, training=True, eps=1e-10))
        return found

    rates = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        squares = squares_along(states, torch.randn(batch, width))
        rates.append((math.log(squares[10]) - math.log(squares[depth - 5])) / (depth - 15))
    rate = mean_of(rates)
    return Estimate(math.exp(rate.value), math.exp(rate.value) * rate.sem, rate.n, rate.seed)


def placed(placement: str, width: int, batch: int, depth: int, seeds: int) -> tuple[Estimate, Estimate]:
    """Return the gradient norm at the input and the growth of its square per layer, for one placement of BN."""
    norms, rates = [], []
    for seed in range(seeds):
        torch.manual_seed(seed)
        # placements come from the table as words, which the configuration checks
        model = BatchNormNet(BatchNormConfig(depth, width, placement))  # type: ignore[arg-type]  # one of its words

        def states(x: Tensor, model: BatchNormNet = model) -> list[Tensor]:
            found = [x]
            for layer in model.layers:
                found.append(layer(found[-1]))
            return found

        squares = squares_along(states, torch.randn(batch, width))
        norms.append(math.sqrt(squares[0] / squares[-1]))
        rates.append((math.log(squares[5]) - math.log(squares[depth - 5])) / (depth - 10))
    rate = mean_of(rates)
    return mean_of(norms), Estimate(math.exp(rate.value), math.exp(rate.value) * rate.sem, rate.n, rate.seed)


def plain_residual(width: int, depth: int, seeds: int) -> Estimate:
    """Return the growth per layer of squared gradients through ``x ↦ x + W relu(x)``, W after He."""
    rates = []
    for seed in range(seeds):
        torch.manual_seed(seed)

        def states(x: Tensor) -> list[Tensor]:
            found = [x]
            for _ in range(depth):
                found.append(found[-1] + torch.relu(found[-1]) @ torch.randn(width, width) * (2 / width) ** 0.5)
            return found

        squares = squares_along(states, torch.randn(64, width))
        rates.append((squares[0] / squares[-1]) ** (1 / depth))
    return mean_of(rates)


def stream_variance(layer: int, width: int, batch: int, seeds: int) -> Estimate:
    """Return the variance of the stream after so many layers of ``x + BN(f(x))``."""
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        with torch.no_grad():
            out = BatchNormNet(BatchNormConfig(layer, width, "branch"))(torch.randn(batch, width))
        found.append(float(out.var()))
    return mean_of(found)


def product_squares(n: int, depth: int, draws: int, *, orthogonal: bool = False) -> list[Tensor]:
    """Return the squared singular values of products of `depth` random matrices, Gaussian of variance 1/n."""
    generator = torch.Generator().manual_seed(n)
    found = []
    for _ in range(draws):
        J = torch.eye(n, dtype=torch.float64)
        for _ in range(depth):
            W = torch.randn(n, n, generator=generator, dtype=torch.float64) / math.sqrt(n)
            J = (torch.linalg.qr(W).Q if orthogonal else W) @ J
        found.append(torch.linalg.svdvals(J) ** 2)
    return found


def tanh_squares(n: int, depth: int, draws: int, point: tuple[float, float], *, orthogonal: bool) -> list[Tensor]:
    """Return those of the Jacobian of a tanh network whose variance stays at its fixed point ``(σ_w², q)``."""
    (variance, q), init = point, "orthogonal" if orthogonal else "gaussian"
    bias = q - variance * normal_mean(lambda u: torch.tanh(u) ** 2, q)
    # mypy widens the chosen literal to a string
    config = MLPConfig(layers=depth, width=n, sigma_w=math.sqrt(variance), sigma_b=math.sqrt(bias), init=init)  # type: ignore[arg-type]  # a word
    found = []
    for seed in range(draws):
        torch.manual_seed(seed)
        model = MLP(config).double()
        x = torch.tanh(math.sqrt(q) * torch.randn(n, dtype=torch.float64))
        with torch.no_grad():
            J = torch.eye(n, dtype=torch.float64)
            for layer in model.layers:
                x = layer(x)
                J = (1 - x**2)[:, None] * (layer.linear.weight @ J)
        found.append(torch.linalg.svdvals(J) ** 2)
    return found


def wide_chi(activation: Activation, weight_variance: float, bias_variance: float, q: float, seeds: int) -> Estimate:
    """Return χ₁ as `leadline.gradient` measures it, inputs at the fixed point q so that there is no transient."""
    width = 1000
    config = MLPConfig(30, width, activation, sigma_w=math.sqrt(weight_variance), sigma_b=math.sqrt(bias_variance))
    scale = math.sqrt((q - bias_variance) / weight_variance)
    rates = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        rates.append(gradient(MLP(config), scale * torch.randn(1, width), probes=2, seed=seed).rate.value)
    rate = mean_of(rates)
    return Estimate(math.exp(2 * rate.value), 2 * math.exp(2 * rate.value) * rate.sem, rate.n, rate.seed)


def newman(n: int, steps: int) -> tuple[Estimate, ...]:
    """Return the exponents of a product of Gaussian matrices of variance 1/n."""
    generator = torch.Generator().manual_seed(0)

    def factor() -> Callable[[Tensor], Tensor]:
        A = torch.randn(n, n, generator=generator, dtype=torch.float64) / math.sqrt(n)
        return lambda Q: A @ Q

    return averaged(exponents_through((factor() for _ in range(steps)), torch.eye(n).double()), None, 0).exponents


def chaotic_rnn(gain: float, nets: int, width: int = 500, steps: int = 1200) -> Estimate:
    """Return the largest exponent of autonomous tanh networks ``x ↦ W tanh(x)``, over several of them."""
    rates = []
    for seed in range(nets):
        generator = torch.Generator().manual_seed(seed)
        W = gain * torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
        x = torch.randn(width, generator=generator, dtype=torch.float64)
        found = lyapunov(lambda x, W=W: W @ torch.tanh(x), x, steps=steps, k=1, transient=200)
        rates.append(found.largest.value)
    return mean_of(rates)


def idle_lstm(forget_bias: float) -> tuple[list[float], float]:
    """Return the exponents of an LSTM of 3 units without weights, and the norm of one of its steps."""
    cell, k = nn.LSTMCell(1, 3).double(), 3
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.bias_hh.data[k : 2 * k] = forget_bias
    zero = torch.zeros(k, dtype=torch.float64)
    state: Any = (zero[None], zero[None])
    found = lyapunov(cell, state, inputs=[torch.zeros(1, 1, dtype=torch.float64)] * 40).exponents
    norm = torch.linalg.svdvals(lstm_step(cell, zero[:1], zero, zero).jacobian)[0].item()
    return [exponent.value for exponent in found], norm
