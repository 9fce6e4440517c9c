"""Normalising flows, whose dimensions have an order, and differential equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from published.entry import Published, Through


def _flow(
    package: str, name: str, build: Callable[[int], nn.Module], way: Callable[..., Any], output: str = "output"
) -> Published:
    """From a vector to a vector, made for as many dimensions as it has."""
    return Published(
        package,
        name,
        lambda length: Through(build(length), way).eval(),
        lambda length: {"x": torch.randn(2, length)},
        {"x": "b t", output: "b t"},
        lengths=(6, 7),
    )


def _nflows(name: str, **settings: Any) -> Published:
    def build(length: int) -> nn.Module:
        import nflows.transforms as transforms

        kind = getattr(transforms, name)
        if name.endswith("Permutation") or name in ("LULinear", "QRLinear", "SVDLinear"):
            made: nn.Module = kind(length, **settings)
        else:
            made = kind(features=length, hidden_features=16, num_blocks=1, **settings)
        return made

    return _flow("nflows", name, build, lambda model, x: model(x), "[0]")


def _coupling(length: int) -> nn.Module:
    from nflows.nn.nets import ResidualNet
    from nflows.transforms import AffineCouplingTransform

    mask = torch.arange(length) % 2
    return AffineCouplingTransform(mask, lambda i, o: ResidualNet(i, o, hidden_features=8, num_blocks=1))


def _made(length: int) -> nn.Module:
    from nflows.transforms.made import MADE

    return MADE(length, 16, num_blocks=1)


def _normflows_autoregressive(length: int) -> nn.Module:
    from normflows.flows import MaskedAffineAutoregressive

    return MaskedAffineAutoregressive(length, 16, num_blocks=1)


def _normflows_planar(length: int) -> nn.Module:
    from normflows.flows import Planar

    return Planar((length,))


def _zuko(name: str, **settings: Any) -> Published:
    def build(length: int) -> nn.Module:
        import zuko.flows

        made: nn.Module = getattr(zuko.flows, name)(length, transforms=1, hidden_features=(8, 8), **settings)
        return made

    return _flow("zuko", name, build, lambda model, x: model().transform(x))


def _solved(method: str) -> Callable[..., Any]:
    def way(model: nn.Module, x: Tensor) -> Tensor:
        import torchdiffeq

        times = torch.linspace(0.0, 1.0, 3)
        found: Tensor = torchdiffeq.odeint(lambda _, y: model(y), x, times, method=method)
        return found[-1]

    return way


def _equation(method: str) -> Published:
    """Dynamics by an autoregressive network of another package, so that dimensions have an order."""
    return _flow("torchdiffeq", f"odeint, {method}", _made, _solved(method))


MODELS: tuple[Published, ...] = (
    _flow("nflows", "MADE", _made, lambda model, x: model(x)),
    _nflows("MaskedAffineAutoregressiveTransform"),
    _nflows("MaskedPiecewiseRationalQuadraticAutoregressiveTransform", tails="linear", num_bins=4),
    _nflows("LULinear", identity_init=False),
    _nflows("QRLinear", num_householder=3),
    _flow("nflows", "AffineCouplingTransform", _coupling, lambda model, x: model(x), "[0]"),
    _flow("normflows", "MaskedAffineAutoregressive", _normflows_autoregressive, lambda model, x: model(x), "[0]"),
    _flow("normflows", "Planar", _normflows_planar, lambda model, x: model(x), "[0]"),
    _zuko("MAF"),
    _zuko("NSF"),
    _zuko("NICE"),
    _zuko("SOSPF"),
    _equation("euler"),
    _equation("rk4"),
    _equation("explicit_adams"),
)
