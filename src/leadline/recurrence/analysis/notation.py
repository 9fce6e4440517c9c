"""How formulas are written: ``k²·d·(4HW - 3H - 3W + 2)``, and how fast they grow: ``Θ(d·k²·H·W)``."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import sympy

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Exponents = dict[sympy.Expr, sympy.Rational]


def written(expression: sympy.Expr, by: Sequence[sympy.Symbol] = ()) -> str:
    """Write a formula as a product of factors, with letters side by side within sums; collect sums by some sizes.

    Examples
    --------
    >>> d, H = sympy.symbols("d H", integer=True, positive=True)
    >>> written(3 * d**2 * H / 2 - d**2), written(5 * H * d - 3 * d - H, by=[d])
    ('d²·(3H - 2)/2', 'd·(5H - 3) - H')
    """
    power = sympy.powsimp(expression)
    if power.is_Pow:
        return _factor(power)
    whole = sympy.factor(expression)
    numerator, denominator = sympy.fraction(whole)
    factors = sorted(sympy.Mul.make_args(numerator), key=_place)
    factors = [sympy.collect(f, by) if by and f.is_Add else f for f in factors]
    sign = ""
    if factors[0].is_number and factors[0] < 0:
        sign, factors = "-", [-factors[0], *factors[1:]]
    factors = [f for f in factors if f != 1] or [sympy.Integer(1)]
    over = "" if denominator == 1 else f"/{denominator}"
    lone = len(factors) == 1 and not over and not sign
    return sign + "·".join(_factor(f, lone) for f in factors) + over


def _place(factor: sympy.Expr) -> tuple[int, str]:
    """Return where a factor stands: numbers, then powers, then sums."""
    return (0 if factor.is_number else 2 if factor.is_Add else 1), str(factor)


def _factor(factor: sympy.Expr, lone: bool = False) -> str:
    base, exponent = factor.as_base_exp()
    inner = _sum(base) if base.is_Add else str(base)
    bracketed = base.is_Add and not (lone and exponent == 1)
    return (f"({inner})" if bracketed else inner) + ("" if exponent == 1 else _power(exponent))


def _power(exponent: sympy.Expr) -> str:
    if exponent.is_Integer and exponent > 0:
        return str(exponent).translate(_SUPERSCRIPTS)
    return f"^{exponent}" if exponent.is_Symbol else f"^({_sum(exponent)})"


def _sum(expression: sympy.Expr) -> str:
    """Write a sum term by term: the terms with most letters first, but not one with a minus if that can be."""
    terms = sorted(sympy.Add.make_args(expression), key=lambda term: (-_degree(term), str(term)))
    first = next((t for t in terms if not t.could_extract_minus_sign()), terms[0])
    text = ""
    for term in [first, *(t for t in terms if t is not first)]:
        negative = term.could_extract_minus_sign()
        text += (" - " if negative else " + ") if text else ("-" if negative else "")
        text += _term(-term if negative else term)
    return text


def _degree(term: sympy.Expr) -> float:
    """Return the number of letters in a term; a power of two stands between letters and numbers."""
    pairs = [factor.as_base_exp() for factor in sympy.Mul.make_args(term) if not factor.is_number]
    within = [max(map(_degree, sympy.Add.make_args(base))) if base.is_Add else 1.0 for base, _ in pairs]
    return sum(d * float(e) if e.is_number else 0.5 for d, (_, e) in zip(within, pairs, strict=True))


def _term(term: sympy.Expr) -> str:
    numerator, denominator = sympy.fraction(term)
    factors = sorted(sympy.Mul.make_args(numerator), key=_place)
    factors = [f for f in factors if f != 1] or [sympy.Integer(1)]
    bases = [factor.as_base_exp()[0] for factor in factors[factors[0].is_Integer :]]
    short = all(base.is_Symbol and len(base.name) == 1 for base in bases)
    return ("" if short else "·").join(map(_factor, factors)) + ("" if denominator == 1 else f"/{denominator}")


def growth(expression: sympy.Expr, region: Mapping[str, sympy.Expr] | None = None) -> str | None:
    """Write how fast a formula grows as all its sizes grow: the terms that no other term outgrows, as ``Θ(…)``.

    It is ``O(…)`` where terms of the highest order have different signs, and None unless the formula is a sum of
    products of powers of sizes and of ``2**size``. What the `region` of smallest sizes says of powers of two is made
    use of.

    Examples
    --------
    >>> d, T = sympy.symbols("d T", integer=True, positive=True)
    >>> growth(2 * d * T - 2**d + 1, {"T": 2 ** (d - 1)})
    'Θ(T·d)'
    """
    terms = [_exponents(term) for term in sympy.Add.make_args(sympy.expand(expression))]
    known = [term for term in terms if term is not None]
    if len(known) < len(terms):
        return None
    linked = _linked_sizes(region or {})
    rest = [(sign, term) for sign, term in known]
    for (_, a), (_, b) in combinations(known, 2):
        for low, high in ((a, b), (b, a)):
            if low != high and _outgrown(low, high, linked):
                rest = [(s, t) for s, t in rest if t != low]
    leading = [sympy.Mul(*(base**e for base, e in term.items())) for _, term in rest]
    letter = "Θ" if all(sign > 0 for sign, _ in rest) else "O"
    return f"{letter}({written(sympy.Add(*dict.fromkeys(leading)))})"


def _exponents(term: sympy.Expr) -> tuple[int, Exponents] | None:
    """Return the sign of a term, and its exponents: of sizes, and under the key ``2**n`` of powers of two."""
    coefficient, rest = term.as_coeff_Mul()
    found: Exponents = {}
    for base, exponent in (f.as_base_exp() for f in sympy.Mul.make_args(rest)):
        if base.is_Symbol and exponent.is_Rational:
            found[base] = found.get(base, sympy.Integer(0)) + exponent
        elif base == 2 and (rate := sympy.Poly(exponent, *exponent.free_symbols)).degree() == 1 and rate.is_univariate:
            key = sympy.Integer(2) ** rate.gen
            found[key] = found.get(key, sympy.Integer(0)) + rate.LC()
        elif base != 1:
            return None
    return (1 if coefficient > 0 else -1), found


def _linked_sizes(region: Mapping[str, sympy.Expr]) -> dict[sympy.Expr, sympy.Symbol]:
    """Return for powers of two the size that is at least as large, up to a factor."""
    linked = {}
    parts = [(name, part) for name, least in region.items() for part in sympy.Max.make_args(least)]
    for name, least in parts:
        for term in sympy.Add.make_args(sympy.expand(least)):
            read = _exponents(term)
            if read is not None and read[0] > 0 and len(read[1]) == 1:
                ((key, exponent),) = read[1].items()
                if not key.is_Symbol and exponent == 1:
                    linked[key] = sympy.Symbol(name, integer=True, positive=True)
    return linked


def _outgrown(low: Exponents, high: Exponents, linked: Mapping[sympy.Expr, sympy.Symbol]) -> bool:
    """Whether ``low / high`` stays bounded as all sizes grow."""
    ratio = {key: low.get(key, 0) - high.get(key, 0) for key in {*low, *high}}
    for power, above in linked.items():
        rate = ratio.get(power, 0)
        if rate > 0 > ratio.get(above, 0):
            moved = min(rate, -ratio[above])
            ratio[power], ratio[above] = rate - moved, ratio[above] + moved
    powers = {next(iter(key.free_symbols)): e for key, e in ratio.items() if not key.is_Symbol}
    if any(e > 0 for e in powers.values()):
        return False
    return all(e <= 0 or powers.get(key, 0) < 0 for key, e in ratio.items() if key.is_Symbol)
