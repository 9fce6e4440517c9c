"""What mean-field theory says of what was swept, where it says anything: curves to draw beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from leadline.errors import UsageError
from leadline.jacobian.theory.mean_field import (
    batchnorm_growth,
    critical_point,
    fixed_point,
    lstm_forget_exponent,
    residual_growth,
)
from leadline.sweeps.grid import Value
from leadline.zoo import ZOO
from leadline.zoo.settings import settings_of

_PHI: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "identity": lambda x: x}
)
_HOMOGENEOUS = MappingProxyType({"relu": 0.5, "identity": 1.0})
"""Activations whose mean squared slope is the same at every variance."""


@dataclass(frozen=True)
class Theory:
    """A curve of theory: its name, where it comes from, and its value at settings of the model.

    `zero` says at which value of the setting along which it is drawn it passes zero, where that is known.
    """

    name: str
    source: str
    value: Callable[[Mapping[str, Any]], float]
    zero: Callable[[Mapping[str, Any]], float | None] | None = None


def theory_of(model: str, along: str, measure: str) -> Theory | None:
    """Return what theory says of a measure along a setting; None where it says nothing.

    Examples
    --------
    >>> found = theory_of("mlp", "sigma_w", "gradient.rate")
    >>> round(found.value({"activation": "relu", "sigma_w": 2**0.5, "sigma_b": 0.0}), 9)
    0.0
    """
    return _KNOWN.get((model, along, measure))


def critical_sigma_w(activation: str, sigma_b: float) -> float | None:
    """Return the standard deviation of weights, times the root of the width, at which gradients neither grow nor fade.

    Source: Poole, Lahiri, Raghu, Sohl-Dickstein and Ganguli, Exponential expressivity in deep neural networks through
    transient chaos (2016); Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, Deep information propagation (2017).

    Examples
    --------
    >>> round(critical_sigma_w("tanh", 0.05**0.5) ** 2, 4), critical_sigma_w("relu", 0.3)
    (1.761, 1.4142135623730951)
    """
    if activation in _HOMOGENEOUS:
        return math.sqrt(1 / _HOMOGENEOUS[activation])
    if activation != "tanh":
        return None
    return math.sqrt(critical_point(torch.tanh, sigma_b**2)[0]) if sigma_b else 1.0


def defaults_of(model: str, given: Mapping[str, Value]) -> dict[str, Any]:
    """Return the settings of a model of the zoo, those not given by default."""
    if model not in ZOO:
        return dict(given)
    known = vars(ZOO[model](**{name: value for name, value in given.items() if value is not None}).config)
    return {name: value for name, value in {**known, **given}.items() if name in settings_of(ZOO[model])}


def _mlp_rate(at: Mapping[str, Any]) -> float:
    """Return ``½ ln χ₁`` of a wide network."""
    activation, variance = at["activation"], at["sigma_w"] ** 2
    if activation in _HOMOGENEOUS:
        return 0.5 * math.log(variance * _HOMOGENEOUS[activation]) if variance else -math.inf
    try:
        return fixed_point(_PHI[activation], variance, at["sigma_b"] ** 2).rate
    except (UsageError, ValueError):  # the variance has no fixed point, or is none itself
        return math.nan


def _mlp_critical(at: Mapping[str, Any]) -> float | None:
    return critical_sigma_w(at["activation"], at["sigma_b"])


def _placement_total(at: Mapping[str, Any]) -> float:
    """Return the log growth of the gradient norm over all layers of a normalised stack of wide layers."""
    depth: int = at["layers"]
    match at["placement"]:
        case "branch" | "before":
            return 0.5 * math.log(residual_growth(torch.relu, at["placement"], depth))
        case "after":
            return 0.5 * math.log(residual_growth(torch.relu, "sum", depth))
        case "plain":
            return 0.5 * depth * math.log(batchnorm_growth(torch.relu))
    return math.nan


def _forget_half_life(at: Mapping[str, Any]) -> float:
    """Return the steps over which an LSTM's cell that is left alone halves."""
    return math.log(2) / -lstm_forget_exponent(at["forget_bias"])


def _steps(at: Mapping[str, Any], formula: Callable[[Any, Any, Any], float], **usual: Any) -> float:
    """Return a formula in d, H and W, or d, T and T, at settings of the usual values and axes of two places or more."""
    H, W = (at["length"], at["length"]) if "length" in at else (at["height"], at["width"])
    if min(H, W) < 2 or any(at[name] != value for name, value in usual.items()):
        return math.nan
    return formula(at["layers"], H, W)


_INFINITE = "mean field, infinite width"
_STEPS: Mapping[tuple[str, str], tuple[str, Callable[[Any, Any, Any], float], Mapping[str, Any]]] = MappingProxyType(
    {
        ("masked-stack", "span.steps"): ("d", lambda d, _H, _W: d, {}),
        ("masked-stack", "generation.steps"): (
            "d (2(H-1) + W)", lambda d, H, W: d * (2 * (H - 1) + W), {"kernel": 3, "first": "A"}
        ),
        ("mdrnn", "span.steps"): ("H + W + d - 1", lambda d, H, W: H + W + d - 1, {"reach": 0}),
        ("mdrnn", "generation.steps"): ("(d + 2)(H + W - 1)", lambda d, H, W: (d + 2) * (H + W - 1), {"reach": 0}),
        ("grid-rnn", "span.steps"): ("H + W + d - 2", lambda d, H, W: H + W + d - 2, {}),
        ("dilated-stack", "span.steps"): ("d", lambda d, _T, _: d, {}),
        ("dilated-stack", "generation.steps"): ("d T", lambda d, T, _: d * T, {}),
        **{(name, "span.steps"): ("T + d - 1", lambda d, T, _: T + d - 1, {}) for name in ("rnn", "gru", "lstm")},
        **{(name, "generation.steps"): ("d T", lambda d, T, _: d * T, {}) for name in ("rnn", "gru", "lstm")},
    }
)  # fmt: skip
"""Claim B8: how many steps must follow one another, over the sizes; an MDRNN's head adds two products to each pixel."""
_KNOWN: Mapping[tuple[str, str, str], Theory] = MappingProxyType(
    {
        **{
            (model, along, measure): Theory(
                "by its law", f"{written} ({model})", partial(_steps, formula=formula, **usual)
            )
            for (model, measure), (written, formula, usual) in _STEPS.items()
            for along in ("height", "width", "length", "layers")
        },
        ("mlp", "sigma_w", "gradient.rate"): Theory(
            _INFINITE, "Schoenholz et al. (2017): ½ ln χ₁", _mlp_rate, _mlp_critical
        ),
        ("batchnorm", "layers", "gradient.total"): Theory(
            _INFINITE, "Yang et al. (2019), for large batches", _placement_total
        ),
        ("lstm", "forget_bias", "reach.half_life"): Theory(
            "a cell left alone", "ln 2 / -ln σ(b), with weights of zero", _forget_half_life
        ),
    }
)
