"""Every public result can be printed, shown, exported and saved: found by introspection, so that a new one must too."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import leadline
from leadline import Bound, Coverage, Estimate, Status
from leadline.audit import Unavailable
from leadline.audit.architecture import find_architecture
from leadline.claims import run_claims
from leadline.errors import UsageError
from leadline.report.schema import _define, schema
from leadline.results import Gap, Place, Result
from leadline.sampling import Exported, Narrowed
from leadline.sweeps import Swept, Tried
from leadline.sweeps.trials._trial import LEARNT
from leadline.sweeps.trials.tasks import TASKS
from leadline.sweeps.trials.verdicts import BRAIN_ENDS, ENDS
from leadline.training import Moment, Score
from leadline.zoo import build


def classes(hint: Any) -> Iterator[type]:
    """Return the classes in an annotation."""
    if isinstance(hint, type) and not get_args(hint):
        yield hint
    for part in get_args(hint):
        yield from classes(part)


def result_of(function: Any) -> Any:
    """Return what a function is annotated to return."""
    function = inspect.unwrap(function)
    hint = function.__annotations__["return"]
    return eval(hint, vars(sys.modules[function.__module__])) if isinstance(hint, str) else hint


def public_results() -> set[type]:
    """Return the frozen dataclasses that public functions and methods return, or that the package exports."""
    public = [getattr(leadline, name) for name in leadline.__all__]
    methods = [m for n, m in inspect.getmembers(leadline.DepthReading, inspect.isfunction) if not n.startswith("_")]
    functions = [f for f in (*public, *methods, run_claims, leadline.audit.trained.score_run) if inspect.isfunction(f)]
    returned = [c for function in functions for c in classes(result_of(function))]
    exported = [c for c in (*public, Unavailable) if isinstance(c, type)]
    records = {c for c in (*returned, *exported) if dataclasses.is_dataclass(c)}
    held = {c for record in records for hint in get_type_hints(record).values() for c in classes(hint)}
    return records | {c for c in held if issubclass(c, Result)}


class Leaky(nn.Module):
    """Looks one position ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def exported() -> Exported:
    """Return what a stream of one product was exported as."""
    with tempfile.TemporaryDirectory() as folder:
        made = leadline.stream(nn.Conv1d(1, 1, 1), torch.zeros(1, 1, 4), layout="b c t -> b v t", backend="torch")
        return made.export(Path(folder, "one.c"), compare=10)


def narrowed() -> Narrowed:
    return Narrowed("int8", "given", 0.25, Estimate.of([0.25, 0.125]), Estimate.of([0.01, 0.02]))


def moment() -> Moment:
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    with leadline.monitor(model) as watch:
        model(torch.ones(2, 3)).sum().backward()
        watch.stepped()
    return watch.records[0]


def swept() -> Swept:
    rows = tuple(
        {"layers": n, "seed": 0, "gradient.rate": math.inf if n > 2 else -0.5 * n, "error": None} for n in (1, 2, 3)
    )
    return Swept("mlp", {"layers": (1, 2, 3)}, 1, ("gradient.rate",), rows, "leadline 0")


def tried() -> Tried:
    """Two models of one seed, of which one has no end in float16."""
    judged = tuple({"placement": place, "layers": 10, "seed": 0, "gradient.rate": rate, "gradient.total": 5 * rate,
                    ENDS.measure: ends, BRAIN_ENDS.measure: None, "error": None}
                   for place, rate, ends in (("plain", 0.2, 47), ("after", 0.1, None)))  # fmt: skip
    taught = tuple({"placement": place, "layers": 10, "lr": 0.1, "seed": 0, "trial.score": score,
                    "trial.validation": score, "trial.loss": math.nan, "trial.steps": 9, "error": None}
                   for place, score in (("plain", 0.25), ("after", 0.75)))  # fmt: skip
    settings = {"placement": ("plain", "after"), "layers": (10,)}
    columns = (tuple(verdict.measure for verdict in TASKS["bn-placement"].verdicts), LEARNT)
    one, other = (Swept("f", given, 1, names, rows, "leadline 0") for given, names, rows in zip(
        (settings, {**settings, "lr": (0.1,)}), columns, (judged, taught), strict=True))  # fmt: skip
    return Tried("bn-placement", one, other)


