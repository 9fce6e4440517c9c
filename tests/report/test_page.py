"""The page of a terminal: one screen of 80 columns, verdicts first, in words that say what to do."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import leadline
from leadline.audit._check import audit_of
from leadline.audit.audited import About, Audit, Unavailable
from leadline.audit.named_model import find_model
from leadline.document import Card, Document
from leadline.errors import UsageError
from leadline.report.audit_document import describe_audit
from leadline.report.progress import watching
from leadline.report.terminal import MARKS, show
from leadline.zoo import ZOO

ROOT = Path(__file__).parents[2]
LINES, COLUMNS = 30, 80
SMALL = {
    "wavenet": ["layers=3", "length=24"],
    "transformer": ["layers=2", "length=12"],
    "grid-rnn": ["layers=2", "height=4", "width=5"],
}
SUBJECTS = ("causality", "context", "generation", "steps", "work", "memory", "gradient")


@cache
def audited(name: str) -> Audit:
    named = find_model(name, SMALL.get(name, []))
    about = About(named.name, named.settings, f"leadline check {named.title}")
    return audit_of(named.reading(), about=about, longer=True)


def printed(document: Document, *, encoding: str = "utf-8", width: int = COLUMNS) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    show(document, Console(file=file, width=width))
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def holds(audit: Audit) -> None:
    text = printed(describe_audit(audit, full=False))
    lines = text.splitlines()
    assert len(lines) <= LINES, text
    assert max(map(len, lines)) <= COLUMNS, text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert lines[0] == audit.title[:COLUMNS]
    verdicts = [line for line in lines if line[:1] in MARKS.values()]
    assert [line[2:12].split()[0] for line in verdicts][-3:] == ["work", "memory", "gradient"]
    assert f"reproduce: {audit.command}" in text
    assert all(
        line.rstrip().endswith(("proved", "estimate", "mask", "weights", "bound", "assumed")) for line in verdicts
    )


@pytest.mark.parametrize("name", SMALL)
def test_the_page_fits_a_screen(name: str) -> None:
    audit = audited(name)
    holds(audit)
    text = " ".join(printed(describe_audit(audit, full=False)).split())
    assert all(f" {subject} " in text for subject in SUBJECTS)
    assert "causal: an output sees" in text
    assert "layers=" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_page_of_every_architecture_fits_a_screen(name: str) -> None:
    audit = audited(name)
    text = printed(describe_audit(audit, full=False))
    assert len(text.splitlines()) <= LINES, text
    assert max(map(len, text.splitlines())) <= COLUMNS
    printed(describe_audit(audit, full=True), encoding="ascii")


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_terminals_that_know_ascii_alone_get_it(name: str, full: bool) -> None:
    document = describe_audit(audited(name), full=full)
    text = printed(document, encoding="ascii")  # encoding would fail where a character is left
    assert "?" not in text.replace(MARKS["unknown"] + " gradient", "")
    assert len(text.splitlines()) == len(printed(document).splitlines())


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_text_of_a_user_s_controls_the_terminal(text: str) -> None:
    document = Document(text, text, (), (Card("bad", text, text, text, text),), (text,))
    shown = printed(document, width=200)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown.replace("\r\n", "\n"))
    assert printed(document, encoding="ascii", width=200).isascii()


def test_a_command_is_printed_in_one_line_so_that_it_can_be_pasted() -> None:
    command = "leadline check mine.py:factory --layout 'b c t -> b v t' --only causality,context --rate 16000"
    assert f"\nreproduce: {command}\n" in printed(Document("mine", "", (), (), (f"reproduce: {command}",)))


def test_the_full_page_folds_equal_blocks() -> None:
    text = printed(describe_audit(audited("transformer"), full=True))
    words = " ".join(text.split())
    assert words.index("causality") < words.index("The longest chain") < words.index("By module, equal blocks together")
    assert "blocks 0 and 1, 2 ×: attention.qkv (1 × linear) → attention" in words
    assert "2 ×: feed_forward.up" in words


class Noncausal(nn.Module):
    """Sees 2 positions to either side, through convolutions whose weights are normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(nn.Conv1d(3, 3, 3, padding=1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_times_are_said_in_milliseconds_and_lookahead_in_words() -> None:
    audit = leadline.check(Noncausal(), torch.zeros(1, 3, 12), layout="b c t -> b v t", rate=16_000)
    text = " ".join(str(audit).split())
    assert "leaks: an output looks 2 samples (0.125 ms) ahead" in text
    assert "2 samples (0.125 ms) back and 2 samples (0.125 ms) ahead" in text
    assert "lag -" not in text + printed(describe_audit(audit, full=True)) + str(audit.causality)


def test_normalised_weights_belong_to_their_layers() -> None:
    model = Noncausal()
    count, memory = leadline.count(model, torch.zeros(1, 3, 12)), leadline.memory(model, torch.zeros(1, 3, 12))
    assert set(count.by_module) == {"layers.0", "layers.1"}
    assert sum(tally.parameters for tally in count.by_module.values()) == count.parameters
    assert not [path for path in memory.by_module if "parametrizations" in path]


def test_only_some_depths_are_taken() -> None:
    seen: list[str] = []
    named = find_model("wavenet", SMALL["wavenet"])
    audit = audit_of(named.reading(), only=["causality", "memory"], watch=lambda what, *_: seen.append(what))
    assert {"count", "context", "gradient"}.isdisjoint(seen)
    assert [card.subject for card in describe_audit(audit, full=False).cards] == ["causality", "memory"]
    assert audit.count == Unavailable("not asked for", asked=False)
    sections = [section.heading for section in describe_audit(audit, full=True).sections]
    assert sections == ["Context depth", "Memory to train", "Modules"]
    with pytest.raises(UsageError, match="there is no depth 'causalty'; did you mean 'causality'"):
        leadline.check(named.model, *named.inputs, only=["causalty"])


def test_a_reason_that_depths_share_is_said_once() -> None:
    broken = Unavailable("the model branches on a value", error="TraceError")
    audit = replace(audited("wavenet"), causality=broken, context=broken, count=broken, span=broken)
    text = " ".join(printed(describe_audit(audit, full=False)).split())
    assert text.count("branches on") == 1
    assert "causality, context, span, count" in text


def test_progress_names_the_depth_and_goes_away() -> None:
    console = Console(file=io.StringIO(), width=COLUMNS, force_terminal=True)
    with watching(console) as watch:
        watch("causality")
        watch("causality", audited("wavenet").causality)
        watch("context")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "does an output see later inputs?" in shown
    assert "causal: an output sees" in shown
    quiet = Console(file=io.StringIO(), force_terminal=True)
    with watching(quiet, quiet=True) as watch:
        watch("causality")
    assert quiet.file.getvalue() == ""  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_page_in_the_docs_is_what_is_printed() -> None:
    (page,) = re.findall(r"```text\n(wavenet .*?)```", (ROOT / "docs" / "command-line.md").read_text(), flags=re.S)
    words = page.splitlines()[0].split()
    named = find_model(words[0], words[1:])
    audit = audit_of(
        named.reading(), about=About(named.name, named.settings, f"leadline check {named.title}"), longer=True
    )
    lines = [line.rstrip() for line in printed(describe_audit(audit, full=False)).splitlines()]
    assert page.splitlines() == [line for line in lines if not line.startswith("leadline ")]
