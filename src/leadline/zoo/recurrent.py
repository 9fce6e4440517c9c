"""Recurrent networks over a sequence: vanilla tanh RNN, GRU and LSTM, fused or as a loop over explicit cells.

The explicit form spells out one time step and loops over layers and time; its parameters have the names and layout of
`torch.nn`'s modules, so one form loads the other's weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from leadline.errors import UsageError
from leadline.zoo.settings import Depth, Positive, Range, factory
from leadline.zoo.specimen import Specimen

CellName = Literal["rnn", "gru", "lstm"]
# (h,) or, for the LSTM, (h, c). A step takes W_i x, W_h h (with biases) and the state to the new state.
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class RecurrentConfig:
    """`layers` recurrences of `hidden` units over `inputs` features; `explicit` ones loop over cells in Python.

    `length` is only that of the example inputs.
    """

    inputs: Positive = 8
    hidden: Positive = 32
    layers: Depth = 1
    length: Positive = 32
    bias: bool = True
    explicit: bool = False


@dataclass(frozen=True)
class LSTMConfig(RecurrentConfig):
    """A recurrence of LSTM cells, to whose forget gates' biases `forget_bias` is added.

    Source: Gers, Schmidhuber and Cummins, Learning to forget (2000), for a bias at which a cell begins to remember.
    """

    forget_bias: Annotated[float, Range(-100, 100)] = 0.0


def rnn_step(gates: Float[Tensor, "b k"], recurrent: Float[Tensor, "b k"], _: State) -> State:
    """Return h' = tanh(W_i x + W_h h)."""
    return (torch.tanh(gates + recurrent),)


def gru_step(gates: Float[Tensor, "b kkk"], recurrent: Float[Tensor, "b kkk"], state: State) -> State:
    """Return h' = (1 - z) ⊙ n + z ⊙ h with n = tanh(W_in x + r ⊙ W_hn h)."""
    (h,) = state
    r, z, n = gates.chunk(3, dim=1)
    recurrent_r, recurrent_z, recurrent_n = recurrent.chunk(3, dim=1)
    r = torch.sigmoid(r + recurrent_r)
    z = torch.sigmoid(z + recurrent_z)
    n = torch.tanh(n + r * recurrent_n)
    return ((1 - z) * n + z * h,)


def lstm_step(gates: Float[Tensor, "b kkkk"], recurrent: Float[Tensor, "b kkkk"], state: State) -> State:
    """Return h' = o ⊙ tanh(c') and c' = f ⊙ c + i ⊙ g."""
    _, c = state
    i, f, g, o = (gates + recurrent).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@dataclass(frozen=True)
class RecurrentCell:
    """A kind of cell: its module in `torch.nn`, one step of it, and how many vectors its state has."""

    module: Callable[..., nn.RNNBase]
    step: Callable[[Tensor, Tensor, State], State]
    states: int


CELLS: Mapping[CellName, RecurrentCell] = MappingProxyType(
    {
        "rnn": RecurrentCell(nn.RNN, rnn_step, states=1),
        "gru": RecurrentCell(nn.GRU, gru_step, states=1),
        "lstm": RecurrentCell(nn.LSTM, lstm_step, states=2),
    }
)


class ExplicitRecurrence(nn.Module):
    """What a recurrent module of `torch.nn` computes (batch first), as a loop over layers and time."""

    def __init__(self, kind: RecurrentCell, config: RecurrentConfig) -> None:
        super().__init__()
        self.step, self.states = kind.step, kind.states
        self.layers, self.hidden = config.layers, config.hidden
        for name, parameter in fused(kind, config).named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Float[Tensor, "b t k"]) -> tuple[Float[Tensor, "b t m"], list[State]]:
        """Return the last layer's outputs, and the final state of every layer."""
        finals = []
        for layer in range(self.layers):
            outputs, state = [], (x.new_zeros(x.shape[0], self.hidden),) * self.states
            for x_t in x.unbind(dim=1):
                state = self.step(self._affine("ih", layer, x_t), self._affine("hh", layer, state[0]), state)
                outputs.append(state[0])
            x = torch.stack(outputs, dim=1)
            finals.append(state)
        return x, finals

    def _affine(self, which: str, layer: int, v: Float[Tensor, "b i"]) -> Float[Tensor, "b o"]:
        weight = self.get_parameter(f"weight_{which}_l{layer}")
        return linear(v, weight, getattr(self, f"bias_{which}_l{layer}", None))


