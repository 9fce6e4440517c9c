"""Pages of sweeps: curves and heat maps with the theory's line, the table, and the command that makes them."""

from __future__ import annotations

import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.processes import ended

import leadline
from leadline import cli
from leadline.document import Curve, HeatMap
from leadline.report.swept.curves import critical_line, sweep_curves
from leadline.report.swept.heat_maps import sweep_pictures
from leadline.sweeps import Swept
from leadline.sweeps.theory import theory_of
from leadline.zoo import build

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def _warm() -> None:
    """What a command imports is imported here, once, and not in every process that is forked."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), pytest.raises(SystemExit):
        cli.main(["check", "chain", "layers=2"])


def made(model: str, settings: dict[str, tuple[object, ...]], measure: str, value: object) -> Swept:
    """A sweep of one or two settings whose measure is a function of their values."""
    import itertools

    rows = []
    for chosen in itertools.product(*settings.values()):
        at = dict(zip(settings, chosen, strict=True))
        rows += [{**at, "seed": seed, measure: value(at, seed), "error": None} for seed in (0, 1)]  # type: ignore[operator]
    return Swept(model, settings, 2, (measure,), tuple(rows), "leadline 0")  # type: ignore[arg-type]


def test_a_phase_diagram_has_its_critical_line() -> None:
    settings = {"sigma_w": (1.0, 1.3, 1.4, 2.0), "layers": (10, 20), "activation": ("tanh",), "sigma_b": (0.05**0.5,)}
    swept = made("mlp", settings, "gradient.rate", lambda at, seed: math.log(at["sigma_w"] / (1.33 + 0.01 * seed)))
    (curve,) = sweep_curves(swept)
    assert [name for name, _ in curve.series] == ["layers=10", "layers=20", "mean field, infinite width"]
    theory = dict(curve.series)["mean field, infinite width"]
    assert theory[1] < 0 < theory[2]
    assert curve.levels == (("0", 0.0),)
    assert critical_line(swept).endswith("by theory at 1.761")
    assert "σ_w² = 1.78" in critical_line(swept)


def test_two_settings_of_several_numbers_make_a_heat_map_with_theory_s_line() -> None:
    """A measure that passes zero at a known place of its own for each height."""
    settings = {"sigma_w": (1.0, 1.3, 1.4, 2.0), "sigma_b": (0.1, 0.3, 0.5), "layers": (20,), "activation": ("tanh",)}
    zero = {0.1: 1.2, 0.3: 1.35, 0.5: 1.6}
    swept = made("mlp", settings, "gradient.rate", lambda at, seed: at["sigma_w"] - zero[at["sigma_b"]] - 0.02 * seed)
    (drawn,) = sweep_pictures(swept)
    assert isinstance(drawn, HeatMap)
    assert (drawn.x_label, drawn.y_label) == ("sigma_w", "sigma_b")
    for row, bias in enumerate(settings["sigma_b"]):
        means = [width - zero[bias] - 0.01 for width in settings["sigma_w"]]
        assert drawn.values[row] == pytest.approx(means)
    lines = dict(drawn.lines)
    assert {y: x for x, y in lines["measured"]} == pytest.approx({b: at + 0.01 for b, at in zero.items()})
    theory = lines["mean field, infinite width"]
    assert (theory[0][1], theory[-1][1]) == (0.1, 0.5)
    rate = theory_of("mlp", "sigma_w", "gradient.rate")
    assert rate is not None
    for x, y in (theory[0], theory[len(theory) // 2], theory[-1]):
        assert rate.value({"activation": "tanh", "sigma_w": x, "sigma_b": y}) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    "settings",
    [
        {"sigma_w": (1.0, 2.0, 3.0), "layers": (10, 20)},  # too few for a map
        {"sigma_w": (1.0, 2.0, 3.0), "activation": ("tanh", "relu", "identity")},  # words have no places on an axis
        {"sigma_w": (1.0, 2.0, 3.0), "layers": (1, 2, 3), "width": (8, 16, 32)},  # three settings
        {"sigma_w": (1.0, 2.0, 3.0)},
    ],
)
def test_whatever_is_no_grid_of_two_numbers_is_drawn_as_curves(settings: dict[str, tuple[object, ...]]) -> None:
    swept = made("mlp", settings, "span.steps", lambda at, _: at["sigma_w"])
    (drawn,) = sweep_pictures(swept)
    assert isinstance(drawn, Curve)
    assert drawn.series[0][1] == (1.0, 2.0, 3.0)
    if len(settings) == 3:
        assert "width=32" in drawn.caption  # what stands still is said


def test_several_measures_are_several_maps_and_what_is_not_measured_is_left_out() -> None:
    settings = {"width": (8, 16, 32), "layers": (1, 2, 3)}
    swept = made("mlp", settings, "count.macs", lambda at, _: at["width"] ** 2 * at["layers"])
    rows = tuple(
        {**row, "span.steps": None if row["layers"] == 2 else row["layers"], "what": "text"} for row in swept.rows
    )
    both = replace(swept, rows=rows, measures=("count.macs", "span.steps", "what"))
    macs, steps = sweep_pictures(both)
    assert isinstance(macs, HeatMap)
    assert isinstance(steps, HeatMap)
    assert macs.values[2].tolist() == [3 * 64, 3 * 256, 3 * 1024]
    assert np.isnan(steps.values[1]).all()
    assert not np.isnan(steps.values[[0, 2]]).any()


def test_placements_and_forget_biases_stand_beside_theory() -> None:
    settings = {"layers": (10, 20, 40), "placement": ("branch", "after")}
    (curve,) = sweep_curves(made("batchnorm", settings, "gradient.total", lambda at, _: 0.1 * at["layers"]))
    names = [name for name, _ in curve.series]
    assert names[2:] == ["mean field, infinite width, placement=branch", "mean field, infinite width, placement=after"]
    after = dict(curve.series)[names[3]]
    assert after[1] == pytest.approx(2 * after[0])  # exponential in depth
    biases = made("lstm", {"forget_bias": (0.0, 1.0, 2.0)}, "reach.half_life", lambda at, _: 1 + at["forget_bias"])
    (curve,) = sweep_curves(biases)
    assert dict(curve.series)["a cell left alone"][0] == pytest.approx(1)


def test_what_is_no_number_is_not_drawn() -> None:
    swept = made("chain", {"layers": (2, 3)}, "gradient.kind", lambda *_: "stable")
    assert sweep_curves(swept) == ()
    assert sweep_curves(made("mlp", {"activation": ("tanh", "relu")}, "span.steps", lambda *_: 3)) == ()


def test_a_forget_bias_is_the_forget_gate_s() -> None:
    plain, biased = (build("lstm", forget_bias=bias, layers=2, hidden=3).model for bias in (0.0, 1.5))
    for name, value in plain.named_parameters():
        moved = biased.get_parameter(name) - value
        expected = torch.zeros(12)
        expected[3:6] = 1.5
        assert torch.equal(moved, expected) if "bias_ih" in name else not moved.any()
    with pytest.raises(leadline.errors.UsageError, match="leave bias=false out"):
        build("lstm", forget_bias=1.0, bias=False)


BESIDE_THEORY = {
    "tanh": ("mlp sigma_w=1:2:0.5 layers=8,10,12 width=16 sigma_b=0.2236068", "gradient.rate", "by theory at 1.761"),
    "relu": ("mlp activation=relu sigma_w=1:2:0.5 layers=8 width=16", "gradient.rate", "by theory at 2"),
    "placements": (
        "batchnorm layers=4,8 placement=after,before width=16 batch=32", "gradient.total", "(0.6934 by theory)"
    ),
    "forget biases": ("lstm forget_bias=0,2 length=20 hidden=4", "reach.half_life", "(5.461 by theory)"),
    "B8": ("masked-stack,mdrnn height=2,3 width=3 layers=1", "generation.steps", "mdrnn 15 (15 by theory)"),
}  # fmt: skip
"""Small sizes of the sweeps that the docs show, and what is printed beside them."""


@pytest.mark.usefixtures("_warm")
@pytest.mark.parametrize("name", BESIDE_THEORY)
def test_what_the_docs_show_is_printed_beside_theory(name: str, tmp_path: Path) -> None:
    words, measure, said = BESIDE_THEORY[name]
    code, out, error = ended(
        "sweep", *words.split(), "--measure", measure, "--out", "found", "--workers", "0", folder=tmp_path
    )
    assert code == 0, error
    assert said in " ".join(out.split())


@pytest.mark.usefixtures("_warm")
def test_the_command_measures_shows_and_goes_on(tmp_path: Path) -> None:
    words = ["sweep", "masked-stack", "layers=1:3", "height=4", "width=5", "--measure", "count.macs, span.steps"]
    words += ["--out", "found", "--workers", "0", "--html", "page.html", "--json", "found.json"]
    code, out, error = ended(*words, folder=tmp_path)
    assert (code, error.splitlines()[-2:]) == (0, ["written: found.json", "written: page.html"])
    assert "Sweep of masked-stack" in out
    record = json.loads((tmp_path / "found.json").read_text())
    assert [row["span.steps"] for row in record["rows"]] == [1, 2, 3]
    assert "count.macs along layers" in (tmp_path / "page.html").read_text()
    again, same, _ = ended(*words, folder=tmp_path)
    assert (again, same) == (0, out)
    code, _, error = ended(*words[:2], "lairs=3", *words[5:], folder=tmp_path)
    assert code == 2
    assert "did you mean 'layers'" in error
    code, out, _ = ended(*words[:3], "--measure", "span.nothing", "--out", "failed", "--workers", "0", folder=tmp_path)
    assert code == 1
    assert "Span has no 'nothing'" in " ".join(out.split())
