"""A5: what residual connections buy over depth, and what they do not."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import sympy
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from leadline.claims.algebra import eye, normal, singular_values, spectral_norm
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, measured
from leadline.claims.counterexample import Counterexample, arrays
from leadline.claims.settling import Point, Search, searched
from leadline.document import Curve
from leadline.jacobian._lyapunov import averaged, exponents_through
from leadline.jacobian.theory.mean_field import residual_product_exponents
from leadline.results import Estimate

_Gap = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ResidualDepth:
    """`layers` layers I + A_l, ‖A_l‖ ≤ `norm` or, if `by_depth`, `norm / layers`; `spread` is s of the random law."""

    norm: float = 0.5
    by_depth: bool = False
    layers: int = 12
    units: int = 2
    spread: float = 0.5

    def __post_init__(self) -> None:
        if self.norm < 0:
            raise ValueError(f"a norm is not negative, as {self.norm} is")

    @property
    def each(self) -> float:
        """The largest norm of one branch."""
        return self.norm / self.layers if self.by_depth else self.norm


def settle(of: ResidualDepth, effort: Effort) -> Evidence:
    """Prove that nothing is lost with depth, or find branches with which it is; then test the bounds that hold."""
    top, bottom = _exponents(of, effort)
    laws = residual_product_exponents(of.spread**2)
    return Evidence(
        claimed=(_kept(of, effort),),
        instead=(*_between(of, effort), _kept(replace(of, by_depth=True), effort), _monotone(of, effort)),
        compared=tuple(
            _law(end, found, law, effort)
            for end, found, law in (("top", top, laws[0]), ("bottom", bottom, laws[1]))
            if math.isfinite(law)  # from s = 1 on the bottom falls without end as networks get wider
        ),
        quantities=(measured("growth per layer, top", top), measured("growth per layer, bottom", bottom)),
        picture=_picture(of),
    )


def _kept(of: ResidualDepth, effort: Effort) -> Outcome:
    size = f"{of.norm:g}/L" if of.by_depth else f"{of.norm:g}"
    if of.norm >= 1:
        return _lost(of, f"with ‖A_l‖ ≤ {size} every gradient keeps some of its size through all L layers")
    statement = f"with ‖A_l‖ ≤ {size} every gradient keeps at least {1 - of.norm:g} of its size through all L layers"
    u = sympy.Symbol("u", nonnegative=True)
    rate = sympy.log(1 - u) + u / (1 - u)
    rises = rate.subs(u, 0) == 0 and sympy.simplify(sympy.diff(rate, u) - u / (1 - u) ** 2) == 0
    if of.by_depth and rises:
        argument = "σ_min ≥ (1 - c/L)^L, which grows with L: d/dL of its log is ln(1-u) + u/(1-u) ≥ 0 at u = c/L"
        return Outcome(statement, True, Grounds.SYMBOLIC, argument)
    floor = math.log(1 - of.norm)
    return _over_products(of, statement, lambda J, _: floor - singular_values(J)[..., -1].log(), effort)


def _lost(of: ResidualDepth, statement: str) -> Outcome:
    """Branches that may have norm 1 may take all away: ``A = -I``; by depth they must come to few layers for that."""
    layers = 1 if of.by_depth else of.layers
    left = spectral_norm(_product(-eye(of.units).expand(1, layers, -1, -1))).item()
    case = Counterexample(statement, {"layers": layers, "σ_max": left}, arrays(A=-eye(of.units)))
    return Outcome(statement, False, Grounds.EXHAUSTIVE, f"A_l = -I leaves {left:g} through L = {layers}", case)


def _between(of: ResidualDepth, effort: Effort) -> tuple[Outcome, ...]:
    """Look for branches that leave ``Π(1 - ‖A_l‖) … Π(1 + ‖A_l‖)``, and check that both ends are reached."""

    def below(J: Tensor, A: Tensor) -> Tensor:
        return (1 - spectral_norm(A)).clamp_min(0).prod(-1) - singular_values(J)[..., -1]

    def above(J: Tensor, A: Tensor) -> Tensor:
        return singular_values(J)[..., 0] / (1 + spectral_norm(A)).prod(-1) - 1

    lower = _over_products(of, "σ_min of the product ≥ Π max(0, 1 - ‖A_l‖)", below, effort)
    upper = _over_products(of, "σ_max of the product ≤ Π(1 + ‖A_l‖)", above, effort)
    return lower, upper, _attained(of)


def _attained(of: ResidualDepth) -> Outcome:
    statement = "both bounds are attained, by multiples of the identity"
    least, most = max(0.0, 1 - of.each) ** of.layers, (1 + of.each) ** of.layers
    gaps = []
    for branch, bound in ((-min(of.each, 1.0), least), (of.each, most)):
        J = torch.linalg.matrix_power((1 + branch) * eye(of.units), of.layers)
        gaps.append(abs(spectral_norm(J).item() - bound) / max(bound, 1e-300))
    holds = max(gaps) < 1e-12
    case = None if holds else Counterexample(statement, {"gap": max(gaps)})
    evidence = f"A_l = {-min(of.each, 1.0):g} I gives {least:.4g}, and A_l = {of.each:g} I {most:.4g}"
    return Outcome(statement, holds, Grounds.EXHAUSTIVE, evidence, case)


def _monotone(of: ResidualDepth, effort: Effort) -> Outcome:
    """Look for positive-semidefinite branches (in their symmetric part) that shrink a gradient all the same."""

    def excess(point: Point) -> Tensor:
        M, N = point["A"], point["B"]
        J = _product(M @ M.mT + N - N.mT)
        return 1 - singular_values(J)[..., -1]

    def draw(generator: torch.Generator, starts: int) -> Point:
        return _branches(of, generator, starts) | {"B": _branches(of, generator, starts)["A"]}

    search = Search(draw, excess, tolerance=1e-8, unit="σ_min")
    return searched("A_l + A_lᵀ ⪰ 0 in every layer gives σ_min ≥ 1", search, effort, lambda _: {"layers": of.layers})


def _branches(of: ResidualDepth, generator: torch.Generator, starts: int) -> Point:
    shape = (starts, of.layers, of.units, of.units)
    return {"A": normal(generator, *shape) / of.units}


def _product(A: Float[Tensor, "n l k k"]) -> Float[Tensor, "n k k"]:
    """Multiply the layers ``I + A_l``, the last on the left."""
    J = torch.eye(A.shape[-1], dtype=A.dtype).expand(len(A), -1, -1)
    for layer in A.unbind(1):
        J = J + layer @ J
    return J


def _over_products(of: ResidualDepth, statement: str, gap: _Gap, effort: Effort) -> Outcome:
    """Search over branches of exactly the norm allowed."""

    def scaled(A: Tensor) -> Tensor:
        return of.each * A / spectral_norm(A)[..., None, None]

    def excess(point: Point) -> Tensor:
        A = scaled(point["A"])
        return gap(_product(A), A)

    def values(at: Point) -> dict[str, int | float | str]:
        s = singular_values(_product(scaled(at["A"][None])))[0]
        reached = {"σ_min": s[-1].item(), "σ_max": s[0].item()}
        return {"norm of each branch (scale it)": of.each, "layers": of.layers, **reached}

    search = Search(lambda g, n: _branches(of, g, n), excess, tolerance=1e-8, unit="σ")
    return searched(statement, search, effort, values)


def _exponents(of: ResidualDepth, effort: Effort) -> tuple[Estimate, Estimate]:
    """Measure the largest and smallest growth exponent of products of I + A, A Gaussian of variance s²/n."""
    n, layers = _sizes(effort)
    generator = effort.generator()
    scale = of.spread / math.sqrt(n)

    def drawn(Q: Tensor) -> Tensor:
        return Q + scale * normal(generator, n, n) @ Q

    found = averaged(exponents_through([drawn] * layers, eye(n)), None, effort.seed).exponents
    return found[0], found[-1]


def _sizes(effort: Effort) -> tuple[int, int]:
    """Width and number of the random layers."""
    return effort.pick(48, 256), effort.pick(500, 2000)


def _law(end: str, found: Estimate, expected: float, effort: Effort) -> Outcome:
    """Compare with the limit of infinite width; at width n a correction of 1/n is allowed."""
    width = _sizes(effort)[0]
    holds = abs(found.value - expected) <= 4 * found.sem + 1 / width
    statement = f"independent Gaussian branches of variance s²/n grow by {expected:.4f} a layer at the {end}"
    case = None if holds else Counterexample(statement, {"measured": found.value, "sem": found.sem, "width": width})
    return Outcome(statement, holds, Grounds.MEASURED, f"QR of the product, width {width}: {found}", case)


def _picture(of: ResidualDepth) -> Curve:
    L: NDArray[np.int64] = np.arange(1, 41)
    a = of.norm
    series = (
        (f"least possible, ‖A_l‖ ≤ {a:g}", tuple(((1 - a) ** L).tolist())),
        (f"least possible, ‖A_l‖ ≤ {a:g}/L", tuple(((1 - a / L) ** L).tolist())),
        (f"most possible, ‖A_l‖ ≤ {a:g}/L", tuple(((1 + a / L) ** L).tolist())),
    )
    return Curve(
        tuple(L.tolist()), series, "layers L", "singular value", "How far residual layers keep gradients", True
    )


CLAIM = Claim(
    id="A5",
    title="What residual connections buy",
    statement="If the branches of residual layers have norm below 1, gradients do not vanish with depth.",
    paper="Residual connections keep singular values away from 0.",
    mathematics=ResidualDepth(),
    settle=settle,
)
