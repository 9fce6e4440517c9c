"""What the claims about gradients over a grid share: the zoo's recurrence with given matrices, and its Jacobians."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.claims.algebra import eye, normal, spectral_norm
from leadline.claims.claim import Effort, Quantity, measured
from leadline.errors import SEEDS
from leadline.results import Estimate
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig

Cells = Sequence[tuple[int, int]]


def grid_rnn(north: Float[Tensor, "k k"], west: Float[Tensor, "k k"]) -> GridRNN:
    """Build the zoo's tanh recurrence with these matrices; inputs are added to the pre-activations as they are."""
    k = len(north)
    model = GridRNN(GridRNNConfig(inputs=k, hidden=k)).double()
    weights = {"weight_in": eye(k), "weight_north": north[None], "weight_west": west[None]}
    model.load_state_dict(weights | {"weight_below": torch.zeros(0, k, k), "bias": torch.zeros(1, k)})
    return model


def through(model: GridRNN, x: Float[Tensor, "h w n"], cells: Cells) -> Float[Tensor, "c k n"]:
    """Differentiate the model's outputs in some cells by its input in the first, all in one batch.

    Where the inputs are zero, a tanh cell is linear, and this is J(i,j).

    Examples
    --------
    >>> through(grid_rnn(eye(1) / 2, eye(1) / 4), torch.zeros(2, 3, 1).double(), [(1, 1), (1, 2)]).squeeze()
    tensor([0.2500, 0.0938], dtype=torch.float64)
    """
    k = model.config.hidden
    batch = x.expand(len(cells) * k, *x.shape).clone().requires_grad_()
    out = model(batch)
    asked = torch.zeros_like(out)
    for number, (i, j) in enumerate(cells):
        asked[number * k : (number + 1) * k, i, j] = eye(k)
    (gradient,) = torch.autograd.grad(out, batch, asked)
    found: Tensor = gradient[:, 0, 0].unflatten(0, (len(cells), k))
    return found


def normed(generator: torch.Generator, k: int, norm: float) -> Float[Tensor, "k k"]:
    """Draw a matrix of the spectral norm given."""
    drawn = normal(generator, k, k)
    return norm * drawn / spectral_norm(drawn)


def orthogonal(generator: torch.Generator, k: int) -> Float[Tensor, "k k"]:
    """Draw an orthogonal matrix, each as likely as any other: the signs that a QR decomposition prefers are undone."""
    Q, R = torch.linalg.qr(normal(generator, k, k))
    drawn: Tensor = Q * R.diagonal().sign()
    return drawn


def lstm_growth(forget_bias: float, effort: Effort) -> Quantity:
    """Measure how gradients of the zoo's LSTM cell grow along the diagonal, from 12 steps on to 24, at zero input."""
    k, found = 8, []
    zeros = torch.zeros(13, 13, k, dtype=torch.float64)
    for draw in range(effort.pick(3, 40)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((effort.seed + draw) % SEEDS)
            model = GridRNN(GridRNNConfig(inputs=k, hidden=k, cell="lstm")).double()
        model.bias.data[:, 3 * k :] = forget_bias
        near, far = spectral_norm(through(model, zeros, [(6, 6), (12, 12)])).tolist()
        found.append((far / near) ** (1 / 12))
    return measured(
        f"growth a step, LSTM cell of the zoo, forget biases {forget_bias:g}", Estimate.of(found, effort.seed)
    )
