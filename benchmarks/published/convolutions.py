"""Causal convolutional networks, with and without recurrences, as their papers write them, small."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Late(nn.Module):
    """A convolution that is padded on the left alone."""

    def __init__(self, channels: int, out: int, kernel: int, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.pad = dilation * (kernel - 1)
        self.conv = nn.Conv1d(channels, out, kernel, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(functional.pad(x, (self.pad, 0)))
        return out


class GatedConvolutions(nn.Module):
    """A language model of gated linear units (Dauphin et al. 2017)."""

    def __init__(self, width: int = 12, classes: int = 40) -> None:
        super().__init__()
        self.embedding, self.logits = nn.Embedding(classes, width), nn.Linear(width, classes)
        self.convs = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv1d(width, 2 * width, 3)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).mT
        for conv in self.convs:
            x = x + functional.glu(conv(functional.pad(x, (2, 0))), 1)
        out: Tensor = self.logits(x.mT)
        return out


class ByteNet(nn.Module):
    """Residual blocks of dilated convolutions, normalised by layers (Kalchbrenner et al. 2016)."""

    def __init__(self, width: int = 12, classes: int = 40) -> None:
        super().__init__()
        self.embedding, self.logits = nn.Embedding(classes, width), nn.Linear(width, classes)
        self.blocks = nn.ModuleList(
            nn.ModuleList((nn.LayerNorm(width), nn.Linear(width, width // 2), Late(width // 2, width, 3, dilation)))
            for dilation in (1, 2, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for norm, down, conv in self.blocks:
            x = x + conv(functional.relu(down(functional.relu(norm(x)))).mT).mT
        out: Tensor = self.logits(x)
        return out


class RunningNorm(nn.Module):
    """Normalise by mean and variance of all channels so far (Luo & Mesgarani 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels, 1)), nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype) * x.shape[1]
        mean = x.sum(1).cumsum(-1) / count
        square = x.pow(2).sum(1).cumsum(-1) / count
        normal = (x - mean[:, None]) / (square - mean.pow(2) + 1e-8).sqrt()[:, None]
        return normal * self.weight + self.bias


class Separator(nn.Module):
    """The causal separator of Conv-TasNet (Luo & Mesgarani 2019)."""

    def __init__(self, channels: int = 6, hidden: int = 10) -> None:
        super().__init__()
        self.norm = RunningNorm(channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, hidden, 1), nn.PReLU(), RunningNorm(hidden),
                Late(hidden, hidden, 3, 2**n, hidden), nn.PReLU(), RunningNorm(hidden), nn.Conv1d(hidden, channels, 1),
            )
            for n in range(2)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        for block in self.blocks:
            y = y + block(y)
        return x * torch.sigmoid(y)


class Spectrogram(nn.Module):
    """Maps of frequencies convolved along both axes, then a recurrent layer (Amodei et al. 2016), causal."""

    def __init__(self, bins: int = 8, hidden: int = 10) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=(1, 0)), nn.Conv2d(3, 3, 3, stride=(2, 1), padding=(1, 0))
        self.norm = nn.BatchNorm2d(3)
        self.gru, self.logits = nn.GRU(3 * bins // 2, hidden, batch_first=True), nn.Linear(hidden, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.hardtanh(self.norm(self.first(functional.pad(x[:, None], (2, 0)))), 0.0, 20.0)
        y = functional.hardtanh(self.second(functional.pad(y, (2, 0))), 0.0, 20.0)
        out: Tensor = self.logits(self.gru(y.flatten(1, 2).mT)[0])
        return out


class ConvLSTM(nn.Module):
    """Maps for states (Shi et al. 2015); ``x`` is (b, t, c, h, w)."""

    def __init__(self, channels: int = 2, hidden: int = 3) -> None:
        super().__init__()
        self.gates, self.hidden = nn.Conv2d(channels + hidden, 4 * hidden, 3, padding=1), hidden

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.hidden, *x.shape[-2:])
        out = []
        for t in range(x.shape[1]):
            i, f, g, o = self.gates(torch.cat((x[:, t], h), 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        return torch.stack(out, 1)


class ConvGRU(nn.Module):
    """Gated maps (Ballas et al. 2016), with pooling before and enlarging after them."""

    def __init__(self, channels: int = 2, hidden: int = 3) -> None:
        super().__init__()
        self.gates = nn.Conv2d(channels + hidden, 2 * hidden, 3, padding=1)
        self.new, self.hidden = nn.Conv2d(channels + hidden, hidden, 3, padding=1), hidden

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])
        h = x.new_zeros(len(x), self.hidden, *x.shape[-2:])
        out = []
        for t in range(x.shape[1]):
            z, r = torch.sigmoid(self.gates(torch.cat((x[:, t], h), 1))).chunk(2, 1)
            new = torch.tanh(self.new(torch.cat((x[:, t], r * h), 1)))
            h = (1 - z) * h + z * new
            out.append(h)
        return functional.interpolate(torch.stack(out, 1).flatten(0, 1), scale_factor=2).unflatten(0, x.shape[:2])


