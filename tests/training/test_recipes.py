"""Every recipe builds, and takes a step, on the data it is for; those of the demo have equal numbers of parameters."""

import math

import pytest
import torch

from leadline.data import Dataset, Split, load
from leadline.data.flattened import flattened
from leadline.errors import UsageError
from leadline.training.budget import Schedule
from leadline.training.config import TrainConfig
from leadline.training.recipes import RECIPES, find_recipe
from leadline.training.session import Session
from leadline.zoo import ZOO, Specimen, build
from leadline.zoo.settings import settings_of

# A set of the same kind where the real one may not be installed.
STANDINS = {
    "digits": load("digits"),
    "pydoc": load("pydoc"),
    "speech": load("tones", clips=5, length=6000),
    "fashion-mnist": Dataset(
        "noise",
        "image",
        *(Split(torch.randint(256, (20, 28, 28)), torch.zeros(20, dtype=torch.int64)) for _ in range(3)),
        levels=256,
        licence="none",
        division="none",
        shape=(28, 28),
    ),
}


def built(model: str, data: str, name: str) -> Specimen:
    dataset = STANDINS[data]
    known = settings_of(ZOO[model])
    sizes = {name: size for name, size in zip(("height", "width"), dataset.shape or (), strict=False) if name in known}
    return build(model, classes=dataset.levels, **sizes, **RECIPES[model, data, name].settings)


@pytest.mark.parametrize(("model", "data", "name"), RECIPES)
def test_a_recipe_is_ready_to_run(model: str, data: str, name: str) -> None:
    config = TrainConfig.from_dict(RECIPES[model, data, name].training).replace(batch=2, device="cpu")
    flat = RECIPES[model, data, name].options.get("flatten")
    dataset = flattened(STANDINS[data]) if flat else STANDINS[data]
    session = Session.open(built(model, data, name), dataset, config, 1, Schedule.of_steps(10))
    session.step()
    assert 0 < session.state.losses < math.inf
    assert (config.minutes is None) == (name == "demo")


@pytest.mark.parametrize("model", ["pixelcnn", "mdrnn"])
def test_figures_of_the_demo_depend_on_no_clock(model: str) -> None:
    training = RECIPES[model, "digits", "demo"].training
    assert training["steps"]
    assert training["threads"] == 1  # chosen by measurement: two are no faster, and round differently


def test_the_demo_compares_models_of_equal_size() -> None:
    one, other = (
        sum(p.numel() for p in built(model, "digits", "demo").model.parameters()) for model in ("pixelcnn", "mdrnn")
    )
    assert abs(one / other - 1) < 0.02


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(UsageError, match="'demo'"):
        find_recipe("pixelcnn", "digits", "dmo")
