"""MDRNN: recurrences from the north and the west over a grid, bare or as an autoregressive density over images.

The core, `GridRNN`, runs as one op whose cells advance in wavefronts (`leadline.grid`). The density model, `MDRNN`,
feeds it with earlier pixels only.

Sources: Graves, Fernández, Schmidhuber, "Multi-dimensional recurrent neural networks", 2007; Theis, Bethge, "Generative
image modeling using spatial LSTMs", 2015.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from leadline.grid import grid_lstm
from leadline.grid import grid_rnn as grid_tanh
from leadline.zoo.layers.colors import ColoredLinear, as_channels, as_symbols
from leadline.zoo.layers.condition import Condition
from leadline.zoo.layers.dropout import Dropout
from leadline.zoo.layers.logits import Logits
from leadline.zoo.settings import Depth, Fraction, Natural, Positive, factory
from leadline.zoo.specimen import Specimen, image_specimen

GridCell = Literal["tanh", "lstm"]


@dataclass(frozen=True)
class GridRNNConfig:
    """`layers` stacked recurrences of `hidden` units over `inputs` features.

    `height` and `width` are only those of the example inputs.
    """

    inputs: Positive = 8
    hidden: Positive = 32
    layers: Depth = 1
    cell: GridCell = "tanh"
    height: Positive = 8
    width: Positive = 8


class GridRNN(nn.Module):
    """A grid of vectors to the grid of the last layer's outputs, each layer recurrent from the north and the west.

    Output (i,j) depends on the inputs (i',j') with i' ≤ i and j' ≤ j. The longest chain over an H × W grid has
    ``H + W - 1 + (layers - 1)`` steps.

    Recurrent matrices start orthogonal over √2, so that tanh cells around 0 pass on, from one antidiagonal to the next,
    what they receive, neither more nor less. Forget biases start at 0, so that an LSTM's two forget gates sum to 1;
    the customary bias of 1 would multiply cell states by 1.46 at every step.

    Examples
    --------
    >>> GridRNN(GridRNNConfig(inputs=3, hidden=5, layers=2))(torch.randn(2, 4, 6, 3)).shape
    torch.Size([2, 4, 6, 5])
    """

    def __init__(self, config: GridRNNConfig) -> None:
        super().__init__()
        self.config = config
        gates, k, d = 5 if config.cell == "lstm" else 1, config.hidden, config.layers
        self.weight_in = nn.Parameter(torch.randn(gates * k, config.inputs) / config.inputs**0.5)
        self.weight_below = nn.Parameter(_orthogonal(d - 1, gates, k))
        self.weight_north = nn.Parameter(_orthogonal(d, gates, k) / 2**0.5)
        self.weight_west = nn.Parameter(_orthogonal(d, gates, k) / 2**0.5)
        self.bias = nn.Parameter(torch.zeros(d, gates * k))

    def forward(self, x: Float[Tensor, "b h w k"]) -> Float[Tensor, "b h w m"]:
        """Run all layers from states of zero outside the grid."""
        op = grid_lstm if self.config.cell == "lstm" else grid_tanh
        return op(x, self.weight_in, self.weight_below, self.weight_north, self.weight_west, self.bias)


@dataclass(frozen=True)
class MDRNNConfig:
    """`layers` grid recurrences of `hidden` units over embeddings of earlier pixels, then a head of `head` units.

    The core at (i,j) reads the pixel to the left and those above, (i-1,j) to (i-1,j+reach). `labels` classes condition
    the model (0: none); `positions` adds a learned vector per pixel, which ties the model to `height` × `width`. Pixels
    of several `colors` have a symbol for each, one after the other.
    """

    classes: Positive = 17
    height: Positive = 8
    width: Positive = 8
    colors: Positive = 1
    embedding: Positive = 32
    hidden: Positive = 64
    layers: Depth = 2
    cell: GridCell = "lstm"
    reach: Natural = 0
    head: Positive = 64
    dropout: Fraction = 0.0
    labels: Natural = 0
    positions: bool = False


class MDRNN(nn.Module):
    """Logits of every pixel's class, from pixels before it in raster order.

    Pixel (i,j) sees those to its left in its row, and of every row above the columns up to ``j + reach``; the others
    above it stay blind at any depth: ``i · (w - 1 - j)`` of them with the default reach of 0, which leaves the
    rectangle ``i' ≤ i, j' ≤ j`` without (i,j) itself. Of its own pixel a colour sees those before it.

    Examples
    --------
    >>> model = MDRNN(MDRNNConfig(classes=4, hidden=8, layers=1))
    >>> model(torch.zeros(1, 8, 8, dtype=torch.long)).shape
    torch.Size([1, 8, 8, 4])
    """

    def __init__(self, config: MDRNNConfig) -> None:
        super().__init__()
        self.config = config
        pixel = config.embedding * config.colors
        inputs = (2 + config.reach) * pixel
        self.embed = nn.Embedding(config.classes, config.embedding)
        self.condition = Condition(inputs, config.labels, (config.height, config.width) if config.positions else None)
        self.core = GridRNN(GridRNNConfig(inputs, config.hidden, config.layers, config.cell))
        self.dropout = Dropout(config.dropout)
        # The head reads the core's input as well, so that the core need not carry the nearest pixels through its state.
        self.hidden = nn.Linear(config.hidden + inputs, config.head)
        self.own: nn.Module | None = None
        if config.colors == 1:
            self.logits: nn.Module = Logits(config.head, config.classes)
        else:
            self.own = ColoredLinear(pixel, config.head, config.colors, "A", bias=False)
            self.logits = ColoredLinear(config.head, config.classes * config.colors, config.colors, "B")

    def forward(
        self, x: Int[Tensor, "b h w *c"], label: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b h w *c v"]:
        """Return the logits of all symbols of images `x`; `label` is needed if the model is conditional."""
        pixels = as_channels(self.embed(x)).movedim(1, -1)
        earlier = _earlier(pixels, self.config.reach).movedim(-1, 1)
        z = self.condition(earlier, label).movedim(1, -1)
        z = self.hidden(self.dropout(torch.cat([self.core(z), z], -1)))
        if self.own is not None:
            z = z + self.own(pixels)
        logits = self.logits(self.dropout(torch.relu(z)))
        return as_symbols(logits.movedim(-1, 1), self.config.colors)


def _earlier(z: Float[Tensor, "b h w e"], reach: int) -> Float[Tensor, "b h w n"]:
    """Give each position the vectors to its west and of the `reach + 1` pixels above, zeros where there is none."""
    width = z.shape[2]
    above = [pad(z[:, :-1, (c := min(column, width)) :], (0, 0, 0, c, 1, 0)) for column in range(reach + 1)]
    return torch.cat([pad(z[:, :, :-1], (0, 0, 1, 0)), *above], -1)


def _orthogonal(layers: int, gates: int, k: int) -> Float[Tensor, "layers gk k"]:
    """Return matrices with an orthogonal block for each gate."""
    blocks = [nn.init.orthogonal_(torch.empty(k, k)) for _ in range(layers * gates)]
    return torch.stack(blocks).reshape(layers, gates * k, k) if blocks else torch.empty(0, gates * k, k)


@factory
def grid_rnn(config: GridRNNConfig, batch: int) -> Specimen:
    """Build a bare grid recurrence; settings are the fields of `GridRNNConfig`, `batch` and `seed`."""
    x = torch.randn(batch, config.height, config.width, config.inputs)
    return Specimen(GridRNN(config), (x,), "b h w k -> b h w m")


@factory
def mdrnn(config: MDRNNConfig, batch: int) -> Specimen:
    """Build an MDRNN; settings are the fields of `MDRNNConfig`, `batch` and `seed`."""
    return image_specimen(MDRNN(config), config, batch)