class FrameNet(nn.Module):
    """A small network of images at every frame, then a recurrent layer (Donahue et al. 2015)."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.lstm, self.logits = nn.LSTM(4, hidden, batch_first=True), nn.Linear(hidden, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        out: Tensor = self.logits(self.lstm(y)[0])
        return out


class Memories(nn.Module):
    """Feedforward sequential memory: weighted sums of what a layer was (Zhang et al. 2015)."""

    def __init__(self, width: int = 8, taps: int = 4) -> None:
        super().__init__()
        self.up, self.down, self.taps = (
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
            nn.Parameter(torch.randn(taps, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(torch.relu(self.up(x)))
        memory = h
        for n, tap in enumerate(self.taps, 1):
            memory = memory + tap * torch.cat((torch.zeros_like(h[:, :n]), h[:, :-n]), 1)
        return memory + x


class LightConvolution(nn.Module):
    """Depthwise convolutions whose weights are softmaxes, shared by heads (Wu et al. 2019)."""

    def __init__(self, width: int = 8, heads: int = 2, kernel: int = 3) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.weight = nn.Parameter(torch.randn(heads, 1, kernel))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.glu(self.into(x)).mT
        heads, kernel = self.weight.shape[0], self.weight.shape[-1]
        grouped = functional.pad(y, (kernel - 1, 0)).reshape(-1, heads, y.shape[-1] + kernel - 1)
        y = functional.conv1d(grouped, self.weight.softmax(-1), groups=heads).reshape(y.shape)
        out: Tensor = self.out(y.mT) + x
        return out


class Mixer(nn.Module):
    """A mixer whose tokens mix by learned weights of the last few (after Tolstikhin et al. 2021)."""

    def __init__(self, width: int = 8, window: int = 5) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(window, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y, mixed = self.norms[0](x), torch.zeros_like(x)
        for n, weight in enumerate(self.tokens):
            mixed = mixed + weight * functional.pad(y, (0, 0, n, -n))
        x = x + mixed
        out: Tensor = x + self.channels(self.norms[1](x))
        return out


class Samples(nn.Module):
    """One tier of SampleRNN: a recurrent layer, and a perceptron of it and the last samples (Mehri et al. 2017)."""

    def __init__(self, classes: int = 16, width: int = 8) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(classes, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Linear(4 * width, 12), nn.ReLU(), nn.Linear(12, classes))

    def forward(self, x: Tensor) -> Tensor:
        z = functional.pad(self.embedding(x), (0, 0, 1, -1))
        last = [z.roll(n, 1) for n in (1, 2)]
        for n, late in enumerate(last, 1):
            late[:, :n] = 0
        out: Tensor = self.head(torch.cat((self.gru(z)[0], z, *last), -1))
        return out
