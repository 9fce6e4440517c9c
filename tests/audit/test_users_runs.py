"""Models of users: trained by what their factories return, read back only where their code may be run."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.densities import build_tiny

from leadline.audit.named_model import find_model
from leadline.audit.trained import draw, score_run
from leadline.audit.users_density import UsersDensity, lag_of
from leadline.audit.users_runs import open_run, train_named
from leadline.data import load
from leadline.errors import LayoutError, ModelError, NotCausal, UsageError
from leadline.training import TrainConfig, load_run, train

SOURCE = '''
import torch
from torch import nn
from leadline.zoo import Specimen

class Net(nn.Module):
    """Each output sees the symbols before it (lag 1), its own too (lag 0), or the next one (a leak)."""

    def __init__(self, classes, lag=1, first=False, out=None, labels=0):
        super().__init__()
        self.embed = nn.Embedding(classes, 8)
        self.out = nn.Linear(8, out or classes)
        self.label = nn.Embedding(labels, 8) if labels else None
        self.lag, self.first = lag, first

    def forward(self, x, label=None):
        z = self.embed(x.flatten(1))
        if self.lag >= 0:
            z = nn.functional.pad(z, (0, 0, self.lag, 0))[:, : z.shape[1]]
        else:
            z = nn.functional.pad(z, (0, 0, 0, 1))[:, 1:]
        if self.label is not None:
            z = z + self.label(label)[:, None]
        y = self.out(torch.tanh(z)).unflatten(1, x.shape[1:])
        return y.movedim(-1, 1) if self.first else y[..., 0] if self.out.out_features == 1 else y

def alone(classes): return Net(classes)
def first(classes): return Net(classes, first=True)
def next_one(classes): return Net(classes, lag=0)
def leaks(classes): return Net(classes, lag=-1)
def bits(): return Net(2, out=1)
def few(): return Net(17, out=5)
def pair(classes, length=6): return Net(classes), torch.zeros(1, length, dtype=torch.long)
def labelled(classes): return Net(classes, labels=10), (torch.zeros(1, 8, 8).long(), torch.zeros(1).long())
def specimen(classes):
    x = torch.zeros(2, 8, 8, dtype=torch.long)
    return Specimen(Net(classes), (x,), "b h w -> b h w v", likelihood="categorical")
def floats(): return Net(17), torch.zeros(1, 8)
def number(): return 3
'''
HOW = {"training": {"steps": 2, "batch": 4, "validation_examples": 4, "device": "cpu", "threads": 1}, "options": {}}
TONES = load("tones", clips=5, length=30, levels=8)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return path


def about(kind: str = "digits") -> dict[str, object]:
    return (TONES if kind == "tones" else load(kind)).describe()


@pytest.mark.parametrize(
    ("name", "layout", "lag"),
    [
        ("alone", "b h w -> b h w v", 1),
        ("first", "b h w -> b v h w", 1),
        ("next_one", "b h w -> b h w v", 0),
        ("specimen", "b h w -> b h w v", 1),
        ("labelled", "b h w, _ -> b h w v", 1),
    ],
)
def test_output_shapes_say_the_likelihood_and_the_graph_says_the_lag(
    own: Path, name: str, layout: str, lag: int
) -> None:
    found = UsersDensity(f"{own}:{name}", about())("", classes=17)
    assert (found.layout, found.likelihood, lag_of(found)) == (layout, "categorical", lag)


def test_one_logit_for_each_bit_is_bernoulli(own: Path) -> None:
    bits = load("digits", binarise="fixed").describe()
    found = UsersDensity(f"{own}:bits", bits)("")
    assert (found.layout, found.likelihood) == ("b h w -> b h w", "bernoulli")
    with pytest.raises(UsageError, match="Bernoulli model describes two levels"):
        UsersDensity(f"{own}:bits", about(), likelihood="bernoulli")("")


def test_three_numbers_for_each_component_are_a_mixture(own: Path) -> None:
    """The same models, of six components: last, or after the batch."""
    for name, layout in (("alone", "b h w -> b h w v"), ("first", "b h w -> b v h w")):
        found = UsersDensity(f"{own}:{name}", about(), likelihood="logistics")("", classes=18)
        assert (found.layout, found.likelihood) == (layout, "logistics")
    with pytest.raises(ModelError, match=r"logistics density model returns .* three numbers for each component"):
        UsersDensity(f"{own}:few", about(), likelihood="logistics")("")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("few", ModelError, r"returned \(2, 8, 8, 5\) for symbols \(2, 8, 8\) of 17 levels"),
        ("floats", ModelError, "reads torch.float32 .* reads the symbols, as integers"),
        ("number", ModelError, "returned int; a density model is a module"),
        ("nowhere", UsageError, "no function 'nowhere'"),
    ],
)
def test_what_is_no_density_of_the_data_is_refused(own: Path, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        UsersDensity(f"{own}:{name}", about())("")
    with pytest.raises(UsageError, match="did you mean 'categorical'"):
        UsersDensity(f"{own}:alone", about(), likelihood="categorial")("", classes=17)


@pytest.mark.parametrize(("piece", "length"), [(20, 20), (200, 64), (None, 64)])
def test_an_example_is_no_longer_than_the_pieces_of_the_data(own: Path, piece: int | None, length: int) -> None:
    data = load("tones", clips=5, length=30, levels=8, piece=piece).describe()
    assert UsersDensity(f"{own}:alone", data)("", classes=8).inputs[0].shape == (2, length)


def test_two_readings_of_one_shape_are_asked_about(own: Path) -> None:
    data = {**about("tones"), "levels": 6}
    with pytest.raises(LayoutError, match="say which, with layout="):
        UsersDensity(f"{own}:pair", data)("", classes=6)
    assert UsersDensity(f"{own}:pair", data, layout="b t -> b t v")("", classes=6).layout == "b t -> b t v"


def test_a_model_that_sees_ahead_is_not_trained(own: Path, tmp_path: Path) -> None:
    with pytest.raises(NotCausal):
        train_named(f"{own}:leaks", [], "digits", tmp_path / "run", **HOW)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["first", "labelled"])
def test_a_run_of_users_code_is_read_with_trust_alone(
    own: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    result = train_named(f"{own}:{name}", [], "digits", path, **HOW)
    marker = tmp_path / "was-run"
    own.write_text(SOURCE + f"\nopen({str(marker)!r}, 'w').close()\n")
    for read in (load_run, open_run, lambda p: find_model(str(p))):
        with pytest.raises(UsageError, match=rf"reading the run runs {own}; .*--trust"):
            read(path)
    assert not marker.exists()
    run = open_run(path, trust=True)
    assert marker.exists()
    assert "own.py has changed since" in capsys.readouterr().err
    assert score_run(run).nats == pytest.approx(result.test.nats, rel=1e-6)
    label = {"label": (3, 7)} if name == "labelled" else {}
    drawn, naive = (draw(run, 2, naive=naive, **label) for naive in (False, True))
    assert torch.equal(drawn.symbols, naive.symbols)
    assert find_model(str(path), trust=True).layout == run.specimen.layout


def test_changed_code_is_refused_when_a_run_goes_on(own: Path, tmp_path: Path) -> None:
    train_named(f"{own}:alone", [], "digits", tmp_path / "run", **HOW)
    own.write_text(SOURCE + "\n# another one\n")
    longer = {**HOW, "training": {**HOW["training"], "steps": 3}}
    with pytest.raises(UsageError, match=r"the code .* has changed: .*own\.py"):
        train_named(f"{own}:alone", [], "digits", tmp_path / "run", resume=True, **longer)
    result = train_named(f"{own}:alone", [], "digits", tmp_path / "run", resume=True, allow_changes=True, **longer)
    assert result.steps == 3


def test_a_run_from_python_is_read_by_where_its_builder_stands(tmp_path: Path) -> None:
    config = TrainConfig(steps=1, batch=2, validation_examples=3, threads=1, device="cpu")
    digits = load("digits")
    result = train("tiny", {"width": 4}, digits, config, tmp_path / "run", build=build_tiny)
    code = json.loads((tmp_path / "run" / "run.json").read_text())["model"]["code"]
    assert code["word"].endswith("helpers/densities.py:build_tiny")
    with pytest.raises(UsageError, match=r"densities\.py; .*--trust"):
        load_run(tmp_path / "run")
    assert score_run(open_run(tmp_path / "run", trust=True)).nats == pytest.approx(result.test.nats, rel=1e-6)

    def local(name: str, **settings: object) -> object:
        return build_tiny(name, **settings)

    train("tiny", {"width": 4}, digits, config, tmp_path / "local", build=local)
    with pytest.raises(UsageError, match=r"no other process can find: .*build="):
        open_run(tmp_path / "local", trust=True)
    assert math.isfinite(score_run(load_run(tmp_path / "local", build=local)).nats)
