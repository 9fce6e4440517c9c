"""Contexts restore what they change."""

import pytest
import torch
from torch import nn

from leadline.jacobian.kernels import kept, plain_kernels, same_noise


def test_plain_kernels_are_chosen_and_the_flags_restored_even_after_an_error():
    before = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()

    @plain_kernels()
    def fails():
        assert not torch.backends.mkldnn.enabled
        assert not torch.backends.mha.get_fastpath_enabled()
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()) == before


def test_noise_repeats_inside_and_is_untouched_outside():
    state = torch.random.get_rng_state()
    draws = []
    for _ in range(2):
        with same_noise(3):
            draws.append(torch.rand(4))
    assert torch.equal(*draws)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_kept_model_returns_to_its_state_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

    @kept(model)
    def fails():
        assert model[0].bias.requires_grad
        model(torch.randn(5, 2))
        model.eval()
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert model.training
    assert not model[0].bias.requires_grad
    assert all(torch.equal(buffers[name], buffer) for name, buffer in model.named_buffers())
