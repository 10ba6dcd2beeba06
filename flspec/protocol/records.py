"""Records of a run, as they are written down and told to who follows it: a round, and the result."""

from __future__ import annotations

from typing import Any, Literal

from flspec.core.components import Document
from flspec.metrics import Confusion

__all__ = [
    "BackendInfo",
    "BestRecord",
    "Failure",
    "FinalRecord",
    "LabelDistance",
    "LabelEntropy",
    "Result",
    "RoundRecord",
    "Seconds",
    "Skew",
    "WeightsFile",
]


class LabelEntropy(Document):
    """Of the clients' labels, in nats; from 0 to `greatest`, that of labels in equal parts."""

    min: float
    mean: float
    max: float
    greatest: float


class LabelDistance(Document):
    """Of the clients' label distributions from the pooled one; from 0 to 2."""

    mean: float
    max: float


class Skew(Document):
    """How far a partition is from clients that are all alike; the means count each client the same."""

    label_entropy: LabelEntropy
    emd: LabelDistance
    size_gini: float  # from 0, all hold as many, towards 1, one holds all


class Failure(Document):
    """A client whose update did not count."""

    client: int
    reason: str


class RoundRecord(Document):
    """One round. `train` is measured during local training, `evaluation` of the aggregated model after it."""

    round: int
    cohort: tuple[int, ...]
    num_examples: int  # that the cohort trains on, each counted once
    train: dict[str, float]
    evaluation: dict[str, dict[str, float]] | None
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012  # why a metric of a set of examples has no value
    epsilon: float | None = None
    bytes_down: int  # of weights sent to the cohort
    bytes_up: int  # of updates sent back
    seconds: dict[str, float]  # train, aggregate (where the backend tells it apart), evaluate
    failures: tuple[Failure, ...] = ()


class BackendInfo(Document):
    """Who ran it."""

    name: str  # as selected, e.g. "flower" or "flower:inprocess"
    versions: dict[str, str]


class Seconds(Document):
    """Of the wall clock: until the engine was up, and of everything."""

    startup: float | None
    total: float


class WeightsFile(Document):
    """Where a model is, relative to the run's folder."""

    path: str
    sha256: str


class FinalRecord(Document):
    """How good the last model is."""

    evaluation: dict[str, dict[str, float]]
    confusion: dict[str, Confusion] = {}  # noqa: RUF012  # by set of examples


class BestRecord(Document):
    """The evaluated round that is the best by `evaluation.best`, and how good its model is."""

    round: int
    metric: str
    on: str  # the set of examples
    value: float
    evaluation: dict[str, dict[str, float]]
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012
    confusion: dict[str, Confusion] = {}  # noqa: RUF012
    weights: WeightsFile | None  # None if its checkpoint cannot be read
    note: str | None = None  # what to bear in mind


class Result(Document):
    """What a run was and what came of it."""

    schema_version: Literal[1] = 1
    status: Literal["completed", "failed", "interrupted"]
    error: str | None = None
    name: str
    plan_digest: str
    spec: dict[str, Any]
    seed: int
    backend: BackendInfo
    environment: dict[str, Any]
    started: str  # ISO 8601, UTC
    seconds: Seconds
    memory: dict[str, int]  # peak_bytes: of this process and all that it started; in a sweep, of the cell's worker
    skew: Skew | None = None  # of what the clients train on; None where an example may have several labels
    rounds: tuple[RoundRecord, ...]
    final: FinalRecord | None
    best: BestRecord | None = None  # None where none is asked for, or no round has a value
    weights: WeightsFile | None
