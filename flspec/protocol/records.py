"""Records of a run, for its files and for trackers: rounds and the result."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from flspec.core.components import Document
from flspec.metrics import Confusion
from flspec.protocol.events import Deviation, ImageFile, NativeRound, Software, Workers

__all__ = [
    "BackendInfo",
    "BestRecord",
    "ClientRows",
    "Failure",
    "FeatureSpaceRecord",
    "FinalRecord",
    "LabelDistance",
    "LabelEntropy",
    "NativeRecord",
    "Overhead",
    "PrivacyRecord",
    "Promise",
    "Result",
    "RoundRecord",
    "Seconds",
    "Skew",
    "Stopped",
    "WeightsFile",
]


class LabelEntropy(Document):
    """Entropy of each client's labels, in nats, over all clients: from 0 to `greatest`, that of equal parts."""

    min: float
    mean: float
    max: float
    greatest: float


class LabelDistance(Document):
    """Distance of the clients' label distributions from the pooled one: from 0 to 2."""

    mean: float
    max: float


class FeatureSpaceRecord(Document):
    """What pictures were compared by. Values by two feature spaces cannot be compared."""

    title: str
    sha256: str  # of its layers and their tensors


class Skew(Document):
    """Distance of a partition from one whose clients are all alike. In the means each client counts the same."""

    label_entropy: LabelEntropy
    emd: LabelDistance
    size_gini: float  # from 0, where all clients have equally many examples, towards 1, where one has all


class Failure(Document):
    """A client whose update did not count."""

    client: int
    reason: str


class RoundRecord(Document):
    """One round. `train` is measured during local training, `evaluation` on the aggregated model after it."""

    round: int
    cohort: tuple[int, ...]
    num_examples: int  # different examples that the cohort trains on
    train: dict[str, float]
    evaluation: dict[str, dict[str, float]] | None
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012  # by set of examples, then by metric: why it has no value
    epsilon: float | None = None
    images: dict[str, ImageFile] = {}  # noqa: RUF012  # by what they show: generated, real
    bytes_down: int  # of weights sent to the cohort
    bytes_up: int  # of updates sent back
    seconds: dict[str, float]  # train, aggregate (if the backend measures it separately), evaluate
    failures: tuple[Failure, ...] = ()
    faults: dict[str, int] = {}  # noqa: RUF012  # by what planned faults do: the tasks of this round that they hit
    sums: dict[str, int] = {}  # noqa: RUF012  # with simulated secure aggregation: values that were clipped and wrapped
    native: NativeRound | None = None  # None: the server's step is flspec's definition


class NativeRecord(Document):
    """How far the engine's own algorithm was from flspec's definition, over a run."""

    algorithm: str  # whose, and its name there
    lockstep: Deviation  # of the round in which it was furthest, relatively, both from the same state and updates
    round: int
    free_running: Deviation  # after the last round, each having gone its own way

    @property
    def in_words(self) -> str:
        """Say it in one sentence."""
        return (
            f"{self.algorithm} in place of flspec's definition, from which it differs by intent: in a round from the "
            f"same state by up to {self.lockstep.largest:.2g}, {self.lockstep.relative:.2g} of what the definition "
            f"moves (round {self.round}); running freely by {self.free_running.largest:.2g} in the end, "
            f"{self.free_running.relative:.2g} of that"
        )


class BackendInfo(Document):
    """The backend that executed the run."""

    name: str  # as selected, e.g. "flower" or "flower:inprocess"
    versions: dict[str, str]
    workers: Workers | None = None  # that trained the last round; None if the backend does not tell


class Seconds(Document):
    """Wall clock time: until the engine had started, and in total."""

    startup: float | None
    total: float


class Overhead(Document):
    """Seconds by the clock that an engine took beside its clients' training. None is not 0: it is not known."""

    startup: float | None  # until it was ready for the first round
    first_round: float | None  # by which the first round took longer than the later ones in the median
    round: float | None  # the later rounds' in the median, without their clients' training, which workers share
    client: float | None  # the same, divided by the number of the cohort's tasks
    unknown: str | None = None  # why the last two are not known


class WeightsFile(Document):
    """A file of weights, relative to the run's folder."""

    path: str
    sha256: str


