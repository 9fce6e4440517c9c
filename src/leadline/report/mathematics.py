"""Powers and indices within sentences: as MathML in a page, and as raised and lowered letters in a terminal.

Statements write them as ``4^-n`` and ``σ_i``, which anyone can type. Only these need markup, since everything else is
Unicode already: so MathML's own elements are written here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from markupsafe import Markup, escape

_LETTERS = "A-Za-zΑ-Ωα-ω"
_ABOVE = "[\u0300-\u036f]"  # a hat, a bar
_INSIDE = r"[^()]*(?:\([^()]*\)[^()]*)*"
_SCRIPT = re.compile(
    rf"(?P<base>(?:[{_LETTERS}]{_ABOVE}*)+|\d+|[)\]|‖⊙])(?P<mark>[\^_])(?:\((?P<group>{_INSIDE})\)|(?P<word>[-+−]?[{_LETTERS}0-9]+))"
    r"(?P<power>[²³¹⁰⁴-⁹ⁱʲⁿ]*)"
)
_RAISED = dict(
    zip("0123456789+-−()=abcdefghijklmnoprstuvwxyzT*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾⁼ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ*", strict=True)
)
_PLAIN = {raised: plain for plain, raised in _RAISED.items()}
_LOWERED = dict(zip("0123456789+-−()=aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₍₎₌ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))


class Sentence(str):
    """A sentence whose powers and indices are raised and lowered; templates that escape text write it as MathML.

    Examples
    --------
    >>> Sentence("|f'| ≤ 4^-n, σ_i(A), 2^(d-1), n^(-3/2)")
    "|f'| ≤ 4⁻ⁿ, σᵢ(A), 2ᵈ⁻¹, n^(-3/2)"
    >>> Sentence("4^-n").__html__()
    Markup('<math><msup><mn>4</mn><mrow><mo>-</mo><mi>n</mi></mrow></msup></math>')
    """

    written: str
    __slots__ = ("written",)

    def __new__(cls, written: str) -> Sentence:
        """Raise and lower what there are letters for, and keep what was written."""
        made = super().__new__(cls, _replaced(written, _as_letters))
        made.written = written
        return made

    def __html__(self) -> Markup:
        """Return the sentence with its formulas as MathML."""
        parts, end = [], 0
        for found in _SCRIPT.finditer(self.written):
            parts += [escape(self.written[end : found.start()]), _as_mathml(found)]
            end = found.end()
        return Markup("").join([*parts, escape(self.written[end:])])


def _replaced(text: str, write: Callable[[re.Match[str]], str]) -> str:
    return _SCRIPT.sub(write, text)


def _as_letters(found: re.Match[str]) -> str:
    """Write a script in letters that Unicode has raised or lowered; as it is, where one is missing."""
    letters = _RAISED if found["mark"] == "^" else _LOWERED
    script = found["group"] if found["word"] is None else found["word"]
    if not script or not all(character in letters for character in script):
        return found[0]
    return found["base"] + "".join(letters[character] for character in script) + found["power"]


def _as_mathml(found: re.Match[str]) -> Markup:
    element = "msup" if found["mark"] == "^" else "msub"
    script = found["group"] if found["word"] is None else found["word"]
    row, power = _row(script), found["power"]
    if power and element == "msub":  # σ_N²: both beside the base
        element, row, power = "msubsup", row + _row("".join(_PLAIN[letter] for letter in power)), ""
    return Markup("<math><{0}>{1}{2}</{0}></math>{3}").format(Markup(element), _token(found["base"]), row, power)


def _row(script: str) -> Markup:
    parts = map(_token, re.findall(rf"\d+(?:\.\d+)?|[{_LETTERS}]+|\S", script))
    return Markup("<mrow>{0}</mrow>").format(Markup("").join(parts))


def _token(text: str) -> Markup:
    """Mark up a number, a name or an operator."""
    kind = "mn" if text[0].isdigit() else "mi" if text[0].isalpha() else "mo"
    return Markup("<{0}>{1}</{0}>").format(Markup(kind), text)
