"""Exported C, compiled here, computes what the model computes: in blocks of any size, and beyond the traced length."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import leadline
from leadline.errors import NotUniform, StorageError, UsageError
from leadline.sampling.exported.library import Library, compiler, loaded
from leadline.sampling.exported.source import Code, c_code
from leadline.zoo import build

COMPILER = compiler() or ""
pytestmark = pytest.mark.skipif(not COMPILER, reason="needs a C compiler")
SIGNAL = "b c t -> b k t"


class Curves(nn.Module):
    """Every function that C is written for, side by side."""

    FUNCTIONS = (
        torch.relu, torch.tanh, torch.sigmoid, F.silu, F.gelu, lambda x: F.gelu(x, approximate="tanh"), torch.exp,
        torch.neg, torch.square, lambda x: F.leaky_relu(x, 0.3), F.elu, lambda x: torch.sqrt(x * x + 1),
        lambda x: torch.rsqrt(x * x + 1), lambda x: torch.log(x * x + 1), F.softplus, lambda x: 2 - x, lambda x: x / 3,
        lambda x: torch.maximum(x, -x), lambda x: torch.minimum(x, 2 * x), lambda x: x / (x * x + 2),
    )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([function(x) for function in self.FUNCTIONS], 1)


class Amplifier(nn.Module):
    """Dilated convolutions with an input mixed in everywhere, as amplifiers are modelled; grouped in the middle."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, channels, 1)
        self.convs = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=2**i, groups=1 + i % 2) for i in range(4))
        self.mixed = nn.ModuleList(nn.Conv1d(1, channels, 1, bias=False) for _ in range(4))
        self.head = nn.Conv1d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.start(x)
        skip = torch.zeros_like(h)
        for conv, mix in zip(self.convs, self.mixed, strict=True):
            (dilation,) = conv.dilation
            z = torch.tanh(conv(F.pad(h, (2 * dilation, 0))) + mix(x))
            h, skip = h + z, skip + z
        return self.head(skip)


