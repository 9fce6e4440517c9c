"""The rule of verdicts, and what a claim's outcome is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from leadline.claims import Claim, Counterexample, Evidence, Grounds, Outcome, Verdict
from leadline.claims.claim import Effort
from leadline.errors import DataError

outcomes = st.builds(lambda holds, grounds: Outcome("s", holds, grounds, "e"), st.booleans(), st.sampled_from(Grounds))


@given(
    st.lists(outcomes, min_size=1, max_size=4),
    st.lists(outcomes, max_size=3),
    st.lists(outcomes, max_size=2),
    st.lists(outcomes, max_size=2),
)
def test_the_verdict_follows_from_the_outcomes(
    claimed: list[Outcome], instead: list[Outcome], compared: list[Outcome], aside: list[Outcome]
) -> None:
    verdict = Evidence(tuple(claimed), tuple(instead), tuple(compared), tuple(aside)).verdict
    failures, differ = [o for o in claimed if not o.holds], any(not o.holds for o in compared)
    assert (verdict in (Verdict.PROVED, Verdict.MEASURED)) == (not failures and not differ)
    if verdict is Verdict.PROVED:
        assert {o.grounds for o in claimed} <= {Grounds.SYMBOLIC, Grounds.EXHAUSTIVE}
    if verdict is Verdict.CORRECTED:
        assert instead
        assert all(o.holds for o in instead)
    if verdict is Verdict.REFUTED:
        assert differ or not instead or any(not o.holds for o in instead)


def test_what_holds_has_no_counterexample() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        Outcome("s", True, Grounds.SEARCHED, "e", Counterexample("s", {}))


numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9))
matrices = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e300, 1e300))


@given(values=st.dictionaries(st.text(max_size=5), numbers, max_size=3), array=matrices)
def test_a_counterexample_survives_the_disk_to_the_last_bit(
    values: dict[str, int | float | str], array: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("case") / "case.json"
    Counterexample("x < 1", values, {"w": array, "n": np.arange(3)}).save(path)
    loaded = Counterexample.load(path)
    assert (loaded.against, loaded.values) == ("x < 1", values)
    assert loaded.arrays["w"].tobytes() == array.tobytes()
    assert loaded.arrays["n"].dtype == np.int64


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"against": "s", "values": {}, "arrays": {"a": 1}}'])
def test_a_file_that_holds_no_counterexample_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_text(text)
    with pytest.raises(DataError, match="holds no counterexample"):
        Counterexample.load(path)


def test_running_a_claim_is_reproducible_and_leaves_the_random_state() -> None:
    def settle(scale: float, effort: Effort) -> Evidence:
        value = scale * torch.randn(()).item() + torch.randn((), generator=effort.generator()).item()
        return Evidence((Outcome(f"{value}", True, Grounds.MEASURED, ""),))

    claim = Claim("X1", "random", "", None, 1.0, settle)
    before = torch.get_rng_state()
    first, again, other, scaled = claim.run(), claim.run(), claim.run(seed=1), claim.run(2.0)
    assert torch.equal(before, torch.get_rng_state())
    assert first.evidence == again.evidence
    assert first.evidence not in (other.evidence, scaled.evidence)
