"""The spec: one experiment as its author writes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from flspec.aggregators import Aggregator
from flspec.aggregators.fedavg import FedAvg
from flspec.client_algorithms import ClientAlgorithm
from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import Document, OneOf
from flspec.data.groups import NamedGroup
from flspec.datasets import Dataset
from flspec.losses import LossOrName
from flspec.losses.cross_entropy import CrossEntropy
from flspec.metrics import find_metric
from flspec.metrics.names import MetricName
from flspec.models import Model
from flspec.objectives import Objective
from flspec.objectives.supervised import Supervised
from flspec.partitioners import Partitioner
from flspec.postprocessors import Postprocessor
from flspec.samplers import Sampler
from flspec.samplers.all import All
from flspec.spec.renamed import renamed_value

__all__ = ["BestRound", "ClientWork", "Clipping", "Contradiction", "Evaluation", "Spec", "contradictions"]


class Clipping(Document):
    """A bound on the gradient of each step: g * min(1, norm / ||g||), with the Euclidean norm."""

    norm: Annotated[float, Field(gt=0, le=1e12, description="the largest norm that is left as it is", examples=[10.0])]
    by: Annotated[Literal["global", "tensor"], Field(description="all tensors together, or each tensor by itself")] = (
        "global"
    )


class ClientWork(Document):
    """A client's work in a round: passes over its own examples, or a number of steps."""

    epochs: Annotated[
        int | None, Field(ge=1, le=100_000, description="passes over the client's examples; or give steps")
    ] = None
    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000_000,
            description="batches, going over the examples as often as it takes; or epochs",
        ),
    ] = None
    batch_size: Annotated[
        PositiveInt, Field(description="examples a batch; the last of each pass may hold fewer", examples=[16])
    ]
    batch_across_epochs: Annotated[
        bool,
        Field(
            description="batches continue from one pass into the next, so that only the very last may hold fewer, as "
            "with TensorFlow's repeat(epochs).batch(size)"
        ),
    ] = False
    shuffle: Annotated[bool, Field(description="a new order for each pass, or the order of the partition")] = True
    max_examples: Annotated[
        PositiveInt | None,
        Field(
            description="train on at most so many of the client's examples a round: drawn anew if shuffled, else the "
            "first; of each client's where they are pooled"
        ),
    ] = None
    loss: Annotated[
        LossOrName, Field(description="mean over the batch of what each example's outputs cost; a name, or a mapping")
    ] = CrossEntropy()
    label_weights: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1e6)], ...] | None,
        Field(
            description="cross_entropy: what examples of each class count; binary_cross_entropy: what having each "
            "label counts",
            examples=[[1.0, 3.0]],
        ),
    ] = None
    objective: Annotated[OneOf[Objective], Field(description="what a step minimises")] = Supervised()
    clip: Annotated[Clipping | None, Field(description="bound each step's gradient; absent: do not")] = None
    algorithm: Annotated[
        OneOf[ClientAlgorithm] | None,
        Field(description="how a client corrects its gradients, before they are clipped; absent: it does not"),
    ] = None
    optimizer: Annotated[
        OneOf[ClientOptimizer],
        Field(description="how the client descends", examples=[{"kind": "sgd", "learning_rate": 0.1}]),
    ]


class BestRound(Document):
    """The rule that chooses the best of the evaluated rounds, the first if several are equal."""

    metric: Annotated[MetricName, Field(description="one of evaluation.metrics", examples=["loss"])]
    on: Annotated[
        str | None,
        Field(description="a set of examples, as holdout or clients/mean; absent: validation if there is one, or test"),
    ] = None

    @field_validator("on")
    @classmethod
    def _has_its_name(cls, on: str | None) -> str | None:
        if name := renamed_value(on, "on", cls):
            raise ValueError(f"{on} is now called {name}; rename it")
        return on


class Evaluation(Document):
    """When the aggregated model is evaluated, and by which metrics."""

    every: Annotated[PositiveInt, Field(description="rounds between evaluations; the last round always is")] = 1
    metrics: Annotated[
        tuple[MetricName, ...],
        Field(min_length=1, description="measured on the test examples, and on those to validate and held out, if any"),
    ] = ("loss", "accuracy")
    groups: Annotated[
        tuple[NamedGroup, ...],
        Field(
            description="columns of the test examples, each of whose values is measured apart, as is how far they are "
            "from each other; numbers may be put in bins: {column: age, edges: [30, 50]}",
            examples=[["Male"]],
        ),
    ] = ()
    best: Annotated[
        BestRound | None,
        Field(description="keep the model of the round that is the best", examples=[{"metric": "loss"}]),
    ] = None

    @field_validator("metrics")
    @classmethod
    def _once_each(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(metrics)) < len(metrics):
            raise ValueError(f"a metric is named twice in [{', '.join(metrics)}]; remove one")
        return metrics


