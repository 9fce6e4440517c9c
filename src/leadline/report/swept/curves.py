"""Sweeps as curves: a measure along a setting, a series for each value of another, and what theory says of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from leadline.document import Curve
from leadline.results import Estimate
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


def numeric(swept: Swept) -> list[str]:
    """Return the settings that vary and are numbers, those of the most values first."""
    names = [name for name in swept.varied if all(math.isfinite(number_of(v)) for v in swept.settings[name])]
    return sorted(names, key=lambda name: -len(swept.settings[name]))


def _along(swept: Swept) -> str | None:
    return next(iter(numeric(swept)), None)


@dataclass(frozen=True)
class _Series:
    """A measure along a setting, the others fixed: means over seeds, their errors, and what theory says, if it does."""

    name: str
    means: tuple[float, ...]
    found: tuple[Estimate | None, ...]
    theory: Theory | None
    expected: tuple[float, ...]


def _drawn(swept: Swept, along: str, measure: str) -> Curve | None:
    x = tuple(sorted(number_of(value) for value in swept.settings[along]))
    values = {number_of(value): value for value in swept.settings[along]}
    each = [_series(swept, along, measure, [values[at] for at in x], others) for others in _chosen(swept, along)]
    each = [one for one in each if any(map(math.isfinite, one.means))]
    if not each:
        return None
    numbers = [value for one in each for value in (*one.means, *one.expected) if math.isfinite(value)]
    steep = min(numbers) > 0 and max(numbers) > _STEEP * min(numbers)
    return Curve(
        x, (*((one.name, one.means) for one in each), *_beside(each)), along, measure,
        f"{measure} along {along}{fixed(swept, along)}: {over_seeds(swept)}{_said(swept, each, along, x)}",
        log_y=steep, bands=_bands(each), levels=(("0", 0.0),) if min(numbers) < 0 < max(numbers) else (),
    )  # fmt: skip


def _series(swept: Swept, along: str, measure: str, values: list[Value], others: Mapping[str, Value]) -> _Series:
    name = ", ".join(str(value) if key == "model" else f"{key}={value}" for key, value in others.items()) or measure
    found = tuple(swept.mean(measure, **others, **{along: value}) for value in values)
    means = tuple(math.nan if each is None else each.value for each in found)
    model = str(others["model"]) if len(swept.models) > 1 else swept.model
    theory = theory_of(model, along, measure)
    expected: tuple[float, ...] = ()
    if theory is not None:
        at = settings_at(swept, model, others)
        expected = tuple(theory.value({**at, along: value}) for value in values)
    return _Series(name, means, found, theory, expected)


def settings_at(swept: Swept, model: str, others: Mapping[str, Value]) -> dict[str, Any]:
    """Return all settings of a model of a sweep: those chosen, the last ones of the rest, and defaults."""
    last = {name: given[-1] for name, given in swept.settings.items()}
    given = {name: value for name, value in {**last, **others}.items() if name != "model" or len(swept.models) == 1}
    return defaults_of(model, given)


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


def _bands(each: list[_Series]) -> tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]:
    bands = []
    for one in each:
        known = [found for found in one.found if found is not None and math.isfinite(found.sem)]
        if len(known) == len(one.found):
            ends = [found.interval() for found in known]
            bands.append((one.name, tuple(low for low, _ in ends), tuple(high for _, high in ends)))
    return tuple(bands)


def _beside(each: list[_Series]) -> list[tuple[str, tuple[float, ...]]]:
    """Return theory's curves, each once, by name: one that is the same for all series stands alone."""
    curves: dict[tuple[float, ...], _Series] = {}
    for one in each:
        if one.theory is not None and any(map(math.isfinite, one.expected)):
            curves.setdefault(one.expected, one)
    alone = len(curves) == 1
    return [
        (one.theory.name if alone else f"{one.theory.name}, {one.name}", line)
        for line, one in curves.items()
        if one.theory is not None
    ]


def over_seeds(swept: Swept) -> str:
    """Say over how many seeds means are taken."""
    return "one seed" if swept.seeds == 1 else f"means over {swept.seeds} seeds with their 95 % intervals"


def fixed(swept: Swept, *drawn: str) -> str:
    """Say where the settings stand that vary and are not drawn: all but the first of the others."""
    rest = [name for name in swept.varied if name not in drawn][1:]
    return "".join(f", {name}={swept.settings[name][-1]}" for name in rest)


def _said(swept: Swept, each: list[_Series], along: str, x: tuple[float, ...]) -> str:
    """Say where theory comes from, and how near to it the last point of each series is."""
    known = [one for one in each if one.theory is not None]
    if not known:
        return ""
    sources = dict.fromkeys(f"{one.theory.name}: {one.theory.source}" for one in known if one.theory is not None)
    critical = critical_line(swept)
    near = critical or f"At {along}={x[-1]:g}: " + ", ".join(
        f"{one.name} {one.means[-1]:.4g} ({one.expected[-1]:.4g} by theory)"
        for one in known
        if math.isfinite(one.means[-1] + one.expected[-1])
    )
    return f". {'; '.join(sources)}. {near}"


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
