"""Averaged members: the mean of their probabilities, a density, each trained by its own part of a batch."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import zoo
from leadline.sampling._stream import stream

SMALL = {"classes": 3, "height": 2, "width": 2, "channels": 4, "head": 4, "layers": 1, "first_kernel": 3}
KINDS = ("pixelcnn", "gated-pixelcnn")


def made(kind: str, members: int, seed: int = 0, **more: object) -> torch.nn.Module:
    return zoo.build(kind, **{**SMALL, "members": members, "seed": seed, **more}).model.double().eval()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(st.integers(2, 4), st.integers(0, 1000))
def test_all_images_have_a_probability_of_one_and_each_the_mean_of_conditionals(
    kind: str, members: int, seed: int
) -> None:
    model = made(kind, members, seed)
    images = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    logits = model(images)
    own = torch.stack([member(images).softmax(-1) for member in model.models])
    torch.testing.assert_close(logits.exp(), own.mean(0))
    chosen = logits.gather(-1, images[..., None]).sum((1, 2, 3)).exp()
    assert abs(float(chosen.detach().sum()) - 1) < 1e-12


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 7), st.integers(2, 4))
def test_in_training_each_member_learns_from_its_own_part(batch: int, members: int) -> None:
    model = made("pixelcnn", members, labels=2).train()
    x, label = torch.randint(3, (batch, 2, 2)), torch.randint(2, (batch,))
    logits = model(x, label)
    parts = zip(model.models, x.tensor_split(members), label.tensor_split(members), strict=True)
    expected = torch.cat([member(*part) for member, *part in parts if len(part[0])])
    assert torch.equal(logits, expected)
    logits[0].pow(2).sum().backward()
    assert model.models[0].logits.bias.grad.any()
    assert not any(p.grad.any() for member in model.models[1:] for p in member.parameters() if p.grad is not None)


def test_one_member_is_the_model_itself_and_several_differ() -> None:
    assert type(made("pixelcnn", 1)).__name__ == "PixelCNN"
    first, second = made("pixelcnn", 2).models
    assert not torch.equal(first.first.weight, second.first.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_model(kind: str) -> None:
    specimen = zoo.build(kind, **{**SMALL, "height": 4, "width": 5, "members": 2})
    model = specimen.model.double().eval()
    found = stream(model, *specimen.inputs, layout=specimen.layout)
    torch.testing.assert_close(found.logits(specimen.inputs[0]), model(*specimen.inputs), rtol=0, atol=1e-10)