class Spec(Document):
    """A federated-learning experiment. Every value that can change a result is here or has its default here."""

    flspec: Annotated[int, Field(description="format of this document: 1", examples=[1])]
    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            description="names run folders and reports",
            examples=["quickstart"],
            # Editors and flspec show this text instead of the pattern.
            json_schema_extra={
                "patternErrorMessage": "up to 100 letters, digits, dots, hyphens, underscores, first a letter or digit"
            },
        ),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="all that is drawn follows from it")] = 0
    mode: Annotated[
        Literal["federated", "centralized", "local_only"],
        Field(
            description="clients learn together; or one client holds what all of them do; or each learns alone and "
            "sends nothing. The last two read neither cohort nor aggregator, client.algorithm nor postprocessors",
            json_schema_extra={
                "markdownEnumDescriptions": [
                    "clients learn together",
                    "one client holds what all of them do; what makes a round federated is not read",
                    "each client learns alone and sends nothing; what makes a round federated is not read",
                ]
            },
        ),
    ] = "federated"
    rounds: Annotated[int, Field(ge=1, le=1_000_000, description="rounds of training", examples=[10])]
    backend: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)?$",
            description="where to run it, unless --backend says otherwise",
            json_schema_extra={"patternErrorMessage": "a backend, as local, flower or flower:inprocess"},
        ),
    ] = "local"
    dataset: Annotated[OneOf[Dataset], Field(description="the examples", examples=[{"kind": "digits"}])]
    partition: Annotated[
        OneOf[Partitioner],
        Field(
            description="which client holds which examples",
            examples=[{"kind": "dirichlet", "clients": 10, "alpha": 0.5}],
        ),
    ]
    model: Annotated[OneOf[Model], Field(description="what is trained", examples=[{"kind": "mlp", "hidden": [64]}])]
    client: Annotated[
        ClientWork,
        Field(
            description="what a client does in a round",
            examples=[{"epochs": 1, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}],
        ),
    ]
    cohort: Annotated[OneOf[Sampler], Field(description="the clients of a round")] = All()
    aggregator: Annotated[OneOf[Aggregator], Field(description="what the server makes of their updates")] = FedAvg()
    postprocessors: Annotated[
        tuple[OneOf[Postprocessor], ...],
        Field(max_length=16, description="done to each client's update and to the combined one, one after another"),
    ] = ()
    evaluation: Annotated[Evaluation, Field(description="what is measured, and when")] = Evaluation()

    @field_validator("flspec")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(f"format {version} is unknown to this flspec, which reads format 1; upgrade flspec")
        return version


@dataclass(frozen=True)
class Contradiction:
    """A contradiction between two fields."""

    path: tuple[str, ...]  # where to point
    other: tuple[str, ...] | None  # the other field
    message: str  # names both


def contradictions(sections: Mapping[str, Any]) -> list[Contradiction]:
    """Return the contradictions among the fields of a spec, or of those of its sections that are valid on their own."""
    found: list[Contradiction] = []
    for rule in _RULES:
        needed = inspect.signature(rule).parameters
        if set(needed) <= set(sections):
            found += rule(**{name: sections[name] for name in needed})
    return found


def _epochs_or_steps(client: ClientWork) -> Iterator[Contradiction]:
    if client.epochs is None and client.steps is None:
        yield Contradiction(("client",), None, "needs epochs or steps; add one, e.g. epochs: 1")
    if client.epochs is not None and client.steps is not None:
        yield Contradiction(("client", "steps"), ("client", "epochs"), "client.epochs is given too; remove one")


def _measured_schedule(client: ClientWork, partition: Partitioner) -> Iterator[Contradiction]:
    schedule, where = client.optimizer.schedule, ("client", "optimizer", "schedule")
    if schedule is None or schedule.is_planned:
        return
    if client.epochs is None:
        yield Contradiction(where, ("client", "steps"), "measures after each pass; give client.epochs, not steps")
    if client.batch_across_epochs:
        yield Contradiction(
            where, ("client", "batch_across_epochs"), "measures after each pass; set client.batch_across_epochs: false"
        )
    if not partition.holdout:
        yield Contradiction(
            where, ("partition", "holdout"), "measures the clients' holdout, but there is none; set partition.holdout"
        )


def _weights_of_labels(client: ClientWork) -> Iterator[Contradiction]:
    if client.label_weights is not None and client.loss.weighs is None:
        message = f"{client.loss.kind} has no label weights; remove them"  # type: ignore[attr-defined]
        yield Contradiction(("client", "label_weights"), ("client", "loss"), message)


def _best_is_measured(evaluation: Evaluation) -> Iterator[Contradiction]:
    if (best := evaluation.best) is None:
        return
    at = ("evaluation", "best", "metric")
    if best.metric not in evaluation.metrics:
        yield Contradiction(
            at, ("evaluation", "metrics"), f"{best.metric} is not among evaluation.metrics; add it there"
        )
    if find_metric(best.metric).better == "neither" and not (best.on or "").endswith((" gap", "/gini")):
        yield Contradiction(
            at, None, f"{best.metric} is good neither high nor low; name another metric, or on: a gap between groups"
        )


def _cohort_of_clients(cohort: Sampler, partition: Partitioner, mode: str) -> Iterator[Contradiction]:
    if mode == "federated" and partition.num_clients and (problem := cohort.why_invalid(partition.num_clients)):
        yield Contradiction(("cohort",), ("partition", "clients"), problem)


# Each is called with the sections that its parameters name, if these are valid on their own.
_RULES: tuple[Callable[..., Iterable[Contradiction]], ...] = (
    _epochs_or_steps,
    _measured_schedule,
    _weights_of_labels,
    _best_is_measured,
    _cohort_of_clients,
)
