"""Models of users: trained by what their factories return, read back only where their code may be run."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.densities import build_tiny

from leadline.audit.conditioning import told
from leadline.audit.named_model import find_model
from leadline.audit.trained import draw, score_run
from leadline.audit.users_density import UsersDensity, lag_of
from leadline.audit.users_runs import open_run, train_named
from leadline.cli import main
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
def mixture(): return Net(17, out=6)
def mixture_first(): return Net(17, out=6, first=True)
def frozen(classes): return Net(classes).requires_grad_(False)
def loud(classes):
    print("a factory speaks")
    return Net(classes)
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
    with pytest.raises(ModelError, match=r"logistics density model of 17 levels returns \(2, 8, 8, 3 · components\)"):
        UsersDensity(f"{own}:few", about(), likelihood="logistics")("")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "few",
            ModelError,
            r"returned \(2, 8, 8, 5\) for symbols .*; a categorical density model of 17 levels",
        ),
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


@pytest.mark.parametrize(("name", "layout"), [("mixture", "b h w -> b h w v"), ("mixture_first", "b h w -> b v h w")])
def test_three_numbers_for_each_component_are_a_mixture_where_that_is_said(own: Path, name: str, layout: str) -> None:
    found = UsersDensity(f"{own}:{name}", about(), likelihood="logistics")("")
    assert (found.layout, found.likelihood, lag_of(found)) == (layout, "logistics", 1)
    with pytest.raises(ModelError, match=r"logistics density model of 17 levels returns \(2, 8, 8, 3 · components\)"):
        UsersDensity(f"{own}:few", about(), likelihood="logistics")("")


def test_a_model_that_learns_nothing_is_refused(own: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no parameter that learns"):
        train_named(f"{own}:frozen", [], "digits", tmp_path / "run", **HOW)
    assert not (tmp_path / "run").exists()


def test_a_class_that_the_data_does_not_have_is_refused(own: Path) -> None:
    specimen = UsersDensity(f"{own}:labelled", about())("", classes=17)
    assert specimen.labels == 10
    with pytest.raises(UsageError, match="there is no class 10: this model has the classes 0 to 9"):
        told(specimen, 2, 10, None)


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


def test_code_is_the_same_wherever_it_lies_and_other_code_where_a_file_that_it_imports_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By an import of an import."""
    folder, path = tmp_path / "one", tmp_path / "run"
    folder.mkdir()
    (folder / "own.py").write_text("from middle_of_own import make\n\nalone = other = lambda classes: make(classes)\n")
    (folder / "middle_of_own.py").write_text("from nets_of_own import Net\n\ndef make(classes): return Net(classes)\n")
    (folder / "nets_of_own.py").write_text(SOURCE)
    (folder / "aside.py").write_text("raise SystemExit\n")
    train_named(f"{folder}/own.py:alone", [], "digits", path, **HOW)
    folder.rename(moved := tmp_path / "two")
    with pytest.raises(UsageError, match=r"built by .*own\.py, which is not there any more: .*--resume"):
        open_run(path, trust=True)
    assert train_named(f"{moved}/own.py:alone", [], "digits", path, resume=True, **HOW).steps == 2
    open_run(path, trust=True)
    (moved / "aside.py").write_text("another = 1\n")  # which nothing imports
    open_run(path, trust=True)
    assert capsys.readouterr().err == ""
    (moved / "nets_of_own.py").write_text(SOURCE + "\n# another one\n")
    open_run(path, trust=True)
    assert "own.py has changed since" in capsys.readouterr().err
    longer = {**HOW, "training": {**HOW["training"], "steps": 3}}
    with pytest.raises(UsageError, match="or a file beside it that it imports"):
        train_named(f"{moved}/own.py:alone", [], "digits", path, resume=True, **longer)
    with pytest.raises(UsageError, match="its function is alone, not other"):
        train_named(f"{moved}/own.py:other", [], "digits", path, resume=True, **longer)


def test_what_a_factory_prints_is_no_report(own: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        said = capfd.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    run, loop = str(tmp_path / "run"), [f"{key}={value}" for key, value in HOW["training"].items() if key != "steps"]
    settings = [word for setting in loop for word in ("-t", setting)]
    for words in (
        ["train", f"{own}:loud", "--data", "digits", "--steps", "2", "--run", run, *settings],
        ["score", run, "--trust"],
        ["sample", run, "--trust", "-n", "1"],
        ["score", f"{own}:loud", "--data", "digits"],
    ):
        code, out, err = command(*words)
        assert (code, "a factory speaks" in out, "a factory speaks" in err) == (0, False, True)
    assert command("sample", run, "-n", "1")[0] == 2


def test_a_model_of_the_next_symbol_is_drawn_from_a_beginning(own: Path, tmp_path: Path) -> None:
    train_named(f"{own}:next_one", [], "digits", tmp_path / "run", **HOW)
    for words, code in (([], 2), (["--keep", "0.5"], 0)):
        with pytest.raises(SystemExit) as stop:
            main(["sample", str(tmp_path / "run"), "--trust", "-n", "1", *words])
        assert int(stop.value.code or 0) == code


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
