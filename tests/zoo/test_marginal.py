"""Marginal densities: the mean over classes of whole images' probabilities, taught by labels and asked without them."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import causality, zoo
from leadline.audit.trained import draw
from leadline.data.dataset import Dataset, Split
from leadline.errors import UsageError
from leadline.training import TrainConfig, load_run, train

SMALL = {"classes": 3, "height": 2, "width": 2, "channels": 4, "head": 4, "layers": 1, "first_kernel": 3}
CHI_SQUARE_80 = 124.8  # exceeded by one in a thousand
KINDS = ("pixelcnn", "gated-pixelcnn")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 2), st.integers(0, 1000))
def test_an_image_is_as_likely_as_on_the_mean_over_classes(kind: str, labels: int, members: int, seed: int) -> None:
    model = zoo.build(kind, **SMALL, labels=labels, members=members, seed=seed, marginal=True).model.double().eval()
    images = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)

    def of_images(*label: torch.Tensor) -> torch.Tensor:
        chosen = model(images, *label).log_softmax(-1).gather(-1, images[..., None])
        return chosen.sum((1, 2, 3)).exp().detach()

    mean = sum(of_images(torch.full((81,), c)) for c in range(labels)) / labels
    torch.testing.assert_close(of_images(), mean, rtol=1e-12, atol=0)
    assert abs(float(of_images().sum()) - 1) < 1e-12
    assert (model(images).exp().sum(-1) - 1).abs().max() < 1e-12


def test_it_is_causal_in_colour_too_and_wants_labels() -> None:
    for colors in (1, 3):
        specimen = zoo.build("pixelcnn", **SMALL, colors=colors, labels=2, marginal=True)
        assert str(causality(specimen.model, *specimen.inputs, layout=specimen.layout)) == "structural, lag 1"
    with pytest.raises(UsageError, match="labels=N"):
        zoo.build("pixelcnn", marginal=True)


def _draws_as_likely_images(path: Path) -> None:
    run, n = load_run(path), 20_000
    images = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)

    def statistic(drawn: torch.Tensor, *label: torch.Tensor) -> float:
        chosen = run.specimen.model(images, *label).log_softmax(-1).gather(-1, images[..., None])
        expected = n * chosen.double().sum((1, 2, 3)).exp().detach()
        counts = torch.bincount((drawn.flatten(1) * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81)
        return float(((counts - expected) ** 2 / expected).sum())

    assert statistic(draw(run, n).symbols) < CHI_SQUARE_80
    assert statistic(draw(run, n, label=1, naive=True).symbols, torch.ones(81, dtype=torch.long)) < CHI_SQUARE_80
    both = draw(run, 3, label=1).symbols, draw(run, 3, label=1, naive=True).symbols
    assert torch.equal(*both)
    assert draw(run, 2, temperature=0.5).symbols.shape == (2, 2, 2)


def test_training_tells_it_classes_and_scores_do_not(tmp_path: Path) -> None:
    x, label = torch.randint(3, (12, 2, 2)), torch.arange(12) % 2
    part = Split(x, label)
    about = {"levels": 3, "licence": "none", "division": "none", "shape": (2, 2)}
    settings_ = {**SMALL, "labels": 3, "marginal": True}
    run = tmp_path / "run"
    with pytest.raises(UsageError, match="no labels"):
        train("pixelcnn", settings_, Dataset("bare", "image", *[Split(x)] * 3, **about), TrainConfig(steps=1), run)
    result = train(
        "pixelcnn",
        settings_,
        Dataset("few", "image", *[part] * 3, **about),
        TrainConfig(steps=3, weight_decay=0.0),
        run,
    )
    model, fresh = (s.model.eval() for s in (load_run(run).specimen, zoo.build("pixelcnn", **settings_)))
    before, after = (m.model.condition.label.weight for m in (fresh, model))
    assert (before != after).any(1).tolist() == [True, True, False]  # no example is of class 2
    logits = torch.stack([model(x, torch.full((12,), c)) for c in range(3)]).double().log_softmax(-1)
    each = logits.gather(-1, x.expand(3, 12, 2, 2)[..., None]).flatten(2).sum(-1)
    _draws_as_likely_images(run)
    expected = -(each.logsumexp(0) - torch.tensor(3.0).log()).sum().detach()
    assert result.test.nats == pytest.approx(float(expected), rel=1e-5)