class ClientRows(Document):
    """The table of what each client did in each round."""

    path: str | None = None  # relative to the run's folder; None: there is none
    missing: tuple[str, ...] = ()  # columns that the engine knows of no client
    note: str | None = None  # why there is none, or a caution for readers


class Stopped(Document):
    """Why a run ended before its last planned round."""

    round: int  # after which
    planned: int  # rounds
    by: Literal["patience", "bytes", "seconds"]  # the key of `stop`
    why: str
    reproducible: bool  # whether every run of the plan ends there

    @property
    def in_words(self) -> str:
        """Say it in one sentence."""
        return f"stopped after round {self.round} of {self.planned}: {self.why}"


class FinalRecord(Document):
    """Evaluation of the last model."""

    evaluation: dict[str, dict[str, float]]
    confusion: dict[str, Confusion] = {}  # noqa: RUF012  # by set of examples


class BestRecord(Document):
    """The best evaluated round by `evaluation.best`, and the evaluation of its model."""

    round: int
    metric: str
    on: str  # the set of examples
    value: float
    evaluation: dict[str, dict[str, float]]
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012
    confusion: dict[str, Confusion] = {}  # noqa: RUF012
    weights: WeightsFile | None  # None if its checkpoint cannot be read
    note: str | None = None  # a caution for readers


class SpreadOverClients(Document):
    """Epsilon over the clients that took part."""

    least: float
    median: float
    most: float


class Promise(Document):
    """What a run's releases cost, and whom it is promised to: enough to hold it against another's."""

    epsilon: Annotated[float | None, Field(ge=0, allow_inf_nan=False)]  # None: no noise, no promise
    delta: Annotated[float, Field(gt=0, lt=1)]
    accountant: str  # by which epsilon was found: PLD or RDP
    epsilon_rdp: Annotated[float | None, Field(ge=0, allow_inf_nan=False)]  # by Renyi differential privacy
    unit: str
    adjacency: str


class PrivacyRecord(Promise):
    """A run's promise, and all that the number rests on."""

    rounds: int  # that were released
    sampling: str
    noise_multiplier: float
    population: int
    cohort: float
    claimed_population: bool
    simulated_cohort: bool
    curve: tuple[tuple[int, float], ...] = ()  # epsilon after some rounds
    not_covered: tuple[str, ...]
    software: str
    statement: str
    mechanism: str = "central"  # who draws noise: the server, or each client on its update (local), or step (example)
    releases: int | None = None  # of the one that they cost most: rounds or steps; None: as many as rounds
    clients: SpreadOverClients | None = None  # epsilon of each client, where each pays for itself
    secret_noise: bool = False  # the noise follows from a key of the run's own, and not from the spec's seed


class Result(Document):
    """Description and outcome of a run."""

    schema_version: Literal[1] = 1
    status: Literal["completed", "failed", "interrupted"]
    error: str | None = None
    name: str
    plan_digest: str
    spec: dict[str, Any]
    seed: int
    backend: BackendInfo
    environment: dict[str, Any]
    software: Software | None = None  # that carried the run out, or its end
    earlier: tuple[Software, ...] = ()  # other software that carried out its beginning (`--anyway`)
    started: str  # ISO 8601, UTC
    extends: str | None = None  # digest of the shorter plan from whose finished run it went on
    seconds: Seconds
    overhead: Overhead | None = None  # None in results of earlier versions
    memory: dict[str, int]  # peak_bytes: of this process and its descendants; in a sweep, of the cell's worker
    skew: Skew | None = None  # of the clients' training examples; None if an example may have several labels
    rounds: tuple[RoundRecord, ...]
    clients: ClientRows | None = None  # None in results of earlier versions, and of a certificate's runs
    stopped: Stopped | None = None  # None: it ended in another way, as `status` says
    final: FinalRecord | None
    best: BestRecord | None = None  # None if the spec asks for none, or no round has a value
    weights: WeightsFile | None
    privacy: PrivacyRecord | None = None  # None if the spec asks for none
    features: FeatureSpaceRecord | None = None  # None if the model makes no pictures
    native: NativeRecord | None = None  # None: the server's steps were flspec's definition
    first_steps: int | None = None  # of each task, the rest of which was not run; None: whole tasks
