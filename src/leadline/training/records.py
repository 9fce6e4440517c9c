"""What the files of a run folder hold, as types: JSON of another shape is refused by name and place.

Fields that are not named here are kept and not looked at. `SCHEMAS` are published in the docs, one for each version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Word = Annotated[int, Meta(ge=0, lt=2**32)]


class CodeRecord(Struct, frozen=True):
    """The user's function that a model is built by, see `training.code.Code`."""

    word: str
    digest: str
    calls: Literal["builder", "factory"]
    likelihood: str | None
    layout: str | None


class ModelRecord(Struct, frozen=True):
    """A model, as it is built again: its name and settings; and by which code, where it is not one of the zoo."""

    name: str
    settings: dict[str, Any]
    code: CodeRecord | None = None


class DataRecord(Struct, frozen=True):
    """A data set, as `Dataset.describe` returns it."""

    name: str
    options: dict[str, int | float | str | bool | None]
    kind: Literal["image", "audio", "text"]
    levels: Annotated[int, Meta(ge=2, le=65536)]
    shape: list[Positive] | None
    licence: str
    division: str
    binarisation: str | None
    rate: Annotated[int, Meta(ge=1, le=768_000)] | None
    examples: dict[str, Natural]
    digest: str
    read_as: str | None = None
    names: list[str] | None = None
    alphabet: str | None = None
    picture: list[Positive] | None = None
    classes: Positive | None = None
    piece: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse what no data set says of itself; samples are drawn, written and shown by it."""
        drawn = self.shape if self.picture is None else self.picture
        if (self.kind == "image") != (drawn is not None) or (drawn is not None and len(drawn) not in (2, 3)):
            raise ValueError(f"{self.kind} has no examples of shape {drawn}")
        if self.picture is not None and self.shape != [math.prod(self.picture)]:
            raise ValueError(f"{self.shape} are no rows of pictures of {self.picture}")
        if drawn is not None and drawn[2:] not in ([], [3]):
            raise ValueError(f"{drawn[2]} colours")
        if self.kind != "audio" and self.rate is not None:
            raise ValueError(f"{self.kind} has no samples a second")


class ScheduleRecord(Struct, frozen=True):
    """How many steps a run takes, and how far on its way it was when that was last planned."""

    steps: Positive
    validate_every: Positive
    since: Natural
    done: Annotated[float, Meta(ge=0, le=1)]


class PlanRecord(Struct, frozen=True):
    """The schedule that a run begins with, and the seconds that a validation takes."""

    schedule: ScheduleRecord
    validation: Amount


class EnvironmentRecord(Struct, frozen=True):
    """Where a run is computed."""

    leadline: str
    torch: str
    cpu: str
    threads: Annotated[int, Meta(ge=1, le=1024)]
    device: str
    processes: Positive = 1


class StayRecord(Struct, frozen=True):
    """From which step on a run was in an environment."""

    step: Natural
    environment: EnvironmentRecord


class ExtensionRecord(Struct, frozen=True):
    """At which step a run was told to take more steps, and how many in all."""

    step: Natural
    steps: Positive


class StartRecord(Struct, frozen=True):
    """The run whose best weights a run began with, and the digest of its checkpoint, SHA-256."""

    run: str
    digest: str


class RunRecord(Struct, frozen=True):
    """``run.json``: what was asked for."""

    format: Literal["leadline-run"]
    version: Literal[2]
    model: ModelRecord
    data: DataRecord
    train: dict[str, int | float | str | bool | None]
    lag: Literal[0, 1]
    plan: PlanRecord
    environments: Annotated[list[StayRecord], Meta(min_length=1)]
    extensions: list[ExtensionRecord] = []
    start: StartRecord | None = None


class ScoreRecord(Struct, frozen=True):
    """A score, as `Score.as_dict` returns it."""

    nats: float
    symbols: Positive
    examples: Positive
    squares: Amount
    part: str
    binarisation: str | None
    unscored: Natural
    given: str | None = None


class ResultRecord(Struct, frozen=True):
    """``result.json``: how a run ended."""

    steps: Natural
    planned: Natural
    seconds: Amount
    parameters: Natural
    best_step: Natural
    validation: ScoreRecord
    test: ScoreRecord


class NumpyWords(Struct, frozen=True):
    """The words of numpy's Mersenne twister, and the place among them."""

    key: Annotated[list[Word], Meta(min_length=624, max_length=624)]
    pos: Annotated[int, Meta(ge=0, le=624)]


class NumpyRandom(Struct, frozen=True):
    """The state of numpy's global generator."""

    bit_generator: Literal["MT19937"]
    state: NumpyWords
    has_gauss: Literal[0, 1]
    gauss: float


class RandomRecord(Struct, frozen=True):
    """The states of Python's and numpy's generators; torch's is a tensor."""

    python: tuple[Literal[3], Annotated[list[Word], Meta(min_length=625, max_length=625)], float | None]
    numpy: NumpyRandom


class StateRecord(Struct, frozen=True):
    """What a checkpoint holds besides tensors, in its header."""

    step: Natural
    best_step: Natural
    validated: Natural
    losses: float
    seconds: Amount
    run: str
    best_bits: float | None
    schedule: ScheduleRecord
    random: RandomRecord
    norms: Amount = 0.0
    clipped: Natural = 0


SCHEMAS: Mapping[str, type[Struct]] = MappingProxyType(
    {"run.v2": RunRecord, "result.v1": ResultRecord, "state.v2": StateRecord}
)
"""The records that are published, by name and version."""


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one of `SCHEMAS`.

    Examples
    --------
    >>> json_schema("result.v1")["$defs"]["ResultRecord"]["required"][:2]
    ['steps', 'planned']
    """
    return msgspec.json.schema(SCHEMAS[name])