@cache
def examples() -> tuple[Result, ...]:
    """Return at least one real result of every kind."""
    stack = build("masked-stack", layers=2, channels=2, height=5, width=6)
    audit = leadline.check(stack.model, *stack.inputs, layout=stack.layout, name="a_b & <c>")
    leaky = leadline.check(Leaky(), torch.zeros(2, 2, 9), layout="b c t -> b v t", rate=8000)
    reading = leadline.read(stack.model, *stack.inputs, layout=stack.layout)
    laws = find_architecture("grid-rnn", ["d=1..4", "k=1"]).laws()
    parts = [audit.count, audit.span, audit.causality, audit.generation, audit.wavefronts, audit.context]
    return (
        audit, leaky, *parts, audit.memory, audit.gradient, *audit.gradient.chains, leaky.causality,  # type: ignore[return-value]
        leadline.compare({"one": audit, "two": leaky, "three": audit}),
        reading.reach(), reading.remedies(probes=2), exported(), narrowed(), moment(), swept(), tried(),
        leadline.spectrum(torch.sin, torch.zeros(3), k=2),
        leadline.lyapunov(lambda x: torch.tensor([2.0, 0.5]) * x, torch.ones(2), steps=20),
        laws, laws.connections, reading.system(), *run_claims(["A1"]),
        Bound(0.0, math.inf, Status.BOUND), Estimate(1.5, 0.25, n=4), Unavailable("no rule | for it"),
        Coverage(3, (Gap("aten.mystery.default", Place("layers.0", "m.py:3")),)),
        Score(nats=443.6, symbols=640, examples=10, squares=19680.0, part="test"),
    )  # fmt: skip


def test_every_public_result_is_one_and_has_an_example() -> None:
    found = public_results()
    assert len(found) >= 19
    assert {c.__name__ for c in found if not issubclass(c, Result)} == set()
    assert {c.__name__ for c in found} <= {type(example).__name__ for example in examples()}


def test_printed_they_are_a_short_verdict() -> None:
    for result in examples():
        text = str(result)
        assert text.strip(), result
        assert len(text.splitlines()) <= 14, text
        assert len(text) < 1600, text
        assert "tensor(" not in text
        assert not re.search(r"\b\w+\(\w+=", text), text  # the repr of a dataclass


def test_rich_and_notebooks_show_them() -> None:
    for result in examples():
        console = Console(file=io.StringIO(), width=80)
        console.print(result)
        printed = console.file.getvalue()  # type: ignore[attr-defined]
        assert printed.strip()
        assert max(map(len, printed.splitlines())) <= 80
        page = result._repr_html_()
        assert page.startswith('<div class="leadline">')
        assert "<c>" not in page
        assert "<script" not in page


def test_records_are_versioned_json_that_the_schema_describes() -> None:
    import jsonschema

    whole = schema()
    for result in examples():
        record = json.loads(result.to_json())
        assert record == json.loads(json.dumps(result.to_dict()))
        assert record["format"] == "leadline-result/1"
        assert record["type"] == type(result).__name__
        jsonschema.validate(record, whole)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**record, "type": "Nothing"}, whole)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**examples()[0].to_dict(), "count": {"macs": "many"}}, whole)


def test_two_kinds_of_one_name_are_refused() -> None:
    """The schema of the one would be held against the other, as it once was."""

    @dataclass(frozen=True)
    class Estimate:  # as `leadline.results` has one
        value: float

    definitions: dict[str, Any] = {}
    _define(leadline.results.Estimate, definitions)
    with pytest.raises(TypeError, match="rename one"):
        _define(Estimate, definitions)


def test_the_schema_in_the_docs_is_the_one_that_is_generated() -> None:
    path = Path(__file__).parents[2] / "docs" / "results.schema.json"
    assert json.loads(path.read_text()) == schema(), "run `python -m leadline.report.schema docs/results.schema.json`"


def test_tables_hold_the_same_figures_in_every_form() -> None:
    pandas = pytest.importorskip("pandas")
    for result in examples():
        frame = result.to_pandas()
        assert isinstance(frame, pandas.DataFrame)
        assert len(frame)
        markdown, latex = result.to_markdown().splitlines(), result.to_latex()
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in markdown}
        assert len(columns) == 1, markdown
        assert latex.count("&") >= len(markdown) - 1
        assert not re.search(r"(?<!\\)[#%]|(?<![\\$}])_", latex), latex
        assert latex.isascii() or re.search(r"[^\x00-\x7f]", latex), latex


def test_a_table_of_three_variants_has_a_column_for_each() -> None:
    (comparison,) = (result for result in examples() if isinstance(result, leadline.Comparison))
    head = comparison.to_latex().splitlines()[2]
    assert head.strip() == r"quantity & one & two & three \\"
    pytest.importorskip("pandas")
    frame = comparison.to_pandas()
    assert list(frame.index) == ["one", "two", "three"]
    assert frame.loc["one", "sequential steps"] == 2


def test_saved_they_are_read_back(tmp_path: Path) -> None:
    audit = examples()[0]
    Bound(0.0, 1.0, Status.BOUND).save(tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text().startswith("<!doctype html>")
    for suffix, beginning in {
        "json": "{", "md": "| quantity", "tex": r"\begin{tabular}", "txt": "a_b & <c>"
    }.items():  # fmt: skip
        audit.save(tmp_path / f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_text().startswith(beginning)
    with pytest.raises(UsageError, match=r"saved as \.html, \.json, .*, not \.doc"):
        audit.save(tmp_path / "a.doc")


def test_shown_they_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    examples()[1].show()
    printed = capsys.readouterr().out
    assert "looks 1 sample (0.125 ms)" in printed


def test_without_pandas_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'leadline[tables]'")):
        examples()[0].to_pandas()