class Normed(nn.Module):
    """Layer norms, softmax and means over features, between products that read scattered channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(self.norm(x)[..., [5, 0, 3, 1, 2, 4]])
        return h.softmax(-1) + h.mean(-1, keepdim=True)


def _code(model: nn.Module, *inputs: Tensor, layout: str, length: int | None = None) -> tuple[leadline.Stream, Code]:
    made = leadline.stream(model.eval(), *inputs, layout=layout, backend="torch")
    plan = made.plan(made.source.system.sizes[0] if length is None else length)
    return made, c_code(plan, "it", made.source.dtype, "a model")


def _agrees(library: Library, model: nn.Module, x: Tensor, tolerance: float, sizes: list[int], time: int) -> None:
    """Hold blocks of these sizes, and a last one, against the forward pass of one sample."""
    with torch.no_grad():
        wanted = model(x)[0].movedim(time - 1, 0).numpy()
    given, found, at = x[0].movedim(time - 1, 0).numpy(), [], 0
    library.reset()
    for size in [*sizes, len(given)]:
        if at < len(given):
            found.append(library.step(given[at : at + size].reshape(len(given[at : at + size]), -1)))
            at += size
    np.testing.assert_allclose(np.concatenate(found), wanted.reshape(len(given), -1), rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def amplifier() -> Iterator[tuple[Library, nn.Module]]:
    torch.manual_seed(0)
    model = Amplifier().eval()
    _, code = _code(model, torch.randn(1, 1, 8), layout=SIGNAL)
    with loaded(code, COMPILER) as library:
        yield library, model


@given(st.lists(st.integers(1, 200), max_size=8), st.integers(1, 900))
@settings(max_examples=examples(20, 200))
def test_blocks_of_any_size_are_the_forward_pass(
    amplifier: tuple[Library, nn.Module], sizes: list[int], length: int
) -> None:
    library, model = amplifier
    _agrees(library, model, torch.randn(1, 1, length), 2e-6, sizes, time=2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_every_function_is_torch_s(dtype: torch.dtype, tolerance: float) -> None:
    model, x = Curves(), torch.linspace(-6, 6, 400, dtype=dtype).reshape(1, 1, -1)
    _, code = _code(model, x[..., :7], layout=SIGNAL)
    with loaded(code, COMPILER) as library:
        _agrees(library, model, x, tolerance * math.exp(6), [1, 30], time=2)


def test_tanh_of_floats_is_within_a_few_units_of_the_last_place() -> None:
    """Held against tanh in double precision, in relative terms; 1 is never passed, and reached where floats end."""
    sizes = np.concatenate([np.linspace(1e-3, 9.5, 6000), np.geomspace(1e-30, 1e-3, 500), [20.0, 1e10, 3e38]])
    x = np.concatenate([sizes, -sizes]).astype(np.float32)[:, None]
    _, code = _code(nn.Tanh(), torch.zeros(1, 1, 7), layout=SIGNAL)
    with loaded(code, COMPILER) as library:
        got = np.concatenate([library.step(x[:5]), library.step(x[5:])])
    np.testing.assert_allclose(got, np.tanh(x.astype(np.float64)), rtol=5e-7, atol=0)
    assert np.abs(got).max() == 1
    assert (np.abs(got[np.abs(x) > 9.02]) == 1).all()


class Joined(nn.Module):
    """Constants before, between and after what is computed."""

    def forward(self, x: Tensor) -> Tensor:
        one = torch.ones_like(x[:, :1])
        return torch.cat([2 * one, x.tanh(), -one, x.flip(1), 3 * one], 1)


def test_constants_stand_among_what_is_put_side_by_side() -> None:
    model = Joined()
    _, code = _code(model, torch.randn(1, 2, 7).double(), layout=SIGNAL)
    with loaded(code, COMPILER) as library:
        _agrees(library, model, torch.randn(1, 2, 90).double(), 1e-12, [1, 2, 30], time=2)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_compilers_without_vectors_make_the_same_numbers(dtype: torch.dtype) -> None:
    """What GNU C adds is left out where it is not there."""
    torch.manual_seed(0)
    model = Amplifier(10).eval().to(dtype)
    _, code = _code(model, torch.randn(1, 1, 8, dtype=dtype), layout=SIGNAL)
    plain = replace(code, source=code.source.replace("__GNUC__", "NOT_GNU_C"))
    assert "vector_size" in code.source
    with loaded(plain, COMPILER) as library:
        tolerance = 2e-6 if dtype is torch.float32 else 1e-12
        _agrees(library, model, torch.randn(1, 1, 300, dtype=dtype), tolerance, [1, 2, 17, 64], time=2)


def test_large_and_other_numbers_go_through_functions_as_in_torch() -> None:
    """Where exponentials overflow or vanish, and where inputs are not numbers."""
    model = Curves()
    _, code = _code(model, torch.zeros(1, 1, 7), layout=SIGNAL)
    numbers = [0.0, -0.0, 1e-30, 88.0, 89.0, -88.0, -120.0, 1e30, -1e30, math.inf, -math.inf, math.nan]
    x = torch.tensor(numbers * 4).reshape(1, 1, -1)
    with loaded(code, COMPILER) as library:
        got, wanted = library.step(x[0].T.numpy()), model(x)[0].T.numpy()
    gelu = model.FUNCTIONS.index(F.gelu)
    wanted[x[0, 0] == math.inf, gelu] = (
        math.inf
    )  # torch's own lines of eight have NaN there, its single numbers have not
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_norms_and_sums_over_features() -> None:
    torch.manual_seed(0)
    model = Normed().double()
    _, code = _code(model, torch.randn(2, 5, 6).double(), layout="b t c -> b t v")
    with loaded(code, COMPILER) as library:
        _agrees(library, model, torch.randn(1, 90, 6).double(), 1e-12, [1, 70], time=1)


RECURRENT = ("rnn", "gru", "lstm")


@pytest.mark.parametrize(
    "name", ["gru", "wavenet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("rnn", "lstm"))]
)
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_models_of_the_zoo_over_ten_thousand_positions(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    small = {"layers": 3, "channels": 8} | ({"skip": 8, "head": 8, "classes": 8} if name == "wavenet" else {})
    sizes = {"hidden": 8} if name in RECURRENT else small
    specimen = build(name, **sizes)
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in specimen.inputs)
    made = leadline.stream(specimen.model.to(dtype), *inputs, layout=specimen.layout, backend="torch")
    found = made.export(tmp_path / f"{name}.c")
    assert found.positions == 10_000
    assert found.difference is not None
    assert found.difference < (1e-5 if dtype is torch.float32 else 1e-10)
    assert found.length is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dilated-stack", "transformer", "wavenet", "gru", "lstm", "rnn", "amplifier", "tcn"])
def test_ten_thousand_positions_at_usual_sizes(name: str, tmp_path: Path) -> None:
    """Every model of the zoo that has one axis, as it is built by default, an amplifier and a convolutional net."""
    torch.manual_seed(0)
    if name == "amplifier":
        model, inputs, layout = Amplifier(16), (torch.randn(1, 1, 32),), SIGNAL
    elif name == "tcn":
        tcn = pytest.importorskip("pytorch_tcn")
        model, inputs, layout = tcn.TCN(3, [16, 16, 16], causal=True), (torch.randn(1, 3, 32),), SIGNAL
    else:
        specimen = build(name, **({"length": 10_000, "layers": 1, "heads": 1} if name == "transformer" else {}))
        model, inputs, layout = specimen.model, specimen.inputs, specimen.layout
    found = leadline.stream(model.eval(), *inputs, layout=layout, backend="torch").export(tmp_path / "it.c")
    assert found.positions == 10_000
    assert found.difference is not None
    assert found.difference < 1e-5


def test_attention_holds_as_many_positions_as_were_asked_for(tmp_path: Path) -> None:
    specimen = build("transformer", classes=6, heads=2, head_channels=4, layers=1, length=12)
    made = leadline.stream(specimen.model, *specimen.inputs, layout=specimen.layout, backend="torch")
    found = made.export(tmp_path / "it.c")
    assert (found.positions, found.length) == (12, 12)
    assert found.difference is not None
    assert found.difference < 1e-5
    code = c_code(made.plan(12), "it", torch.float32, "a model")
    with loaded(code, COMPILER) as library:
        library.step(np.zeros((12, 1)))
        with pytest.raises(UsageError, match="longer than the C was written for"):
            library.step(np.zeros((1, 1)))
        library.reset()
        with pytest.raises(UsageError, match="no row in a table"):
            library.step(np.full((1, 1), 6))


def test_the_certificate_names_the_weights_and_what_was_compared(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2), nn.Tanh())  # a count of batches has no axis
    made = leadline.stream(model, torch.zeros(1, 1, 5), layout=SIGNAL, backend="torch")
    found = made.export(tmp_path / "two.c", compare=300)
    record = json.loads((tmp_path / "two.json").read_text())
    assert record == found.to_dict()
    assert record["files"] == ["two.c", "two.h", "two.json"]
    assert (record["positions"], record["multiply_adds"]) == (300, found.multiply_adds)
    with torch.no_grad():
        model[0].weight += 1
    other = leadline.stream(model, torch.zeros(1, 1, 5), layout=SIGNAL, backend="torch").export(tmp_path / "two.c")
    assert other.weights != found.weights


def test_it_is_a_program_too(tmp_path: Path) -> None:
    """Strictly C99, without a warning; raw numbers go in and come out."""
    torch.manual_seed(0)
    model, x = nn.Conv1d(2, 3, 1), torch.randn(1, 2, 130)
    made = leadline.stream(model, x[..., :5], layout=SIGNAL, backend="torch")
    made.export(tmp_path / "it.c")
    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-Wno-unknown-pragmas", "-O1", "-DIT_MAIN"]
    subprocess.run([COMPILER, *strict, "-o", tmp_path / "it", tmp_path / "it.c", "-lm"], check=True)
    done = subprocess.run(
        [tmp_path / "it"], input=x[0].T.contiguous().numpy().tobytes(), capture_output=True, check=True
    )
    got = np.frombuffer(done.stdout, np.float32).reshape(-1, 3)
    np.testing.assert_allclose(got, model(x)[0].T.detach().numpy(), rtol=0, atol=1e-6)


def test_without_a_compiler_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    made = leadline.stream(nn.Conv1d(1, 1, 1), torch.zeros(1, 1, 5), layout=SIGNAL, backend="torch")
    found = made.export(tmp_path / "it.c")
    assert (found.positions, found.difference) == (0, None)
    assert "not compared" in str(found)


def test_what_has_no_c_is_refused_by_name_and_nothing_is_written(tmp_path: Path) -> None:
    picture = build("pixelcnn", height=4, width=4, layers=1, channels=4, inner=2, classes=3)
    made = leadline.stream(picture.model, *picture.inputs, layout=picture.layout, backend="torch")
    with pytest.raises(NotUniform, match="written for one axis"):
        made.export(tmp_path / "it.c")

    class Erf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erfinv(x.tanh())

    made = leadline.stream(Erf(), torch.zeros(1, 1, 5), layout=SIGNAL, backend="torch")
    with pytest.raises(NotUniform, match=r"no C is written for erfinv \(the model itself"):
        made.export(tmp_path / "it.c")
    half = leadline.stream(
        nn.Conv1d(1, 1, 1).bfloat16(), torch.zeros(1, 1, 5).bfloat16(), layout=SIGNAL, backend="torch"
    )
    with pytest.raises(NotUniform, match=r"float32 and float64, and the output is torch\.bfloat16"):
        half.export(tmp_path / "it.c")
    plain = leadline.stream(nn.Conv1d(1, 1, 1), torch.zeros(1, 1, 5), layout=SIGNAL, backend="torch")
    for name, says in (("it.txt", r"ends in \.c"), ("1-it.c", r"call it _1_it\.c")):
        with pytest.raises(UsageError, match=says):
            plain.export(tmp_path / name)
    with pytest.raises(StorageError):
        plain.export(tmp_path / "nowhere" / "it.c")
    assert not list(tmp_path.iterdir())


def test_it_is_left_to_other_threads_and_batches() -> None:
    """The state is the caller's: two sequences do not touch each other."""
    specimen = build("gru", hidden=3, inputs=2)
    _, code = _code(specimen.model, *specimen.inputs, layout=specimen.layout)
    x = torch.randn(2, 40, 2)
    with loaded(code, COMPILER) as one, loaded(code, COMPILER) as two, torch.no_grad():
        wanted = specimen.model(x)
        rows = [[one.step(x[0, t : t + 5].numpy()), two.step(x[1, t : t + 5].numpy())] for t in range(0, 40, 5)]
    for n in range(2):
        got = np.concatenate([row[n] for row in rows])
        np.testing.assert_allclose(got, wanted[n].numpy(), rtol=0, atol=1e-6)
