"""A8: published numbers that the gradient engine must reproduce."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.claims.algebra import eye, normal, singular_values
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, measured
from leadline.claims.counterexample import Counterexample
from leadline.document import Curve
from leadline.errors import SEEDS
from leadline.jacobian._gradient import gradient
from leadline.jacobian._lyapunov import averaged, exponents_through, lyapunov
from leadline.jacobian._spectrum import spectrum
from leadline.jacobian.theory import mean_field
from leadline.results import Estimate
from leadline.zoo.mlp import MLP, MLPConfig


@dataclass(frozen=True)
class KnownNumbers:
    """How the linear network is drawn, and the variance of the biases of the tanh network."""

    linear: Literal["orthogonal", "gaussian"] = "orthogonal"
    bias_variance: float = 0.05


def settle(of: KnownNumbers, effort: Effort) -> Evidence:
    """Compute each number by theory or by measurement, and compare with what was published."""
    ordered, growth = _ordered_phase(of, effort)
    forgetting, exponent = _recurrent(effort)
    newman, spectrum_found = _newman(effort)
    spread, variances = _pennington(effort)
    return Evidence(
        claimed=(_isometry(of, effort), _phases(of), ordered, spread, newman, forgetting, *_lstm()),
        quantities=(
            measured("ln χ₁ per layer, measured at σ_w² = 1.3", growth),
            measured("largest Lyapunov exponent of a tanh RNN, g = 2", exponent),
            *(measured(f"variance of squared singular values, {name}", found) for name, found in variances.items()),
        ),
        picture=_picture(spectrum_found),
    )


def _isometry(of: KnownNumbers, effort: Effort) -> Outcome:
    """Saxe, McClelland and Ganguli (2014)."""
    statement = "a deep orthogonal linear network has all singular values 1"
    net = MLP(MLPConfig(layers=20, width=48, activation="identity", init=of.linear)).double()
    x = normal(effort.generator(), 1, 48)
    values = spectrum(net, x, k=48).values
    gap = float((values - 1).abs().max())
    holds = gap < 1e-5  # the zoo draws its weights in single precision
    case = None if holds else Counterexample(statement, {"seed": effort.seed}, {"values": values.numpy()})
    return Outcome(statement, holds, Grounds.MEASURED, f"20 layers of width 48: off by {gap:.2g}", case)


def _phases(of: KnownNumbers) -> Outcome:
    """Schoenholz, Gilmer, Ganguli and Sohl-Dickstein (2017), figures to as many places as published or derived."""
    statement = (
        "tanh, σ_b² = 0.05: σ_w² = 1.7610, q* = 0.5700 is critical; ξ = 7.834 at 1.3; c* = 0.447, ξ_c = 11.80 at 2.5"
    )
    critical, q = mean_field.critical_point(torch.tanh, of.bias_variance)
    low, high = (mean_field.fixed_point(torch.tanh, variance, of.bias_variance) for variance in (1.3, 2.5))
    pairs = {
        "critical σ_w²": (critical, 1.7610, 4),
        "q*": (q, 0.5700, 4),
        "χ₁ at 1.3": (low.chi, 0.8802, 4),
        "ξ at 1.3": (low.depth_scale, 7.834, 3),
        "χ₁ at 2.5": (high.chi, 1.1335, 4),
        "c* at 2.5": (high.c, 0.447, 3),
        "ξ_c at 2.5": (high.depth_scale, 11.80, 2),
    }
    wrong = {name: found for name, (found, known, places) in pairs.items() if abs(found - known) > 0.51 * 10**-places}
    evidence = ", ".join(f"{name} = {found:.5g}" for name, (found, _, _) in pairs.items())
    case = Counterexample(statement, dict(wrong)) if wrong else None
    return Outcome(statement, not wrong, Grounds.EXHAUSTIVE, evidence, case)


def _ordered_phase(of: KnownNumbers, effort: Effort) -> tuple[Outcome, Estimate]:
    """Measure the growth of gradients in the ordered phase."""
    width, nets = effort.pick(200, 1000), effort.pick(3, 10)
    point = mean_field.fixed_point(torch.tanh, 1.3, of.bias_variance)
    chi, scale = point.chi, math.sqrt((point.q - of.bias_variance) / 1.3)  # inputs at the fixed point: no transient
    statement = f"gradients shrink by ½ ln χ₁ = {math.log(chi) / 2:.4f} a layer in the ordered phase"
    config = MLPConfig(layers=30, width=width, sigma_w=math.sqrt(1.3), sigma_b=math.sqrt(of.bias_variance))
    rates = []
    for seed in range(nets):
        torch.manual_seed((effort.seed + seed) % SEEDS)
        rates.append(gradient(MLP(config), scale * torch.randn(1, width), probes=2, seed=seed).rate.value)
    growth = Estimate.of([2 * rate for rate in rates], effort.seed)
    holds = abs(growth.value - math.log(chi)) <= 3 * growth.sem + 2 / width
    case = None if holds else Counterexample(statement, {"ln χ₁": math.log(chi), "measured": growth.value})
    evidence = f"ln χ₁ measured {growth} over {nets} networks of width {width}, by theory {math.log(chi):.4f}"
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case), growth


def _pennington(effort: Effort) -> tuple[Outcome, dict[str, Estimate]]:
    """Pennington, Schoenholz and Ganguli (2017): products of W D at a fixed point, W Gaussian or orthogonal."""
    statement = "squared singular values vary by (σ_w² μ₁)^(2L) L (μ₂/μ₁² - 1 - s₁), s₁ = 0 orthogonal, -1 Gaussian"
    width, draws, depth = effort.pick(100, 400), effort.pick(8, 30), 4
    point = mean_field.critical_point(torch.tanh, 0.05)
    found, gaps = dict[str, Estimate](), []
    for name, orthogonal, phi, (variance, q) in (
        ("linear, Gaussian", False, lambda x: x, (1.0, 1.0)),
        ("tanh, Gaussian", False, torch.tanh, point),
        ("tanh, orthogonal", True, torch.tanh, point),
    ):
        generator = effort.generator()
        law = (width, depth, variance, q, orthogonal, name.startswith("tanh"))
        found[name] = Estimate.of([float(_squares(*law, generator).var()) for _ in range(draws)], effort.seed)
        theory = mean_field.squared_value_variance(phi, variance, q, depth, orthogonal=orthogonal)
        gaps.append(abs(found[name].value - theory) - 4 * found[name].sem - 4 * theory / width)
    holds = max(gaps) <= 0
    case = None if holds else Counterexample(statement, {name: e.value for name, e in found.items()})
    evidence = "; ".join(f"{name}: {e}" for name, e in found.items()) + f"; {depth} layers of width {width}"
    evidence += f"; largest, linear, by theory {mean_field.largest_squared_value(depth):.4g}"
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case), found


def _squares(
    n: int, depth: int, variance: float, q: float, orthogonal: bool, tanh: bool, generator: torch.Generator
) -> Float[Tensor, " n"]:
    """Draw one product of ``W D[φ'(h)]`` with h normal of variance q, and return its squared singular values."""
    J = eye(n)
    for _ in range(depth):
        W = normal(generator, n, n) / math.sqrt(n)
        W = torch.linalg.qr(W).Q if orthogonal else W
        h = math.sqrt(q) * normal(generator, n)
        slope = 1 - torch.tanh(h) ** 2 if tanh else torch.ones_like(h)
        J = math.sqrt(variance) * (slope[:, None] * (W @ J))
    return singular_values(J) ** 2


def _newman(effort: Effort) -> tuple[Outcome, tuple[Estimate, ...]]:
    """Newman (1986): every exponent of a product of finite Gaussian matrices."""
    statement = "products of n × n Gaussian matrices have the exponents ½[ln(2/n) + ψ((n-i+1)/2)]"
    n, steps = 8, effort.pick(1000, 20_000)
    generator = effort.generator()

    def factors() -> Iterator[Tensor]:
        for _ in range(steps):
            yield normal(generator, n, n) / math.sqrt(n)

    multiplies = ((lambda Q, A=A: A @ Q) for A in factors())
    found = averaged(exponents_through(multiplies, eye(n)), None, effort.seed).exponents
    theory = mean_field.gaussian_product_exponents(n)
    worst = max(abs(f.value - t) / f.sem for f, t in zip(found, theory, strict=True))
    evidence = f"{steps} factors, n = {n}: all eight within {worst:.1f} standard errors"
    case = None if worst < 4.5 else Counterexample(statement, {"standard errors": worst})
    return Outcome(statement, worst < 4.5, Grounds.MEASURED, evidence, case), found


def _recurrent(effort: Effort) -> tuple[Outcome, Estimate]:
    """Measure a chaotic tanh recurrence, whose exponent rises to its mean-field value as it widens."""
    width, nets, steps = effort.pick(120, 500), effort.pick(3, 10), effort.pick(300, 1500)
    theory = mean_field.rnn_exponent(torch.tanh, 2.0)
    statement = f"the tanh recurrence of gain 2 has the largest exponent {theory:.4f} when wide"
    generator, rates = effort.generator(), []
    for _ in range(nets):
        W = 2 * normal(generator, width, width) / math.sqrt(width)
        state = normal(generator, width)
        rates.append(lyapunov(lambda x, W=W: torch.tanh(W @ x), state, steps=steps, k=1).largest.value)
    found = Estimate.of(rates, effort.seed)
    holds = abs(found.value - theory) <= 4 * found.sem + 2 / width
    case = None if holds else Counterexample(statement, {"measured": found.value, "width": width})
    return Outcome(statement, holds, Grounds.MEASURED, f"{found}, width {width}", case), found


def _lstm() -> Iterator[Outcome]:
    """Measure LSTMs without weights, which forget at the rate of their forget gates."""
    for bias in (0.0, 1.0, 5.0):
        cell = nn.LSTMCell(1, 3).double()
        for parameter in cell.parameters():
            parameter.data.zero_()
        cell.bias_hh.data[3:6] = bias
        theory = mean_field.lstm_forget_exponent(bias)
        state = (torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64))
        inputs = [torch.zeros(1, 1, dtype=torch.float64)] * 40
        found = lyapunov(cell, state, inputs=inputs).exponents
        values = [exponent.value for exponent in found]
        statement = f"an LSTM with zero weights and forget bias {bias:g} has 3 exponents {theory:.4f}, the others -∞"
        holds = all(abs(value - theory) < 1e-9 for value in values[:3]) and all(v == -math.inf for v in values[3:])
        case = None if holds else Counterexample(statement, {"largest": values[0], "smallest": str(values[-1])})
        yield Outcome(statement, holds, Grounds.MEASURED, f"{values[0]:.4f} … {values[-1]:g}", case)


def _picture(found: tuple[Estimate, ...]) -> Curve:
    theory = mean_field.gaussian_product_exponents(len(found))
    series = (("measured", tuple(e.value for e in found)), ("Newman", tuple(theory)))
    return Curve(tuple(map(float, range(1, len(found) + 1))), series, "i", "λ_i", "Exponents of Gaussian products")


CLAIM = Claim(
    id="A8",
    title="Known numbers",
    statement="The engine reproduces what is known: orthogonal isometry, χ₁ and its depth scales, the spread of "
    "singular values, the exponents of Gaussian products, of a chaotic RNN and of an idle LSTM.",
    paper=None,
    mathematics=KnownNumbers(),
    settle=settle,
)
