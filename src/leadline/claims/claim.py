"""What a claim is, what settling it yields, and the one rule that turns outcomes into a verdict.

A claim holds a statement and the mathematics that it speaks of (a weight, a mask, a set of taps). Settling it puts
statements to the test: what is claimed, and what should hold instead. Nobody writes a verdict; it follows from which of
them held and on what grounds, so that other mathematics gives another verdict.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import torch

from leadline.claims.counterexample import Counterexample
from leadline.document import Block
from leadline.errors import require_seed
from leadline.results import Bound, Estimate, Result, Status

M = TypeVar("M")


class Verdict(StrEnum):
    """How a claim ends."""

    PROVED = "proved"
    MEASURED = "measured"
    REFUTED = "refuted"
    CORRECTED = "corrected"


class Grounds(StrEnum):
    """Why an outcome is believed: the first two are proofs, of the statement as worded."""

    SYMBOLIC = "symbolic"
    EXHAUSTIVE = "exhaustive"
    SEARCHED = "searched"
    MEASURED = "measured"

    @property
    def proof(self) -> bool:
        """Whether no case was left out."""
        return self in (Grounds.SYMBOLIC, Grounds.EXHAUSTIVE)


@dataclass(frozen=True)
class Outcome:
    """A statement that was put to the test: whether it held, and on what grounds.

    The evidence is what was done: the argument, the sizes, the number of tries, the figures. The counterexample is a
    case in which the statement fails; where it holds there is none, or a `ValueError`.
    """

    statement: str
    holds: bool
    grounds: Grounds
    evidence: str
    counterexample: Counterexample | None = None

    def __post_init__(self) -> None:
        if self.holds and self.counterexample is not None:
            raise ValueError(f"{self.statement!r} cannot hold and have a counterexample")


@dataclass(frozen=True)
class Quantity:
    """A number by name, with the status that says how it is known."""

    name: str
    value: int | float | str | Bound | Estimate
    status: Status

    def __str__(self) -> str:
        if isinstance(self.value, Bound | Estimate):
            return str(self.value)
        return f"{self.value:.6g} ({self.status})" if isinstance(self.value, float) else f"{self.value} ({self.status})"


def exact(name: str, value: int | float | str) -> Quantity:
    """Name a number that is proved."""
    return Quantity(name, value, Status.PROVED)


def computed(name: str, value: float) -> Quantity:
    """Name a number from a calculation in floating point, right up to rounding."""
    return Quantity(name, value, Status.ESTIMATE)


def measured(name: str, value: Estimate | Bound) -> Quantity:
    """Name a number that carries its own status."""
    return Quantity(name, value, value.status)


@dataclass(frozen=True)
class Evidence:
    """What settling a claim found: outcomes of tests, figures, and what to draw.

    Tests of the statement itself (`claimed`) together are the claim; others are of what holds in its place or beyond it
    (`instead`), of whether modules that run do what the mathematics says of them (`compared`), and of what was said
    along the way and does not carry the claim, such as a premise (`aside`).
    """

    claimed: tuple[Outcome, ...]
    instead: tuple[Outcome, ...] = ()
    compared: tuple[Outcome, ...] = ()
    aside: tuple[Outcome, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    picture: Block | None = None

    @property
    def outcomes(self) -> tuple[tuple[str, Outcome], ...]:
        """All outcomes, each with its role: ``"claimed"``, ``"instead"``, ``"compared"`` or ``"aside"``."""
        roles = {"claimed": self.claimed, "instead": self.instead, "compared": self.compared, "aside": self.aside}
        return tuple((role, outcome) for role, outcomes in roles.items() for outcome in outcomes)

    @property
    def verdict(self) -> Verdict:
        """Apply the rule.

        Modules that run differ from the mathematics: refuted, whatever was proved. All that is claimed holds: proved if
        every ground is a proof, else measured. Something fails: corrected if there is a right statement and it passes
        its tests, else refuted.
        """
        if not all(outcome.holds for outcome in self.compared):
            return Verdict.REFUTED
        if all(outcome.holds for outcome in self.claimed):
            proofs = all(outcome.grounds.proof for outcome in self.claimed)
            return Verdict.PROVED if proofs else Verdict.MEASURED
        stands = bool(self.instead) and all(outcome.holds for outcome in self.instead)
        return Verdict.CORRECTED if stands else Verdict.REFUTED


@dataclass(frozen=True)
class Effort:
    """How hard to try: full sizes or those of the default run, and the seed of every random choice."""

    full: bool = False
    seed: int = 0

    def pick(self, default: int, full: int) -> int:
        """Choose a size."""
        return full if self.full else default

    def generator(self) -> torch.Generator:
        """Return a fresh generator with the seed."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Finding(Result):
    """A settled claim: its words, all evidence, the mathematics and the effort behind it, and the wall time."""

    id: str
    title: str
    statement: str
    paper: str | None
    evidence: Evidence
    mathematics: object
    effort: Effort
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """What the evidence amounts to."""
        return self.evidence.verdict

    @property
    def counterexample(self) -> Counterexample | None:
        """The first case against what is claimed, else against what should hold instead, or of modules that differ."""
        outcomes = self.evidence.claimed + self.evidence.instead + self.evidence.compared
        return next((o.counterexample for o in outcomes if o.counterexample is not None), None)


@dataclass(frozen=True)
class Claim(Generic[M]):
    """A statement of the theory as a program.

    The `statement` is about the default `mathematics`; pass another to `run` to see whether it survives. `settle` puts
    it to the test. `paper` is what the founding paper answered, None where it left a blank or agrees.
    """

    id: str
    title: str
    statement: str
    paper: str | None
    mathematics: M
    settle: Callable[[M, Effort], Evidence]

    def run(self, mathematics: M | None = None, *, full: bool = False, seed: int = 0) -> Finding:
        """Settle the claim, about its own mathematics or another's.

        Examples
        --------
        >>> from leadline.claims.statements.sigmoid_chain import CLAIM, SigmoidChain
        >>> CLAIM.run().verdict
        <Verdict.PROVED: 'proved'>
        >>> CLAIM.run(SigmoidChain(weight=5.0)).verdict
        <Verdict.CORRECTED: 'corrected'>
        """
        chosen = self.mathematics if mathematics is None else mathematics
        require_seed(seed)
        effort = Effort(full, seed)
        start = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            evidence = self.settle(chosen, effort)
        seconds = time.perf_counter() - start
        return Finding(self.id, self.title, self.statement, self.paper, evidence, chosen, effort, seconds)
