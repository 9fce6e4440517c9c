"""Names, settings and values: what is accepted, and what a refusal says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from leadline import zoo
from leadline.errors import UsageError
from leadline.zoo.settings import settings_of


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("pixelcn", [], "no model of the zoo is called 'pixelcn'; did you mean 'pixelcnn'"),
        ("pixelcnn", ["layer=3"], "pixelcnn has no setting 'layer'; did you mean 'layers'"),
        ("pixelcnn", ["layers"], "settings of pixelcnn are written key=value, got 'layers'"),
        ("pixelcnn", ["layers=two"], "pixelcnn: layers must be an integer from 0 to 100000, got 'two'"),
        ("pixelcnn", ["layers=2.5"], "pixelcnn: layers must be an integer from 0 to 100000, got '2.5'"),
        ("pixelcnn", ["layers=-1"], "pixelcnn: layers must be an integer from 0 to 100000, got -1"),
        ("pixelcnn", ["first_kernel=1"], "pixelcnn: first_kernel must be an integer that is odd and at least 3, got 1"),
        ("gated-pixelcnn", ["kernel=4"], "gated-pixelcnn: kernel must be an integer that is odd and at least 1, got 4"),
        ("pixelcnn", ["dropout=1.5"], "pixelcnn: dropout must be a number from 0 to 1, got 1.5"),
        ("pixelcnn", ["dropout=nan"], "pixelcnn: dropout must be a number from 0 to 1, got nan"),
        ("pixelcnn", ["positions=maybe"], "pixelcnn: positions must be true or false, got 'maybe'"),
        ("chain", ["activation=relux"], "chain: activation must be one of 'identity', 'relu', 'sigmoid', 'tanh'"),
        ("chain", ["weight=inf"], "chain: weight must be a finite number, got inf"),
        ("wavenet", ["lag=2"], "wavenet: lag must be an integer from 0 to 1, got 2"),
        ("wavenet", ["layers=3", "layers=4"], "wavenet: layers is set twice; give it once"),
        ("wavenet", ["batch=0"], "wavenet: batch must be an integer of at least 1, got 0"),
    ],
)
def test_refusals_name_the_setting_and_what_is_allowed(name: str, words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as refusal:
        zoo.parse_settings(name, words)
    assert str(refusal.value).startswith(says)


def test_every_value_kind_is_parsed() -> None:
    words = ["layers=3", "dropout=1e-1", "positions=yes", "seed=5"]
    parsed = zoo.parse_settings("pixelcnn", words)
    assert parsed == {"layers": 3, "dropout": 0.1, "positions": True, "seed": 5}
    assert zoo.parse_settings("chain", ["weight=-2", "activation=relu"]) == {"weight": -2.0, "activation": "relu"}


@pytest.mark.parametrize(
    "settings", [{"layers": "3"}, {"layers": True}, {"layers": 2.0}, {"positions": 1}, {"wide": 1}]
)
def test_build_is_as_strict_as_the_parser(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        zoo.build("pixelcnn", **settings)


@pytest.mark.parametrize("name", [name for name in sorted(zoo.ZOO) if "layers" in settings_of(zoo.ZOO[name])])
def test_more_layers_than_are_ever_built_are_refused_at_once(name: str) -> None:
    """Layers are modules of Python: nothing but this limit would end the building of 10²⁰ of them."""
    with pytest.raises(UsageError, match=r"layers must be an integer from [01] to 100000, got 1"):
        zoo.build(name, layers=10**20)


def test_a_whole_number_will_do_for_a_real_one() -> None:
    assert zoo.build("chain", weight=8).config.weight == 8.0


@pytest.mark.parametrize("name", sorted(zoo.ZOO))
def test_a_config_rebuilds_its_model_and_the_seed_its_weights(name: str) -> None:
    state = torch.random.get_rng_state()
    first = zoo.build(name, seed=7, batch=3)
    again = zoo.build(name, seed=7, batch=3, **dataclasses.asdict(first.config))
    assert torch.equal(state, torch.random.get_rng_state())
    assert again.config == first.config
    assert len(first.inputs[0]) == 3
    for ours, theirs in zip(again.inputs, first.inputs, strict=True):
        assert torch.equal(ours, theirs)
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])


@pytest.mark.parametrize("name", sorted(zoo.ZOO))
def test_settings_are_the_fields_of_the_config_with_batch_and_seed(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(zoo.build(name).config)}
    assert set(settings_of(zoo.ZOO[name])) == fields | {"batch", "seed"}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        zoo.ZOO["mine"] = zoo.ZOO["chain"]  # type: ignore[index]
