"""Sweeps as curves: a measure along a setting, a series for each value of another, and what theory says of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from leadline.document import Curve
from leadline.sweeps.grid import Value
from leadline.sweeps.swept import Swept, number_of
from leadline.sweeps.theory import Theory, critical_sigma_w, defaults_of, theory_of

_MOST = 4
"""So many values of the second setting are drawn, equally spaced: each may have theory's curve beside it."""
_STEEP = 100.0


def sweep_curves(swept: Swept) -> tuple[Curve, ...]:
    """Draw every measure that is a number, along the setting of the most numbers."""
    along = _along(swept)
    if along is None:
        return ()
    return tuple(curve for measure in swept.measures if (curve := _drawn(swept, along, measure)) is not None)


def _along(swept: Swept) -> str | None:
    """Return the setting to draw along: of those that are numbers the one with the most values."""
    numbers = [name for name in swept.varied if all(math.isfinite(number_of(v)) for v in swept.settings[name])]
    return max(numbers, key=lambda name: len(swept.settings[name]), default=None)


def _drawn(swept: Swept, along: str, measure: str) -> Curve | None:
    x = tuple(sorted(number_of(value) for value in swept.settings[along]))
    values = {number_of(value): value for value in swept.settings[along]}
    theory = theory_of(swept.model, along, measure)
    series: list[tuple[str, tuple[float, ...]]] = []
    bands: list[tuple[str, tuple[float, ...], tuple[float, ...]]] = []
    beside: dict[tuple[float, ...], str] = {}
    for others in _chosen(swept, along):
        name = ", ".join(f"{key}={value}" for key, value in others.items()) or measure
        found = [swept.mean(measure, **others, **{along: values[at]}) for at in x]
        means = tuple(math.nan if each is None else each.value for each in found)
        if not any(map(math.isfinite, means)):
            continue
        series.append((name, means))
        if all(each is not None and math.isfinite(each.sem) for each in found):
            ends = [each.interval() for each in found if each is not None]
            bands.append((name, tuple(low for low, _ in ends), tuple(high for _, high in ends)))
        if theory is not None:
            beside.setdefault(_by_theory(swept, theory, along, x, values, others), name)
    if not series:
        return None
    series += _named(beside, theory)
    numbers = [value for _, each in series for value in each if math.isfinite(value)]
    steep = min(numbers) > 0 and max(numbers) > _STEEP * min(numbers)
    caption = f"{measure} along {along}: means over {swept.seeds} seeds with their 95 % intervals{_said(swept, theory)}"
    return Curve(
        x, tuple(series), along, measure, caption, log_y=steep, bands=tuple(bands),
        levels=(("0", 0.0),) if min(numbers) < 0 < max(numbers) else (),
    )  # fmt: skip


def _chosen(swept: Swept, along: str) -> Iterator[Mapping[str, Value]]:
    """Yield the combinations of the other settings that are drawn: the second varies, the rest stand at their last."""
    rest = [name for name in swept.varied if name != along]
    if not rest:
        yield {}
        return
    values = swept.settings[rest[0]]
    few = values if len(values) <= _MOST else [values[round(i * (len(values) - 1) / (_MOST - 1))] for i in range(_MOST)]
    for value in few:
        yield {rest[0]: value, **{name: swept.settings[name][-1] for name in rest[1:]}}


def _by_theory(
    swept: Swept,
    theory: Theory,
    along: str,
    x: tuple[float, ...],
    values: Mapping[float, Value],
    others: Mapping[str, Value],
) -> tuple[float, ...]:
    fixed = {name: given[-1] for name, given in swept.settings.items()}
    at = defaults_of(swept.model, {**fixed, **others})
    return tuple(theory.value({**at, along: values[place]}) for place in x)


def _named(beside: Mapping[tuple[float, ...], str], theory: Theory | None) -> list[tuple[str, tuple[float, ...]]]:
    """Name theory's curves: one that is the same for all series stands alone."""
    if theory is None:
        return []
    alone = len(beside) == 1
    return [
        (theory.name if alone else f"{theory.name}, {name}", line)
        for line, name in beside.items()
        if any(map(math.isfinite, line))
    ]


def _said(swept: Swept, theory: Theory | None) -> str:
    """Say where theory comes from, and of a phase diagram where its critical line was measured."""
    if theory is None:
        return ""
    critical = critical_line(swept)
    return f". {theory.name}: {theory.source}{f'. {critical}' if critical else ''}"


def critical_line(swept: Swept) -> str:
    """Say at which σ_w² a multilayer perceptron's rate was measured to pass 0, and where theory has that; or nothing.

    At the largest of each other setting.
    """
    if swept.model != "mlp" or "sigma_w" not in swept.varied or "gradient.rate" not in swept.measures:
        return ""
    last: dict[str, Any] = {name: values[-1] for name, values in swept.settings.items() if name != "sigma_w"}
    found, at = swept.crossing("sigma_w", "gradient.rate", **last), defaults_of("mlp", last)
    expected = critical_sigma_w(at["activation"], at["sigma_b"])
    if found is None or expected is None:
        return ""
    return (
        f"Measured, gradients neither grow nor fade at σ_w² = {found.value**2:.4g} ± "
        f"{2 * found.value * found.sem:.2g}; by theory at {expected**2:.5g}"
    )
