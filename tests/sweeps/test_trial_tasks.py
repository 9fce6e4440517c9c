"""The tasks of trials: what is asked follows from what is shown, and each trial runs, at a tiny size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import one_hot

import leadline
from leadline.cli.sweeps import sweep as sweep_command
from leadline.cli.trials import trial as command
from leadline.data import load
from leadline.errors import UsageError
from leadline.report.swept.trials import describe_trial
from leadline.sweeps.trials._trial import trial
from leadline.sweeps.trials.materials import IGNORED, Adding, Copying, Recall
from leadline.sweeps.trials.mixers import MIXERS, Attention, Gated, MixerConfig, MixerNet, StateSpace, lstm
from leadline.sweeps.trials.stacks import SkipConfig, SkipNet
from leadline.sweeps.trials.tasks import TASKS, adding, copying, recall, text
from leadline.sweeps.trials.texts import Text

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")

TINY: Mapping[str, Mapping[str, Any]] = {
    "bn-placement": {"placement": ["plain", "after"], "layers": 4, "steps": 2, "width": 6, "batch": 8, "lr": 0.1},
    "residual": {"skip": [True, False], "scale": 0.5, "layers": 4, "steps": 2, "width": 6, "batch": 8, "lr": 0.1},
    "adding": {"cell": ["rnn", "gru"], "forget_bias": 0.0, "length": 6, "steps": 2, "hidden": 3, "lr": 0.01},
    "copy": {"cell": "lstm", "forget_bias": [0.0, 2.0], "length": 8, "steps": 2, "hidden": 3, "batch": 4, "lr": 0.01},
    "mqar": {
        "mixer": ["linear", "state-space"],
        "layers": 2,
        "pairs": 2,
        "steps": 2,
        "width": 4,
        "batch": 4,
        "keys": 4,
        "values": 2,
        "lr": 0.01,
    },
    "text": {
        "mixer": ["gated", "lstm"],
        "skip": True,
        "layers": 2,
        "length": 6,
        "steps": 2,
        "width": 4,
        "batch": 4,
        "lr": 0.01,
    },
}
seeds = st.integers(0, 1000)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(2, 20), seeds)
def test_two_numbers_are_marked_one_of_either_half_and_their_sum_is_asked_for(length: int, seed: int) -> None:
    x, sums = Adding(length).batch(5, drawn(seed))
    for sequence, total in zip(x.tolist(), sums.tolist(), strict=True):
        marked = [at for at, (_, mark) in enumerate(sequence) if mark == 1]
        assert len(marked) == 2
        assert marked[0] < length // 2 <= marked[1]
        assert all(mark in (0, 1) and 0 <= number < 1 for number, mark in sequence)
        assert total == pytest.approx(sum(sequence[at][0] for at in marked))


def test_who_says_the_mean_explains_nothing_and_who_says_the_sum_everything() -> None:
    material = Adding(9)
    x, sums = material.batch(20_000, drawn(0))
    said = torch.ones(len(x), 9, 1)
    assert float(material.loss(said, sums)) == pytest.approx(1 / 6, rel=0.03)
    assert material.score(said, sums) == pytest.approx(0, abs=0.03)
    said[:, -1, 0] = sums
    assert material.score(said, sums) == 1
    assert material.score(said * math.nan, sums) == 0


@given(st.integers(1, 4), st.integers(2, 9), st.integers(0, 9), seeds)
def test_symbols_are_asked_for_at_marks_in_their_order(symbols: int, alphabet: int, blanks: int, seed: int) -> None:
    material = Copying(2 * symbols + blanks, symbols, alphabet)
    x, truth = material.batch(4, drawn(seed))
    assert int(x.max()) == material.tokens - 1
    for shown, asked in zip(x.tolist(), truth.tolist(), strict=True):
        assert shown[symbols:] == [alphabet] * blanks + [alphabet + 1] * symbols
        assert asked == [IGNORED] * (symbols + blanks) + shown[:symbols]
        assert set(shown[:symbols]) <= set(range(alphabet))


def test_who_remembers_nothing_has_the_loss_of_guessing() -> None:
    """The best answer that rests on the input at hand alone is the frequency of what is right beside it."""
    material = Copying(9, symbols=3, alphabet=5)
    x, truth = material.batch(20_000, drawn(0))
    asked = truth != IGNORED
    counts = torch.zeros(material.tokens, 5).index_put_((x[asked], truth[asked]), torch.ones(()), accumulate=True)
    guess = (counts / counts.sum(1, keepdim=True)).log()[x]
    assert float(material.loss(guess, truth)) == pytest.approx(math.log(5), rel=1e-3)
    assert material.score(guess, truth) == pytest.approx(1 / 5, abs=0.01)
    right = one_hot(truth.clamp_min(0), 5).float()
    assert material.score(right, truth) == 1


@given(st.integers(1, 6), st.integers(0, 6), st.integers(2, 5), seeds)
def test_what_follows_a_key_is_asked_for_at_its_query(pairs: int, more: int, values: int, seed: int) -> None:
    material = Recall(pairs, pairs + more, values)
    x, truth = material.batch(4, drawn(seed))
    assert x.shape == truth.shape == (4, material.length)
    for shown, asked in zip(x.tolist(), truth.tolist(), strict=True):
        begin = 2 * pairs
        keys, queries = shown[:begin:2], shown[begin:]
        assert len(set(keys)) == pairs
        assert sorted(keys) == sorted(queries)
        assert asked[:begin] == [IGNORED] * begin
        for query, value in zip(queries, asked[begin:], strict=True):
            first = shown.index(query)
            assert first % 2 == 0
            assert shown[first + 1] == material.keys + value


@given(st.integers(1, 40), seeds)
def test_what_follows_a_byte_of_the_text_is_asked_for(length: int, seed: int) -> None:
    material = Text(length)
    train, test = parts_of_pydoc()
    x, following = material.batch(3, drawn(seed))
    assert x.shape == following.shape == (3, length)
    for shown, asked in zip(x.tolist(), following.tolist(), strict=True):
        assert bytes([*shown, asked[-1]]) in train
        assert shown[1:] == asked[:-1]
    (unseen, _) = material.unseen[1]
    assert bytes(unseen[0].tolist()) == test[:length]
    assert bytes(unseen[-1].tolist()) == test[-length - 1 : -1]
    assert unseen is material.unseen[1][0]


@cache
def parts_of_pydoc() -> tuple[bytes, bytes]:
    """What is learnt from, and what is tested on."""
    found = load("pydoc")
    train, test = (b"".join(bytes(text.tolist()) for text in part.examples) for part in (found.train, found.test))
    return train, test


def test_bits_of_a_byte_are_those_of_its_frequencies() -> None:
    """Who says nothing needs 8 bits; who knows how often bytes occur their entropy, counted by hand."""
    material = Text(32)
    x, following = material.unseen[1]
    said = torch.zeros(*x.shape, 256)
    assert float(material.loss(said, following)) / material.loss_unit == pytest.approx(8)
    assert material.merit(said, following) == pytest.approx(0, abs=1e-5)
    assert material.merit(said * math.nan, following) == 0
    counts = torch.bincount(following.flatten(), minlength=256).double()
    share = counts[counts > 0] / counts.sum()
    entropy = -float((share * share.log2()).sum())
    frequent = (counts + 1e-9).log().float().expand_as(said)
    assert float(material.loss(frequent, following)) / material.loss_unit == pytest.approx(entropy, rel=1e-4)
    assert material.merit(frequent, following) == pytest.approx(8 - entropy, rel=1e-3)
    assert material.score(frequent, following) == pytest.approx(float(share.max()))


@pytest.mark.parametrize("name", MIXERS)
def test_mixers_are_causal_and_see_all_that_came_before(name: Any) -> None:
    torch.manual_seed(0)
    net, x = MixerNet(MixerConfig(name, layers=1, width=4, states=3)).double(), torch.randn(1, 7, 4).double()
    jacobian = torch.autograd.functional.jacobian(lambda z: net(z).sum((0, 2)), x).abs().sum((1, 3))
    assert torch.equal(jacobian != 0, torch.ones(7, 7).tril().bool())
    assert leadline.causality(net.float(), x.float(), layout="b t k -> b t v").lag == 0


def test_a_state_space_is_the_recurrence_that_it_says() -> None:
    torch.manual_seed(0)
    layer, x = StateSpace(MixerConfig("state-space", width=3, states=4)).double(), torch.randn(2, 6, 3).double()
    decays, h, outputs = torch.exp(-layer.log_rates.exp()), torch.zeros(2, 3, 4).double(), []
    for t in range(6):
        h = decays * h + x[:, t, :, None]
        outputs.append((layer.c * h).sum(-1) + layer.d * x[:, t])
    by_steps = torch.nn.functional.gelu(torch.stack(outputs, 1))
    assert torch.allclose(layer(x), by_steps)
    steps = decays[:, 0].log().neg()
    assert bool(((steps > 0.001) & (steps < 0.1)).all())


@given(st.integers(1, 17), st.floats(-2, 2), seeds)
def test_a_gated_recurrence_is_what_its_steps_say(length: int, forget_bias: float, seed: int) -> None:
    torch.manual_seed(seed)
    layer = Gated(MixerConfig("gated", width=3, forget_bias=forget_bias)).double()
    x, h, outputs = torch.randn(2, length, 3).double(), torch.zeros(2, 3).double(), []
    for t in range(length):
        gate, new = layer.gates(x[:, t]).chunk(2, -1)
        keep = torch.sigmoid(gate)
        h = keep * h + (1 - keep) * new
        outputs.append(h)
    assert torch.allclose(layer(x), torch.stack(outputs, 1))


@pytest.mark.parametrize("build", [Gated, lstm])
def test_a_bias_of_the_gate_makes_a_mixer_keep_its_state(build: Any) -> None:
    """A bias of 50 lets nothing in; a difference of 1 in it is one of 1 in the gate."""
    x = torch.randn(1, 9, 3)
    assert float(build(MixerConfig(width=3, forget_bias=50.0))(x).detach().abs().max()) < (
        1e-6 if build is Gated else 1
    )
    torch.manual_seed(0)
    plain = dict(build(MixerConfig(width=3)).named_parameters())
    torch.manual_seed(0)
    moved = dict(build(MixerConfig(width=3, forget_bias=1.0)).named_parameters())
    changed = {
        name: (moved[name] - plain[name]).detach() for name in plain if not torch.equal(moved[name], plain[name])
    }
    ((name, difference),) = changed.items()
    assert "bias" in name
    assert float(difference.sum()) == pytest.approx(3)


def test_without_skip_connections_nothing_leads_past_a_block() -> None:
    for skip in (True, False):
        net, x = MixerNet(MixerConfig("attention", layers=3, width=4, skip=skip)), torch.randn(1, 5, 4)
        for block in net.blocks:
            for linear in (block.out, block.down):
                torch.nn.init.zeros_(linear.weight)
                torch.nn.init.zeros_(linear.bias)
        assert torch.equal(net(x), x if skip else torch.zeros_like(x))


def test_growth_through_layers_is_found_beside_that_through_steps() -> None:
    """The chain of the modules, first where nothing is stepped through, and beside the steps where something is."""
    for mixer, first in (("attention", "modules"), ("lstm", "steps")):
        torch.manual_seed(0)
        net, x = MixerNet(MixerConfig(mixer, layers=2, width=3)), torch.randn(1, 4, 3)  # type: ignore[arg-type]
        found = leadline.gradient(net, x)
        assert found.along == first
        assert found.modules is not None
        assert [stage.name for stage in found.modules.stages] == ["blocks.0", "blocks.1"]
    assert leadline.gradient(torch.nn.GRU(2, 3), torch.randn(5, 1, 2)).modules is None


def test_linear_attention_is_a_mean_by_its_features() -> None:
    torch.manual_seed(0)
    layer, x = Attention(MixerConfig("linear", width=3)).double(), torch.randn(1, 5, 3).double()
    q, k, v = (each[0] for each in layer.qkv(x).chunk(3, -1))
    for t in range(5):
        weights = torch.stack([(torch.nn.functional.elu(q[t]) + 1) @ (torch.nn.functional.elu(k[s]) + 1)
                               for s in range(t + 1)])  # fmt: skip
        assert torch.allclose(layer(x)[0, t], weights / weights.sum() @ v[: t + 1])


def test_layers_without_skip_connections_lose_what_they_scale() -> None:
    """Scaled by a half, ten layers scale by 2⁻¹⁰; beside a skip connection the input is left."""
    torch.manual_seed(0)
    x = torch.randn(8, 64)
    plain, skipped = (SkipNet(SkipConfig(10, 64, skip, 0.5)) for skip in (False, True))
    whole = SkipNet(SkipConfig(10, 64, skip=False, scale=1.0))
    whole.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.allclose(plain(x), whole(x) / 2**10)
        assert bool(skipped(x).norm() > x.norm())
    assert leadline.gradient(plain, x).rate.value == pytest.approx(leadline.gradient(whole, x).rate.value - math.log(2))


@pytest.mark.parametrize("name", TASKS)
def test_each_trial_runs_at_a_tiny_size(tmp_path: Path, name: str) -> None:
    found = trial(name, tmp_path, settings=TINY[name], seeds=1, workers=0)
    assert found.failed == 0, [row["error"] for row in (*found.judged.rows, *found.taught.rows)]
    assert len(found.points) == 2
    for point in found.points:
        assert set(point.by_seed) == {*(verdict.name for verdict in found.verdicts), "score", "loss"}
        assert math.isfinite(point.verdicts["rate × depth"].value)
        assert 0 <= point.score.value <= 1
        assert point.loss.value > 0
    held = {section.heading: section.blocks for section in describe_trial(found).sections}
    for heading in ("Models", "Number formats"):
        assert held[heading][0].rows  # type: ignore[union-attr]


def test_the_command_names_every_task_with_its_settings() -> None:
    assert command.epilog is not None
    lines = [line.strip() for line in command.epilog.splitlines()]
    for name, task in TASKS.items():
        (place,) = (place for place, line in enumerate(lines) if line.split()[:1] == [name])
        settings = (f"{key}={','.join(map(str, values))}" for key, values in task.settings.items())
        assert lines[place + 1] == " ".join(settings)


def test_workers_are_jobs_too() -> None:
    for each in (command, sweep_command):
        assert {"--workers", "--jobs"} <= {flag for parameter in each.params for flag in parameter.opts}


def test_a_cell_without_gates_has_one_bias_alone() -> None:
    only = TASKS["adding"].only
    assert only is not None
    kept = [
        (cell, bias)
        for cell in ("rnn", "gru", "lstm")
        for bias in (0.0, 3.0)
        if only({"cell": cell, "forget_bias": bias})
    ]
    assert kept == [("rnn", 0.0), ("gru", 0.0), ("gru", 3.0), ("lstm", 0.0), ("lstm", 3.0)]
    for name in ("mqar", "text"):
        only = TASKS[name].only
        assert only is not None
        found = {mixer for mixer in MIXERS if only({"mixer": mixer, "forget_bias": 1.0})}
        assert found == {"gated", "lstm"}
        assert all(only({"mixer": mixer}) for mixer in MIXERS)


def test_settings_that_no_model_has_are_refused() -> None:
    for build in (
        lambda: adding(cell="rnn", forget_bias=1.0),
        lambda: adding(cell="lstn"),
        lambda: recall(mixer="attentoin"),
        lambda: recall(mixer="linear", forget_bias=1.0),
        lambda: recall(mixer="lstm"),
        lambda: text(mixer="state-space", forget_bias=1.0),
        lambda: text(length=0),
        lambda: recall(pairs=9, keys=8),
        lambda: copying(length=5, symbols=3),
        lambda: adding(length=1),
    ):
        with pytest.raises(UsageError, match="="):
            build()
