"""Sound as classes, along mu-law's curve or in equal steps, and the signal that classes stand for."""

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor


def mu_law(signal: Float[np.ndarray, "..."], levels: int = 256) -> Integer[Tensor, "..."]:
    """Compand a signal in [-1, 1] to classes 0 to levels - 1 (ITU-T G.711's curve, ``mu = levels - 1``).

    Examples
    --------
    >>> mu_law(np.array([-1.0, 0.0, 1.0]))
    tensor([  0, 128, 255])
    """
    mu = levels - 1
    companded = np.sign(signal) * np.log1p(mu * np.abs(signal)) / np.log1p(mu)
    return torch.from_numpy(np.floor((companded + 1) / 2 * mu + 0.5).astype(np.int64))


def inverse_mu_law(classes: Integer[Tensor, "..."], levels: int = 256) -> Float[np.ndarray, "..."]:
    """Return the signal in [-1, 1] that stands for each class; `mu_law` maps it back to the class.

    Examples
    --------
    >>> inverse_mu_law(torch.tensor([0, 255])).tolist()
    [-1.0, 1.0]
    """
    mu = levels - 1
    companded = 2 * classes.double().numpy() / mu - 1
    return np.asarray(np.sign(companded) * ((1 + mu) ** np.abs(companded) - 1) / mu)


def linear(signal: Float[np.ndarray, "..."], levels: int = 65536) -> Integer[Tensor, "..."]:
    """Cut [-1, 1] into as many equal pieces; samples of 8 and 16 bits keep their values at 256 and 65536 levels.

    Examples
    --------
    >>> linear(np.array([-1.0, 0.0, 32767 / 32768]))
    tensor([    0, 32768, 65535])
    """
    places = np.floor((signal + 1) / 2 * levels + 1e-6)  # a millionth of a class more than rounding takes away
    return torch.from_numpy(places.clip(0, levels - 1).astype(np.int64))


def inverse_linear(classes: Integer[Tensor, "..."], levels: int = 65536) -> Float[np.ndarray, "..."]:
    """Return the lower end of each class's piece of [-1, 1], which is the value of a sample of as many bits.

    Examples
    --------
    >>> inverse_linear(torch.tensor([0, 32768])).tolist()
    [-1.0, 0.0]
    """
    return np.asarray(2 * classes.double().numpy() / levels - 1)


def signal_of(classes: Integer[Tensor, "..."], levels: int, encoding: str | None = None) -> Float[np.ndarray, "..."]:
    """Return the signal in [-1, 1] that classes of an `encoding`, by default mu-law, stand for."""
    return inverse_linear(classes, levels) if encoding == "linear" else inverse_mu_law(classes, levels)