def fused(kind: RecurrentCell, config: RecurrentConfig) -> nn.RNNBase:
    """Build the module of `torch.nn`."""
    return kind.module(config.inputs, config.hidden, config.layers, bias=config.bias, batch_first=True)


class Recurrent(nn.Module):
    """A recurrent network from a sequence of vectors to the sequence of its hidden states.

    Output t depends on all inputs up to t. A step waits for its predecessors in layer and in time, so the longest chain
    over T steps has ``T + layers - 1``.

    Examples
    --------
    Both forms agree:

    >>> from dataclasses import replace
    >>> config = RecurrentConfig(inputs=3, hidden=5, layers=2)
    >>> fused_model, explicit = Recurrent("gru", config), Recurrent("gru", replace(config, explicit=True))
    >>> _ = explicit.load_state_dict(fused_model.state_dict())
    >>> x = torch.randn(2, 7, 3)
    >>> torch.allclose(fused_model(x), explicit(x), atol=1e-6)
    True
    """

    def __init__(self, cell: CellName, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        kind = CELLS[cell]
        self.cells = ExplicitRecurrence(kind, config) if config.explicit else fused(kind, config)

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t m"]:
        """Run the recurrence from a zero state, and return the last layer's hidden states."""
        outputs: Tensor = self.cells(x)[0]
        return outputs


def _specimen(cell: CellName, config: RecurrentConfig, batch: int) -> Specimen:
    x = torch.randn(batch, config.length, config.inputs)
    return Specimen(Recurrent(cell, config), (x,), "b t k -> b t m")


@factory
def rnn(config: RecurrentConfig, batch: int) -> Specimen:
    """Build a vanilla tanh RNN; settings are the fields of `RecurrentConfig`, `batch` and `seed`."""
    return _specimen("rnn", config, batch)


@factory
def gru(config: RecurrentConfig, batch: int) -> Specimen:
    """Build a GRU; settings are the fields of `RecurrentConfig`, `batch` and `seed`."""
    return _specimen("gru", config, batch)


def remember(model: nn.Module, forget_bias: float) -> None:
    """Add to the biases of the gates by which a GRU or an LSTM keeps its state.

    They are the second of four in an LSTM, the second of three in a GRU.

    Source: Tallec and Ollivier, Can recurrent neural networks warp time? (2018), for both cells.

    Examples
    --------
    >>> model = Recurrent("gru", RecurrentConfig(inputs=2, hidden=3))
    >>> remember(model, 50.0)
    >>> bool(model(torch.randn(1, 9, 2)).abs().max() < 1e-6)  # nothing is let in
    True
    """
    assert isinstance(model, Recurrent)
    hidden = model.config.hidden
    with torch.no_grad():
        for layer in range(model.config.layers):
            gates = model.cells.get_parameter(f"bias_ih_l{layer}")
            gates[hidden : 2 * hidden] += forget_bias


@factory
def lstm(config: LSTMConfig, batch: int) -> Specimen:
    """Build an LSTM; settings are the fields of `LSTMConfig`, `batch` and `seed`."""
    specimen = _specimen("lstm", config, batch)
    if config.forget_bias:
        if not config.bias:
            raise UsageError("forget_bias is added to a bias: leave bias=false out")
        remember(specimen.model, config.forget_bias)
    return specimen
