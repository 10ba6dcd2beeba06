"""Settings of a plan: everything in it that needs no random draw, as frozen documents, stored as plain JSON.

A field at its default is not written. A field added later therefore does not change the digest of a plan that does not
use it. This module needs numpy alone, so a plan can be read in any environment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from flspec.protocol.batch_rule import BatchRule

__all__ = [
    "BestSettings",
    "ClipSettings",
    "ComponentDocument",
    "DataSettings",
    "EvaluationSettings",
    "FeatureSettings",
    "PartSettings",
    "PictureSettings",
    "PlanSettings",
    "PrivacySettings",
    "PrivateSteps",
    "StopSettings",
    "read_settings",
    "write_settings",
]

# Words that changed in specs but not in plans, so that digests stay the same: the spec's word, and the plan's.
_OLDER_WORDS = {"holdout": "held_out", "tensor": "variable"}
_TODAYS_WORDS = {older: word for word, older in _OLDER_WORDS.items()}

ComponentDocument = Mapping[str, Any]  # a component as JSON: its `kind` and its parameters


@dataclass(frozen=True)
class DataSettings:
    """The digest by which the examples are found in the store, and their shapes."""

    digest: str  # SHA-256 of all that is stored
    input_shape: tuple[int, ...]  # of one model input
    num_classes: int  # or the number of labels, of which an example may have several
    feature_type: str  # as stored: uint8 or float32
    divisor: float  # the model's input is features / divisor
    num_train: int
    num_test: int
    num_validation: int = 0
    multi_label: bool = False
    label_names: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)  # names of the columns of each split, sorted
    client_column: str | None = None
    mean: tuple[float, ...] = ()  # of each channel, subtracted after the division by `divisor`
    std: tuple[float, ...] = ()  # of each channel, by which the difference is divided
    transforms: Mapping[str, Any] = field(default_factory=dict)  # of each split, component documents in order
    num_changed: int = 0  # the last of `num_train` are examples as faults changed them, and no client's own
    encodings: tuple[Any, ...] = ()  # of each column of a table: its name, what was fitted, the names of its features


@dataclass(frozen=True)
class ClipSettings:
    """A bound on the Euclidean norm of each step's gradient."""

    norm: float
    by: str = field(metadata={"older_words": True})  # "global": of all tensors together; "tensor": of each by itself


@dataclass(frozen=True)
class BestSettings:
    """The metric that determines the best round, and the set of examples that it is measured on."""

    metric: str
    on: str = field(metadata={"older_words": True})


@dataclass(frozen=True)
class FeatureSettings:
    """What pictures are compared by: the outputs of layers, for bytes that are scaled and normalised first."""

    title: str  # with which a value is told
    layers: tuple[ComponentDocument, ...]
    input_shape: tuple[int, ...]  # of what the layers take
    tensors: tuple[str, ...] = ()  # the plan's arrays have their values
    size: int | None = None  # side to which pictures are scaled
    mean: tuple[float, ...] = ()  # of each channel, as in DataSettings
    std: tuple[float, ...] = ()
    standardise: bool = False  # less the real pictures' mean, divided by their deviation


@dataclass(frozen=True)
class PictureSettings:
    """How the pictures that a model makes are measured and shown."""

    generated: int  # number of pictures
    features: FeatureSettings
    rows: int = 0  # of the grid that is shown; 0: examples are no pictures
    columns: int = 0
    subset_count: int = 0  # 0: metrics are of all pictures
    subset_size: int = 0
    by_label: bool = False  # also compare with the real pictures of each label


@dataclass(frozen=True)
class EvaluationSettings:
    """The rounds after which the aggregated model is evaluated, and the metrics."""

    every: int
    metrics: tuple[str, ...]
    groups: tuple[Any, ...] = ()  # documents of `flspec.data.groups.ExampleGroup`
    best: BestSettings | None = None
    pictures: PictureSettings | None = None  # None: the model gives scores


@dataclass(frozen=True)
class PrivacySettings:
    """What each release is accounted for: a round's, or with the mechanism "example" a step's."""

    unit: str  # "client": one client's whole data; "example": one example of a client
    noise_multiplier: float  # of a release as a whole, in units of the clip
    delta: float
    sampling: str  # how clients come into a cohort: see `flspec.samplers.Sampling`; examples into a batch: "poisson"
    population: int  # number of clients; of examples, of the client that has fewest
    cohort: float  # expected number of clients a round; of examples a step, that is, the batch size
    adjacency: str  # "add_or_remove" one client or example, or "replace" one
    most: int | None = None  # the largest cohort, if it is bounded
    claimed_population: bool = False  # the run has fewer clients than it is accounted for
    simulated_cohort: bool = False  # the run's cohorts are smaller than those it is accounted for
    mechanism: str = "central"  # who draws noise: the server on a sum; "local", "example": clients, on what they say
    groups: int = 1  # of clients, that take turns: each is in at most one cohort in so many rounds
    correlation: str = ""  # how the noise of a round hangs together with that of others, in words; empty: it does not
    secret: bool = False  # the noise comes from a key of each run's own, and not from the plan

    @property
    def probability(self) -> float:
        """The probability that a client whose turn it is is in a cohort, once or more often."""
        if self.sampling == "with_replacement":
            return -math.expm1(self.cohort * math.log1p(-1.0 / self.population)) if self.population > 1 else 1.0
        return self.cohort * self.groups / self.population


@dataclass(frozen=True)
class PrivateSteps:
    """DP-SGD: each example's gradient is bounded, and the sum of a step's gradients gets Gaussian noise."""

    norm: float  # largest Euclidean norm of one example's gradient, all tensors together
    noise_multiplier: float  # deviation of the noise, in units of the norm
    batch_size: int  # expected examples a step of a client that has as many: the divisor


