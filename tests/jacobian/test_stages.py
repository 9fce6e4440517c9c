"""Which stages are found in which architecture."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import leadline
from leadline.jacobian.calls import GradientFlow, node_of, recorded
from leadline.jacobian.kernels import kept
from leadline.jacobian.stages import find_stages


def stages_of(model, *inputs):
    with kept(model):
        chain = find_stages(model, lambda: model(*[x.requires_grad_() if x.is_floating_point() else x for x in inputs]))
    return [path for path, _ in chain.calls]


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU()),
            nn.Sequential(nn.Linear(width, width)),
        )
        self.inner = nn.ModuleList(Inner(width) for _ in range(2))

    def forward(self, x):
        y = self.second(self.first(x))
        for inner in self.inner:
            y = inner(y)
        return x + y


class Inner(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x):
        return torch.tanh(self.layer(x))


def test_residual_blocks_are_stages_and_their_branches_are_not():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(*[Block() for _ in range(3)]), nn.Linear(4, 2))
    assert stages_of(model, torch.randn(2, 4)) == ["1.0", "1.1", "1.2"]


def test_blocks_grouped_in_sections_are_found_across_them():
    sections = nn.Sequential(*[nn.Sequential(Block(), Block()) for _ in range(3)])
    assert stages_of(sections, torch.randn(2, 4)) == [f"{i}.{j}" for i in range(3) for j in range(2)]


def test_layers_of_different_kinds_form_a_chain():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    assert stages_of(model, torch.randn(2, 1, 8)) == ["0", "2", "4"]


def test_parallel_branches_are_no_chain():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(Inner(4) for _ in range(5))
            self.blocks = nn.ModuleList(Inner(4) for _ in range(3))

        def forward(self, x):
            x = torch.stack([expert(x) for expert in self.experts]).sum(0)
            for block in self.blocks:
                x = block(x)
            return x

    found = stages_of(Experts(), torch.randn(2, 4))
    assert found[1:] == ["blocks.0", "blocks.1", "blocks.2"]
    assert len(found) == 4  # and one of the experts before them


def test_a_head_that_the_output_does_not_need_is_left_out():
    class WithAuxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(Inner(4) for _ in range(4))
            self.auxiliary = nn.ModuleList(Inner(4) for _ in range(6))

        def forward(self, x):
            side = x
            for block in self.auxiliary:
                side = block(side)
            for block in self.blocks:
                x = block(x)
            return x, side

    model = WithAuxiliary()
    with kept(model):
        chain = find_stages(model, lambda: model(torch.randn(2, 4, requires_grad=True))[0])
    assert [path for path, _ in chain.calls] == [f"blocks.{i}" for i in range(4)]


def test_a_shared_module_called_in_a_loop_is_time():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.step = nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x):
            h = x.new_zeros(x.shape[0], 4)
            for t in range(x.shape[1]):
                h = torch.tanh(self.enter(x[:, t]) + self.step(h))
            return h

    model = Loop()
    with kept(model):
        chain = find_stages(model, lambda: model(torch.randn(2, 5, 3, requires_grad=True)))
    assert chain.shared
    assert chain.calls[1:] == tuple(("step", n) for n in range(1, 5))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_are_time(kind):
    model = nn.ModuleDict({"rnn": kind(3, 4)})
    with kept(model):
        chain = find_stages(model, lambda: model["rnn"](torch.randn(5, 2, 3))[0])
    assert chain.recurrent == "rnn"


def test_a_model_without_structure_is_one_stage():
    assert stages_of(nn.Linear(3, 3), torch.randn(2, 3)) == []


def test_flow_follows_autograd_through_functions_between_calls():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)])
    with recorded(model) as calls:
        x = torch.ones(1, 2, requires_grad=True)
        a = model[0](x)
        b = model[1](x)
        c = model[2](torch.sin(a).flip(0))
    flow = GradientFlow(calls)
    assert flow.depends(node_of(c), 0)
    assert not flow.depends(node_of(c), 1)
    assert flow.depends(node_of(a + b), 1)


class Dilated(nn.Module):
    """Weight-normed dilated convolutions of a list, sums and skips around them: a vocoder."""

    def __init__(self, layers, skips):
        super().__init__()
        self.first, self.last, self.skips = nn.Conv1d(1, 4, 1), nn.Conv1d(4, 1, 1), skips
        self.convs = nn.ModuleList(weight_norm(nn.Conv1d(4, 4, 3, dilation=2**i)) for i in range(layers))

    def streams(self, x):
        sums, made = [self.first(x)], []
        for conv in self.convs:
            padded = nn.functional.pad(sums[-1].relu(), (2 * conv.dilation[0], 0))
            made.append(torch.tanh(conv(padded)))
            sums.append(sums[-1] + made[-1])
        return sums, self.last(torch.stack(made).sum(0) if self.skips else sums[-1])

    def forward(self, x):
        return self.streams(x)[1]


@pytest.mark.parametrize("skips", [False, True])
def test_weight_normed_layers_between_sums_are_stages_that_begin_at_the_sums(skips):
    model, x = Dilated(4, skips), torch.randn(1, 1, 20)
    assert stages_of(model, x) == ["first", *(f"convs.{i}" for i in range(4)), "last"]
    found = leadline.gradient(model, x, loss=lambda y: y.square().sum())
    sums, y = model.streams(x.requires_grad_())
    expected = torch.autograd.grad(y.square().sum(), [x, *sums[:4]])  # by autograd, of the sums themselves
    measured = [stage.gradient.value for stage in found.stages[:5]]
    assert measured == pytest.approx([each.norm().item() for each in expected], rel=1e-5)
    assert found.method.startswith("none")  # no module takes a sum as it is: nothing is said of forward gains
