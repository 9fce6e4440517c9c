"""The docs' page of gradient numbers: every published figure beside what is computed here.

A computed figure is either exact up to rounding (quadrature, closed forms) or measured, with its standard error over
seeds. It agrees if it lies within three standard errors (its own and the published one's together) of the published
figure, give or take half a unit of that figure's last digit. Run as ``python benchmarks/gradient_numbers.py``; it
writes ``docs/gradient-numbers.md``; names of groups recompute those alone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import measurements as measured
import torch
from torch.nn.functional import gelu, silu

from leadline.jacobian.theory import mean_field
from leadline.jacobian.theory.normalisation import batchnorm_jacobian, batchnorm_singular_values
from leadline.results import Estimate

PAGE = Path(__file__).parents[1] / "docs" / "gradient-numbers.md"
SIGMAS = 3


@dataclass(frozen=True)
class Number:
    """A published figure as it is written (``"22.4"`` or ``"22.4 ± 0.4"``), and what was computed."""

    what: str
    published: str
    computed: float | Estimate

    @property
    def agrees(self) -> bool:
        """Whether the two agree; see the module."""
        said, _, spread = self.published.partition(" ± ")
        found = self.computed if isinstance(self.computed, Estimate) else Estimate(self.computed, 0.0, 1)
        if math.isinf(float(said)):
            return found.value == float(said)
        unit = 10.0 ** -len(said.partition(".")[2])
        sem = math.hypot(found.sem, float(spread or 0))
        return abs(found.value - float(said)) <= SIGMAS * sem + 0.5 * unit * (1 + 1e-9)

    def row(self) -> str:
        """Return the row of the table."""
        if isinstance(self.computed, Estimate):
            found = f"{self.computed.value:.5g} ± {self.computed.sem:.2g} (n = {self.computed.n})"
        else:
            found = f"{self.computed:.6g}"
        what = self.what.replace("|", r"\|")
        return f"| {what} | {self.published} | {found} | {'yes' if self.agrees else '**no**'} |"


def under_batch_norm() -> Iterator[Number]:
    """Growth per layer of squared gradients through ``x ↦ BN(W φ(x))``."""
    activations = {"ReLU": torch.relu, "tanh": torch.tanh, "erf": torch.erf, "GELU": gelu, "SiLU": silu}
    for (name, phi), published in zip(
        activations.items(), ("1.4669", "1.1778", "1.2257", "1.3188", "1.2121"), strict=True
    ):
        yield Number(f"{name}, infinite width and batch, E φ'²/Var φ", published, mean_field.batchnorm_growth(phi))
    for batch, published in ((32, "1.522"), (256, "1.473")):
        growth = mean_field.batchnorm_growth(torch.relu, batch)
        yield Number(f"ReLU, batch {batch}, infinite width", published, growth)
    for batch in (8, 32):
        growth = measured.normalised_growth(lambda x: x, 1024, batch, 8)
        yield Number(f"identity, batch {batch}, width 1024: (B-2)/(B-3)", f"{(batch - 2) / (batch - 3):.3f}", growth)
    for batch, width, published in ((32, 2048, "1.522"), (256, 256, "1.448"), (256, 1024, "1.462")):
        growth = measured.normalised_growth(torch.relu, width, batch, 8)
        yield Number(f"ReLU, batch {batch}, width {width}", published, growth)


def placements() -> Iterator[Number]:
    """Residual networks f(x) = W relu(x) after He, width 256, batch 128, 80 layers, 20 seeds (A7)."""
    for place, formula, published in (("branch", "x + BN(f(x))", "22.4 ± 0.4"), ("after", "BN(x + f(x))", "1260 ± 92")):
        norm, growth = measured.placed(place, 256, 128, 80, 20)
        yield Number(f"gradient norm at the input, {formula}", published, norm)
    yield Number("squared growth per layer, BN(x + f(x)), width 256", "1.195", growth)
    for batch in (128, 512):
        growth = measured.placed("after", 2048, batch, 40, 3)[1]
        yield Number(f"the same, width 2048 (batch not published; here {batch})", "1.190", growth)
    yield Number("the same by theory, 2π/(2π-1)", "1.189", mean_field.residual_growth(torch.relu, "sum", 1))
    exponent = mean_field.batchnorm_growth(torch.relu) / 2
    yield Number("power of depth, x + BN(f(x)), ½ π/(π-1)", "0.733", exponent)
    yield Number("squared growth per layer, BN(f(x)), π/(π-1)", "1.467", mean_field.batchnorm_growth(torch.relu))


def residual() -> Iterator[Number]:
    """Residual networks at initialisation (De & Smith 2020)."""
    yield Number("x + W relu(x): squared growth per layer, width 512", "2", measured.plain_residual(512, 20, 20))
    for layer in (4, 16):
        found = measured.stream_variance(layer, 1024, 1024, 8)
        yield Number(f"x + BN(f(x)): variance of the stream after {layer} layers", f"{layer + 1}", found)


def linear_products() -> Iterator[Number]:
    """Products of L random matrices: Gaussian ones of variance 1/n, and orthogonal ones (Saxe et al. 2014)."""
    for depth in (1, 4):
        drawn = {n: measured.product_squares(n, depth, 10) for n in (100, 200, 400, 800)}
        edge = measured.in_the_limit(
            tuple(drawn), lambda n, drawn=drawn: measured.mean_of(float(s[0]) for s in drawn[n]), 2 / 3
        )
        stated = f"{mean_field.largest_squared_value(depth):.4f}"
        yield Number(f"largest squared value, L = {depth}, to infinite n: (L+1)^(L+1)/L^L", stated, edge)
        variance = measured.mean_of(float(s.var(correction=0)) for s in drawn[800])
        yield Number(f"variance of the squared values, L = {depth}, n = 800", f"{depth}", variance)
    flat = measured.product_squares(300, 20, 1, orthogonal=True)[0]
    yield Number("largest deviation from 1, orthogonal, L = 20, n = 300", "0.000000", float((flat - 1).abs().max()))


def tanh_phases() -> Iterator[Number]:
    """Mean-field theory of tanh networks with σ_b² = 0.05 (Schoenholz et al. 2017)."""
    critical, q = mean_field.critical_point(torch.tanh, 0.05)
    yield Number("critical σ_w²", "1.7610", critical)
    yield Number("q* there", "0.5700", q)
    ordered, chaotic = (mean_field.fixed_point(torch.tanh, variance, 0.05) for variance in (1.3, 2.5))
    for variance, point, published in ((1.3, ordered, "0.8802"), (2.5, chaotic, "1.1335")):
        yield Number(f"χ₁ at σ_w² = {variance}", published, point.chi)
        chi = measured.wide_chi("tanh", variance, 0.05, point.q, 10)
        yield Number(f"χ₁ at σ_w² = {variance}, measured by `gradient` at width 1000", published, chi)
    yield Number("ξ = -1/ln χ₁ at 1.3", "7.834", ordered.depth_scale)
    yield Number("c* at 2.5", "0.447", chaotic.c)
    yield Number("depth over which correlations settle, -1/ln χ_c*, at 2.5", "11.80", chaotic.depth_scale)


def spread_of_squares() -> Iterator[Number]:
    """Variance of squared singular values, (σ_w²μ₁)^(2L) L (μ₂/μ₁² - 1 - s₁): L = 4, width 400 (Pennington 2017)."""
    point = mean_field.critical_point(torch.tanh, 0.05)
    for name, orthogonal in (("Gaussian", False), ("orthogonal", True)):
        drawn = measured.tanh_squares(400, 4, 20, point, orthogonal=orthogonal)
        theory = mean_field.squared_value_variance(torch.tanh, *point, 4, orthogonal=orthogonal)
        found = measured.mean_of(float(s.var(correction=0)) for s in drawn)
        yield Number(f"critical tanh network, {name} weights", f"{theory:.2f}", found)


def exponents() -> Iterator[Number]:
    """Lyapunov exponents: Gaussian products (Newman 1986), chaotic tanh networks, and LSTMs without weights."""
    theory = mean_field.gaussian_product_exponents(8)
    for i, (found, expected) in enumerate(zip(measured.newman(8, 20_000), theory, strict=True), start=1):
        yield Number(f"λ_{i} of products of 8 × 8 Gaussian matrices", f"{expected:.4f}", found)
    for gain, published, limit in ((2.0, "0.1515 ± 0.0016", "0.1547"), (3.0, "0.3058 ± 0.0018", "0.3102")):
        yield Number(f"x ↦ W tanh(x), N = 500, g = {gain:g}", published, measured.chaotic_rnn(gain, 10))
        yield Number(f"the same, N → ∞, g = {gain:g}", limit, mean_field.rnn_exponent(torch.tanh, gain))
    for bias, published in ((0.0, "-0.6931"), (1.0, "-0.3133"), (5.0, "-0.0067")):
        values, norm = measured.idle_lstm(bias)
        yield Number(f"LSTM without weights, b_f = {bias:g}: λ_1 to λ_3", published, sum(values[:3]) / 3)
        yield Number("its other three", "-inf", max(values[3:]))
    yield Number("norm of one of its steps, b_f = 5", "1.11", norm)


def batch_norm_spectrum() -> Iterator[Number]:
    """Singular values of batch normalisation over 32 examples in closed form, beside a dense decomposition (A6)."""
    x = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dense = torch.linalg.svdvals(batchnorm_jacobian(x, 1.5))
    closed = batchnorm_singular_values(x, 1.5)
    differentiated = torch.autograd.functional.jacobian(
        lambda x: torch.nn.functional.batch_norm(
            x[:, None], None, None, torch.tensor([1.5]).double(), training=True, eps=1e-5
        )[:, 0],
        x,
    )
    gap = (torch.linalg.svdvals(differentiated) - closed).abs().max()
    yield Number("|γ|/s, 30 times", f"{float(closed[0]):.6f}", float(dense[29]))
    yield Number("(|γ|/s) ε/(var+ε)", f"{float(closed[30]):.9f}", float(dense[30]))
    yield Number("along 1", "0.000000000", float(dense[31]))
    yield Number("largest difference from automatic differentiation", "0.000000000", float(gap))


GROUPS = (
    under_batch_norm,
    placements,
    residual,
    linear_products,
    tanh_phases,
    spread_of_squares,
    exponents,
    batch_norm_spectrum,
)


def section(group: Callable[[], Iterator[Number]]) -> str:
    """Compute one table, printing each row, and return it under its sentence."""
    rows = ["| figure | published | computed | agrees |", "|---|---|---|---|"]
    for number in group():
        rows.append(number.row())
        print(rows[-1], flush=True)
    return "\n".join([f"## {_title(group)}", "", *rows, ""])


def _title(group: Callable[[], Iterator[Number]]) -> str:
    return str(group.__doc__).rstrip(".").replace("``", "`")


def _kept() -> dict[str, str]:
    """Return the tables of the present page by title."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts = page.partition("\n`make bench`")[0].split("\n## ")[1:]
    return {part.partition("\n")[0]: "## " + part.rstrip("\n") + "\n" for part in parts}


def main(names: Sequence[str]) -> None:
    """Compute all tables, or those named, and write the page; the others stay as they are."""
    kept = _kept() if names else {}
    sections = [kept[_title(group)] if names and group.__name__ not in names else section(group) for group in GROUPS]
    body = "\n".join(sections)
    intro = str(__doc__).partition(" Run as")[0].split("\n\n")[1]
    agreeing, differing = body.count("| yes |"), body.count("| **no** |")
    count = f"{agreeing} of {agreeing + differing} figures agree."
    note = "`make bench` writes this page (`benchmarks/gradient_numbers.py`).\n"
    PAGE.write_text("\n".join(["# Gradient numbers", "", intro, "", count, "", body, note]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
