"""Random networks of ten classes, each measured against its own bound."""

import torch
from torch import nn

from leadline.jacobian._bound import bound
from leadline.jacobian._jacobian import jacobian
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig


class Residual(nn.Module):
    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


class Gated(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return torch.tanh(self.first(x)) * torch.sigmoid(self.second(x))


class First(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x)[0]


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Softplus, nn.Mish, nn.Hardswish)


def phi(draw):
    return ACTIVATIONS[draw(len(ACTIVATIONS))]()


def mlp(draw):
    w = 2 + draw(4)
    return nn.Sequential(nn.Linear(w, w), phi(draw), nn.Linear(w, 2 + draw(4)), phi(draw)), (1, w)


def residual(draw):
    w = 2 + draw(4)
    branches = [nn.Sequential(nn.Linear(w, w), phi(draw)) for _ in range(1 + draw(3))]
    return nn.Sequential(*[Residual(branch) for branch in branches]), (1, w)


def conv(draw):
    first = nn.Conv2d(1, 2, 1 + 2 * draw(2), stride=1 + draw(2), padding=draw(2), dilation=1 + draw(2))
    return nn.Sequential(first, nn.BatchNorm2d(2).eval(), phi(draw), nn.Flatten()), (1, 1, 6, 6)


def pooled(draw):
    pool = (nn.MaxPool1d, nn.AvgPool1d)[draw(2)](2 + draw(2), stride=1 + draw(2))
    return nn.Sequential(nn.Conv1d(2, 2, 2, groups=1 + draw(2)), phi(draw), pool), (1, 2, 9)


def recurrent(draw):
    kind = (nn.RNN, nn.GRU, nn.LSTM)[draw(3)]
    return First(kind(2, 3, 1 + draw(2), batch_first=True, bias=bool(draw(2)))), (1, 4, 2)


def gated(draw):
    return Gated(3 + draw(2)), None


def attention(draw):
    norm_first = bool(draw(2))
    return nn.TransformerEncoderLayer(4, 1 + draw(2), 5, batch_first=True, norm_first=norm_first).eval(), (1, 3, 4)


def softmaxed(draw):
    return nn.Sequential(nn.Linear(3, 4), (nn.Softmax, nn.LogSoftmax)[draw(2)](-1), nn.LayerNorm(4)), (1, 3)


class Cumulative(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.linear, self.how = nn.Linear(3, 3), how

    def forward(self, x):
        y = self.how(self.linear(x), 1)
        return torch.tanh(y if isinstance(y, torch.Tensor) else y.values)


def cumulative(draw):
    return Cumulative((torch.cumsum, torch.cummax, torch.logcumsumexp)[draw(3)]), (1, 2 + draw(6), 3)


def grid(draw):
    sizes = {"inputs": 2, "hidden": 2 + draw(2), "layers": 1 + draw(2), "cell": ("tanh", "lstm")[draw(2)]}
    return GridRNN(GridRNNConfig(**sizes)), (1, 1 + draw(3), 1 + draw(4), 2)


CLASSES = {
    f.__name__: f for f in (mlp, residual, conv, pooled, recurrent, gated, attention, softmaxed, cumulative, grid)
}


def measured_against_bound(kind, seed):
    """Return the bound of a generated network, and its largest and least singular value at random inputs in the box."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        return int(torch.randint(n, (), generator=generator))

    model, shape = CLASSES[kind](draw)
    model = model.double()
    shape = shape or (1, model.first.in_features)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3 + 2 * torch.rand((), generator=generator, dtype=torch.float64))
    box = (-1.0, 0.5) if kind == "attention" or draw(2) else None
    found = bound(model, torch.zeros(shape, dtype=torch.float64), box=box)
    low, high = float("inf"), 0.0
    for _ in range(3):
        x = torch.rand(shape, dtype=torch.float64) * 1.5 - 1.0 if box else 3 * torch.randn(shape, dtype=torch.float64)
        values = torch.linalg.svdvals(jacobian(model, x).dense())
        low, high = min(low, values[-1].item()), max(high, values[0].item())
    return found, low, high
