"""All claims, one after another, and counterexamples as files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from leadline.claims.claim import Claim, Finding
from leadline.claims.parameters import varied
from leadline.claims.statements.dilated_stack import CLAIM as B1
from leadline.claims.statements.discussion import CLAIM as B8
from leadline.claims.statements.grid_count import CLAIM as B4
from leadline.claims.statements.grid_gradients.critical_line import CLAIM as C2
from leadline.claims.statements.grid_gradients.gaussian import CLAIM as C3
from leadline.claims.statements.grid_gradients.paths import CLAIM as C1
from leadline.claims.statements.grid_steps import CLAIM as B5
from leadline.claims.statements.known_numbers import CLAIM as A8
from leadline.claims.statements.live_state import CLAIM as B7
from leadline.claims.statements.masked_count import CLAIM as B2
from leadline.claims.statements.masked_steps import CLAIM as B3
from leadline.claims.statements.matrix_rnn import CLAIM as A3
from leadline.claims.statements.normalisation import CLAIM as A6
from leadline.claims.statements.placement import CLAIM as A7
from leadline.claims.statements.residual import CLAIM as A4
from leadline.claims.statements.residual_depth import CLAIM as A5
from leadline.claims.statements.sight import CLAIM as B6
from leadline.claims.statements.sigmoid_chain import CLAIM as A1
from leadline.claims.statements.tanh_chain import CLAIM as A2
from leadline.errors import UsageError, near_misses
from leadline.files.writing import make_directory

CLAIMS: Mapping[str, Claim[Any]] = MappingProxyType(
    {claim.id: claim for claim in (A1, A2, A3, A4, A5, A6, A7, A8, B1, B2, B3, B4, B5, B6, B7, B8, C1, C2, C3)}
)
"""Every claim by its id, A1 … C3."""


def run_claims(
    ids: Iterable[str] | None = None,
    *,
    full: bool = False,
    seed: int = 0,
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    started: Callable[[Claim[Any]], None] = lambda _: None,
) -> tuple[Finding, ...]:
    """Settle claims, in the order of the theory.

    Parameters
    ----------
    ids
        Which; default: all.
    full
        Full sizes (many minutes) instead of those of the default run.
    seed
        Of every random choice.
    settings
        Other values of parameters, by claim: ``{"A1": {"n": 20, "w": 5}}``; see `leadline.claims.parameters`.
    started
        Called with each claim before it is settled.

    Raises
    ------
    UsageError
        If a claim of that id does not exist, or a parameter does not, or its value is beyond its range.

    Examples
    --------
    >>> [finding.verdict.value for finding in run_claims(["A1"])]
    ['proved']
    """
    wanted = set(CLAIMS) if ids is None else {word.upper() for word in ids}
    for word in sorted(wanted - set(CLAIMS)):
        raise UsageError(f"there is no claim {word!r}; {near_misses(word, CLAIMS)}")
    asked = [(claim, varied(claim, settings.get(claim.id, {}))) for claim in CLAIMS.values() if claim.id in wanted]
    findings = []
    for claim, mathematics in asked:
        started(claim)
        findings.append(claim.run(mathematics, full=full, seed=seed))
    return tuple(findings)


def save_counterexamples(findings: Sequence[Finding], folder: Path) -> tuple[Path, ...]:
    """Write every counterexample into `folder` as ``A4-1.json`` …, each loadable by `Counterexample.load`.

    Raises `StorageError` if the disk refuses.
    """
    make_directory(folder)
    paths = []
    for finding in findings:
        cases = [o.counterexample for _, o in finding.evidence.outcomes if o.counterexample is not None]
        for number, case in enumerate(cases, start=1):
            paths.append(folder / f"{finding.id}-{number}.json")
            case.save(paths[-1])
    return tuple(paths)
