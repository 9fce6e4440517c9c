"""The audit composes the depths as the functions return them, and says which ones it cannot take."""

import io
import json

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import leadline
from leadline.audit._check import audit_of, check
from leadline.audit._compare import compare_named
from leadline.audit.audited import About, Unavailable
from leadline.audit.named_model import find_model
from leadline.document import FrontMap, GridMap, Table
from leadline.errors import ModelError
from leadline.recurrence.analysis.schedule import Wavefronts
from leadline.report.audit_document import describe_audit
from leadline.report.comparison_document import describe_comparison
from leadline.report.html import render
from leadline.report.terminal import show
from leadline.report.writing import to_json
from leadline.zoo import build


def test_every_depth_is_the_function_s_own() -> None:
    specimen = build("masked-stack", layers=3, channels=2, height=5, width=6)
    model, inputs, layout = specimen.model, specimen.inputs, specimen.layout
    audit = check(model, *inputs, layout=layout)
    assert audit.count == leadline.count(model, *inputs)
    assert audit.span == leadline.span(model, *inputs)
    assert audit.causality == leadline.causality(model, *inputs, layout=layout)
    assert audit.memory == leadline.memory(model, *inputs)
    assert audit.generation == leadline.generation(model, *inputs, layout=layout, lag=1)
    assert not audit.leaks


def test_wavefronts_are_drawn_on_the_grid() -> None:
    """B3 and B5: two rows of fronts for a PixelCNN of any depth; antidiagonals for a grid recurrence."""
    pixels = build("masked-stack", layers=3, channels=2, height=5, width=6)
    found = check(pixels.model, *pixels.inputs, layout=pixels.layout).wavefronts
    assert isinstance(found, Wavefronts)
    assert found.generation is not None
    assert (str(found.generation), found.generation.count) == ("front 2h + w", 2 * 4 + 6)
    assert found.training.count == 1
    cells = build("grid-rnn", height=4, width=5, layers=2)
    audit = check(cells.model, *cells.inputs, layout=cells.layout)
    assert isinstance(audit.wavefronts, Wavefronts)
    assert (str(audit.wavefronts.training), audit.wavefronts.training.widest) == ("front h + w", 4)
    blocks = [block for section in describe_audit(audit).sections for block in section.blocks]
    (drawn,) = (block for block in blocks if isinstance(block, FrontMap))
    assert drawn.cells.tolist()[1] == [1, 2, 3, 4, 5]
    json.loads(to_json(audit))


class Sorter(nn.Module):
    """Takes integers to integers: nothing to differentiate."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)


def test_a_depth_that_cannot_be_taken_says_why_and_the_others_stand() -> None:
    audit = check(Sorter(), torch.randint(0, 9, (2, 5)), layout="b t -> b t")
    assert isinstance(audit.gradient, Unavailable)
    assert audit.gradient.reason
    assert audit.leaks
    assert isinstance(audit.generation, Unavailable)
    assert "ahead" in audit.generation.reason
    assert audit.count.connections == 0  # type: ignore[union-attr]
    assert "unknown: " in str(describe_audit(audit))


class Unwilling(torch.autograd.Function):
    """Has no backward pass but an error that nobody foresees."""

    @staticmethod
    def forward(_ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_ctx: torch.autograd.function.FunctionCtx, *_grads: Tensor) -> Tensor:
        raise KeyError("no way back")


class OneWay(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return Unwilling.apply(self.layers(x))


def test_an_error_that_nobody_foresees_ends_one_depth_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ZeroDivisionError("one over none")

    monkeypatch.setattr("leadline.audit._check.span_of", failing)
    audit = check(OneWay(), torch.randn(2, 5, 4), layout="b t c -> b t v")
    assert isinstance(audit.gradient, Unavailable)
    assert "KeyError" in audit.gradient.reason
    assert isinstance(audit.span, Unavailable)
    assert audit.span.reason.startswith("ZeroDivisionError: one over none")
    assert (audit.verdict, audit.count.macs) == ("structural", 2 * 5 * 3 * 16)


def test_inputs_that_do_not_fit_are_one_error_with_its_line() -> None:
    with pytest.raises(ModelError, match=r"Linear raised RuntimeError on inputs of shape \[\(2, 3\)\].*linear\.py:\d+"):
        check(nn.Linear(4, 4), torch.zeros(2, 3))


def test_the_model_is_left_as_it_was() -> None:
    specimen = build("batchnorm", layers=2)
    model = specimen.model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    check(model, *specimen.inputs, layout=specimen.layout)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["masked-stack", "grid-rnn", "dilated-stack"])
def test_documents_and_json_hold_the_numbers(name: str) -> None:
    named = find_model(name, ["layers=2", "channels=2"] if name != "grid-rnn" else ["layers=2", "hidden=2"])
    audit = audit_of(named.reading(), about=About(named.name))
    document = describe_audit(audit)
    kinds = {type(block) for section in document.sections for block in section.blocks}
    assert {Table, GridMap} <= kinds
    assert f">{audit.span.steps}<" in render(document)  # type: ignore[union-attr]
    record = json.loads(to_json(audit))
    assert record["count"]["connections"] == audit.count.connections  # type: ignore[union-attr]
    assert record["count"]["status"] == "proved"


def test_a_comparison_shows_a_column_for_each() -> None:
    found = compare_named(*(find_model("masked-stack", [f"layers={layers}"]) for layers in (2, 3, 4)))
    (table,) = describe_comparison(found).sections[0].blocks
    assert isinstance(table, Table)
    assert table.head == ("", "masked-stack layers=2", "masked-stack layers=3", "masked-stack layers=4")
    assert ("sequential steps to train", "2 (p)", "3 (p)", "4 (p)") in table.rows
    assert found.trials == (None, None, None)


def test_a_comparison_has_a_page_of_one_screen() -> None:
    found = compare_named(*(find_model(name, ["layers=2"]) for name in ("masked-stack", "grid-rnn", "dilated-stack")))
    console = Console(file=io.StringIO(), width=80)
    show(describe_comparison(found, full=False), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= 25
    assert sum(line.strip().startswith("≠") for line in lines) >= 5
    assert len(describe_comparison(found).sections) > 1  # --full, and HTML, have maps and gradients too
