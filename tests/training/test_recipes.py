"""Every recipe builds, and takes a step, on the data it is for; those of the demo have equal numbers of parameters."""

import math

import pytest
import torch

from leadline.data import Dataset, Split, load
from leadline.data.flattened import flattened
from leadline.errors import UsageError
from leadline.training.budget import Schedule
from leadline.training.config import TrainConfig
from leadline.training.jobs import sizes_of
from leadline.training.recipes import DEFAULT, RECIPES, find_recipe
from leadline.training.session import Session
from leadline.zoo import ZOO, Specimen, build
from leadline.zoo.settings import settings_of

# A set of the same kind where the real one may not be installed.
STANDINS = {
    "digits": load("digits"),
    "photographs": load("photographs"),
    "pydoc": load("pydoc"),
    "speech": load("tones", clips=5, length=6000),
    "tones": load("tones"),
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


def read(model: str, data: str, name: str) -> Dataset:
    """Return the data of a recipe as its options read it."""
    return flattened(STANDINS[data]) if RECIPES[model, data, name].options.get("flatten") else STANDINS[data]


def built(model: str, data: str, name: str) -> Specimen:
    """Build the model of a recipe as `leadline train` does."""
    recipe, dataset = RECIPES[model, data, name], read(model, data, name)
    known = settings_of(ZOO[model])
    sizes = {key: value for key, value in sizes_of(dataset).items() if key in known}
    pieces = {"length": recipe.options["piece"]} if "piece" in recipe.options else {}
    lag = {"lag": 1} if "lag" in known else {}
    return build(model, **{**sizes, **pieces, **lag, **recipe.settings})


def densities(axes: int) -> list[str]:
    """Return the zoo's models of integer classes over so many axes, and of nothing else."""
    specimens = {name: build(name) for name in ZOO}
    return [n for n, s in specimens.items() if not s.inputs[0].is_floating_point() and s.inputs[0].ndim == 1 + axes]


def test_every_density_model_has_a_recipe_for_every_data_set_of_its_kind() -> None:
    for data, dataset in STANDINS.items():
        for model in densities(2 if dataset.kind == "image" else 1):
            assert (model, data, DEFAULT) in RECIPES


@pytest.mark.usefixtures("fresh_accelerator")
@pytest.mark.parametrize(("model", "data", "name"), RECIPES)
def test_a_recipe_is_ready_to_run_and_its_figures_depend_on_no_clock(model: str, data: str, name: str) -> None:
    config = TrainConfig.from_dict(RECIPES[model, data, name].training)
    assert config.steps
    assert config.minutes is None
    assert config.threads == 1  # chosen by measurement: two are no faster, and round differently
    config = config.replace(batch=2, device="cpu", crop=min(config.crop, 512))
    session = Session.open(built(model, data, name), read(model, data, name), config, 1, Schedule.of_steps(10))
    session.step()
    assert 0 < session.state.losses < math.inf


def test_the_demo_compares_models_of_equal_size() -> None:
    one, other = (
        sum(p.numel() for p in built(model, "digits", "demo").model.parameters()) for model in ("pixelcnn", "mdrnn")
    )
    assert abs(one / other - 1) < 0.02


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(UsageError, match="'demo'"):
        find_recipe("pixelcnn", "digits", "dmo")