@dataclass(frozen=True)
class StopSettings:
    """What ends a run at the first evaluated round in which it holds; 0: this does not."""

    patience: int = 0  # evaluated rounds in a row that are no better than the best before, by `evaluation.best`
    bytes: int = 0  # sent to clients and by them


@dataclass(frozen=True)
class PartSettings:
    """The Python files of parts that a spec names: their texts are what every process imports."""

    files: tuple[str, ...]  # those named, by their path from the spec's folder
    sources: Mapping[str, Any] = field(default_factory=dict)  # the text of each, and of what they import from there


@dataclass(frozen=True)
class PlanSettings:
    """All settings of a plan. Tensor names are in the order in which engines hold the tensors."""

    data: DataSettings
    aggregator: ComponentDocument
    evaluation: EvaluationSettings
    weights: tuple[str, ...]  # tensors that the server has and sends
    layers: tuple[ComponentDocument, ...] = ()  # of the model's one network; none if it has several
    networks: Mapping[str, Any] = field(default_factory=dict)  # by name, if there are several: `inputs` and `layers`
    loss: Any = None  # its name, or a component document if it has parameters; None: phases have terms of their own
    client_optimizer: ComponentDocument = field(default_factory=dict)  # empty if there is one for each player
    constants: tuple[str, ...] = ()  # tensors that never change and are never sent
    local: tuple[str, ...] = ()  # tensors that stay with each client
    statistics: tuple[str, ...] = ()  # those of weights and local that training updates without gradients
    code: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of sources from other packages that act in a run
    clip: ClipSettings | None = None
    epochs: int = 0  # a client's in a round, if its schedule measures a metric after each or its algorithm counts them
    label_weights: tuple[float, ...] = ()
    client_algorithm: ComponentDocument | None = None  # None: plain steps of the client's optimizer
    objective: ComponentDocument | None = None  # None: the loss of the model's outputs
    phases: tuple[ComponentDocument, ...] = ()  # of a step that trains several networks: see `flspec.phases`
    optimizers: Mapping[str, Any] = field(default_factory=dict)  # by player; `networks` are those that each trains
    sample: ComponentDocument | None = None  # how a picture is made, where a model makes any
    image_seed: int = 0  # of what the pictures that are evaluated are made of
    postprocessors: tuple[ComponentDocument, ...] = ()  # of updates, in the order in which they are applied
    compression: ComponentDocument | None = None  # None: clients send their updates whole
    faults: tuple[ComponentDocument, ...] = ()  # what the numbers of faults in tasks and in `fault_log` mean
    min_clients: int = 1  # a round in which fewer updates count changes nothing
    secure_aggregation: ComponentDocument | None = None  # None: the mean is of the updates as they are
    privacy: PrivacySettings | None = None  # what the last of the postprocessors, or each step, is accounted for
    private_steps: PrivateSteps | None = None  # None: a step's gradient is that of its batch
    parts: PartSettings | None = None  # None: the spec names no files
    batch_rule: BatchRule | None = None  # None: the plan holds its batches; else they follow from its arrays by this
    stop: StopSettings | None = None  # None: a run takes all rounds, unless a wall clock ends it
    first_steps: int = 0  # the rest of each task was cut off (`flspec.compiler.first_steps`); 0: nothing was


S = TypeVar("S")


def write_settings(part: Any) -> dict[str, Any]:
    """Return a document as plain JSON values, without the fields at their default."""
    document: dict[str, Any] = {}
    for one in fields(part):
        value = getattr(part, one.name)
        if value != _default(one):
            written: Any = write_settings(value) if is_dataclass(value) else _as_json(value)
            document[one.name] = _OLDER_WORDS.get(written, written) if one.metadata.get("older_words") else written
    return document


def read_settings(cls: type[S], document: Mapping[str, Any]) -> S:
    """Read a document that `write_settings` wrote. Raises ValueError for an unknown or missing key, or a wrong type."""
    if not isinstance(document, Mapping):
        raise ValueError(f"{cls.__name__} is {document!r}, not a mapping; compile its spec again")
    hints = _hints(cls)  # type: ignore[arg-type]
    if missing := [f.name for f in fields(cls) if f.name not in document and _default(f) is MISSING]:  # type: ignore[arg-type]
        raise ValueError(f"{cls.__name__} lacks {', '.join(missing)}; compile its spec again")
    if unknown := [key for key in document if key not in hints]:
        raise ValueError(f"its settings have {', '.join(unknown)}, unknown to this version of flspec; upgrade flspec")
    older = {one.name for one in fields(cls) if one.metadata.get("older_words")}  # type: ignore[arg-type]
    read = {key: _read(f"{cls.__name__}.{key}", hints[key], value) for key, value in document.items()}
    return cls(**{key: _TODAYS_WORDS.get(value, value) if key in older else value for key, value in read.items()})


_JSON_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", tuple: "list"}


def _default(one: Any) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(place: str, hint: Any, value: Any) -> Any:
    """Return a value as the type that a field has. Raises ValueError if its JSON is of another."""
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if hint is Any or (value is None and NoneType in options):
        return value
    kind = options[0]
    if is_dataclass(kind):
        return read_settings(kind, value)  # type: ignore[arg-type]  # a dataclass is a type here
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_read(place, get_args(kind)[0], one) for one in value)
    plain = get_origin(kind) or kind
    if not isinstance(value, int | float if plain is float else plain) or (
        isinstance(value, bool) and plain is not bool
    ):
        raise ValueError(f"{place} has {value!r}, not a {_JSON_WORDS.get(plain, 'mapping')}; compile its spec again")
    return value


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(inner) for key, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value
