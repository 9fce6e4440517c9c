"""What pages draw is what the functions return."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import leadline
from leadline.audit._check import check
from leadline.audit.architecture import find_architecture
from leadline.document import Curve
from leadline.graph.reading import Reading
from leadline.report.drawings.curves import gradient_curve, law_curves, training_curve
from leadline.report.drawings.maps import context_maps
from leadline.report.drawings.modules import memory_bars, module_table
from leadline.report.drawings.reaches import reach_map
from leadline.report.html.reaches import reach_map as drawn_on_a_page
from leadline.report.html.tables import key
from leadline.training import Run, TrainConfig
from leadline.zoo import build


@pytest.mark.parametrize(
    ("name", "settings", "position"),
    [("masked-stack", {"height": 5, "width": 9, "channels": 1}, (3, 2)), ("wavenet", {"length": 70}, (69,))],
)
def test_each_map_is_that_of_its_output(name: str, settings: dict[str, int], position: tuple[int, ...]) -> None:
    specimen = build(name, layers=2, **settings)
    reading = Reading(specimen.model, specimen.inputs, layout=specimen.layout)
    found = leadline.context(specimen.model, *specimen.inputs, layout=specimen.layout, position=position)
    maps = context_maps(reading, found)
    assert maps is not None
    assert maps.positions[maps.chosen] == position
    assert 9 <= len(maps.positions) <= 64
    seen = [name for _, name in maps.legend].index("seen")
    for place in maps.positions[:: len(maps.positions) // 4]:
        own = leadline.context(specimen.model, *specimen.inputs, layout=specimen.layout, position=place, longer=False)
        cells = torch.from_numpy(maps.inputs[0].cells[maps.positions.index(place)])
        assert torch.equal(cells == seen, own.map)


def test_bars_and_modules_add_up_to_the_whole() -> None:
    specimen = build("transformer", layers=3)
    audit = check(specimen.model, *specimen.inputs, layout=specimen.layout, only=["count", "memory"])
    bars = memory_bars(audit.memory)  # type: ignore[arg-type]
    assert bars is not None
    assert sum(amount for _, amount, _ in bars.bars) == audit.memory.saved  # type: ignore[union-attr]
    (table,) = module_table(audit)
    sums = [sum(key(cell) or 0 for cell in column) for column in list(zip(*table.rows, strict=True))[1:4]]
    count = audit.count
    assert sums == [count.connections, count.macs, count.parameters]  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "settings"), [("masked-stack", {"height": 5, "width": 6}), ("dilated-stack", {})])
def test_the_reach_of_a_check_lies_where_its_context_does(name: str, settings: dict[str, int]) -> None:
    specimen = build(name, **settings)
    audit = check(specimen.model, *specimen.inputs, layout=specimen.layout, only=["context", "reach"])
    found, seen = audit.reach, audit.context.map  # type: ignore[union-attr]
    drawn = reach_map(found)  # type: ignore[arg-type]
    assert drawn is not None
    assert found.positions == (tuple(audit.context.position.values()),)  # type: ignore[union-attr]
    assert torch.equal(torch.from_numpy(drawn.seen).reshape(seen.shape), seen)
    assert not (drawn.size > 0)[~drawn.seen].any()
    alone = leadline.reach(specimen.model, *specimen.inputs, layout=specimen.layout, positions=found.positions)
    sizes = dict(zip(map(tuple, alone.offsets.tolist()), (alone.rms / alone.rms.max()).tolist(), strict=True))
    for (row, column), size in np.ndenumerate(drawn.size):
        place = (drawn.first[0] + row, drawn.first[1] + column)[-seen.ndim :]
        assert size == pytest.approx(sizes[tuple(-at for at in place)], rel=1.5, abs=0.3)  # four cotangents


def test_neighbours_share_a_cell_of_a_long_line() -> None:
    layer = torch.nn.Conv1d(1, 1, 5, padding=(4,), bias=False)
    cropped = torch.nn.Sequential(layer, torch.nn.ConstantPad1d((0, -4), 0.0))
    found = leadline.reach(cropped, torch.randn(1, 1, 1500), layout="b c t -> b v t", positions=[700])
    drawn = reach_map(found)
    assert drawn is not None
    assert drawn.size.shape[1] <= 512
    assert -drawn.first[1] % drawn.step == 0
    (cells,) = np.nonzero(drawn.size[0])
    places = sorted({(drawn.first[1] + drawn.step * int(cell)) // drawn.step for cell in cells})
    assert places == [-2, -1, 0]  # offsets 0 to 4, three to a cell
    layers = drawn_on_a_page(drawn)["layer"]
    (shade,) = layers[0]["data"]["values"]
    assert (shade["x"], shade["x2"]) == (-6, 3)


def test_limits_of_formats_are_where_a_gradient_of_ones_is_rounded_away() -> None:
    """Entries of size 1 at the end times the limit's factor: half of it is zero in float16, twice of it is not."""
    layers = [torch.nn.Linear(8, 8, bias=False) for _ in range(5)]
    for layer in layers:
        torch.nn.init.eye_(layer.weight).data.mul_(0.5)
    drawn = gradient_curve(leadline.gradient(torch.nn.Sequential(*layers), torch.randn(1, 8)))
    assert drawn is not None
    norms, limits = drawn.series[0][1], dict(drawn.levels)
    least = limits["float16 holds nothing below"] / (norms[-1] / 0.5)
    assert torch.tensor(0.9 * least, dtype=torch.float64).half() == 0
    assert torch.tensor(1.1 * least, dtype=torch.float64).half() > 0
    assert "bfloat16" in drawn.caption


def test_laws_are_drawn_where_they_hold() -> None:
    architecture = find_architecture("grid-rnn", ["d=1..3", "k=1"])
    law = architecture.laws().training_steps
    drawn = {block.x_label: block for block in law_curves(architecture, {"steps": law}) if isinstance(block, Curve)}
    assert set(drawn) == {"d", "H", "W"}
    others = dict(part.split(" = ") for part in drawn["d"].caption.partition("with ")[2].split(", "))
    for depth, value in zip(drawn["d"].x, drawn["d"].series[0][1], strict=True):
        assert value == law.at(d=int(depth), **{name: int(size) for name, size in others.items()})


def test_a_run_draws_its_metrics(tmp_path: Path) -> None:
    lines = [{"step": 0, "train": None, "validation": 3.0}, {"step": 5, "train": 2.0, "validation": 2.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = Run(tmp_path, "mlp", {}, build("mlp"), 1, TrainConfig(steps=5), {}, None)
    drawn = training_curve(run)
    assert drawn is not None
    assert drawn.x == (0.0, 5.0)
    (_, train), (_, validation) = drawn.series
    assert math.isnan(train[0])
    assert (train[1], validation) == (2.0, (3.0, 2.5))
