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
from flspec.privacy import Privacy
from flspec.samplers import Sampler
from flspec.samplers.all import All
from flspec.spec.renamed import renamed_value

__all__ = ["BestRound", "ClientWork", "Clipping", "Contradiction", "Evaluation", "Spec", "contradictions"]


class Clipping(Document):
    """A bound on the gradient of each step: g * min(1, norm / ||g||), with the Euclidean norm."""

    norm: Annotated[float, Field(gt=0, le=1e12, description="largest norm that stays unchanged", examples=[10.0])]
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
            description="number of batches, with as many passes as they need; or give epochs",
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
            "first; with mode centralized, the limit holds for each client's examples"
        ),
    ] = None
    loss: Annotated[
        LossOrName, Field(description="mean over the batch of each example's loss; a name, or a mapping")
    ] = CrossEntropy()
    label_weights: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1e6)], ...] | None,
        Field(
            max_length=100_000,
            description="weights: with cross_entropy one for each class's examples, with binary_cross_entropy one for "
            "the presence of each label",
            examples=[[1.0, 3.0]],
        ),
    ] = None
    objective: Annotated[OneOf[Objective], Field(description="loss of a step that a client minimises")] = Supervised()
    clip: Annotated[Clipping | None, Field(description="bound of each step's gradient; absent: no bound")] = None
    algorithm: Annotated[
        OneOf[ClientAlgorithm] | None,
        Field(description="correction of a client's gradients before they are clipped; absent: none"),
    ] = None
    optimizer: Annotated[
        OneOf[ClientOptimizer],
        Field(description="optimizer of a client's steps", examples=[{"kind": "sgd", "learning_rate": 0.1}]),
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

    every: Annotated[
        PositiveInt, Field(description="rounds between evaluations; the last round is always evaluated")
    ] = 1
    metrics: Annotated[
        tuple[MetricName, ...],
        Field(
            min_length=1,
            max_length=100,
            description="metrics on the test examples, and on validation examples and holdouts, if any",
        ),
    ] = ("loss", "accuracy")
    groups: Annotated[
        tuple[NamedGroup, ...],
        Field(
            max_length=100,
            description="columns of the test examples: each value is measured separately, and the gap between the "
            "values; numbers can be binned: {column: age, edges: [30, 50]}",
            examples=[["Male"]],
        ),
    ] = ()
    best: Annotated[
        BestRound | None,
        Field(description="save the model of the best round", examples=[{"metric": "loss"}]),
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
            description="name in run folders and reports",
            examples=["quickstart"],
            # Editors and flspec show this text instead of the pattern.
            json_schema_extra={
                "patternErrorMessage": "up to 100 letters, digits, dots, hyphens, underscores, first a letter or digit"
            },
        ),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of all random draws")] = 0
    mode: Annotated[
        Literal["federated", "centralized", "local_only"],
        Field(
            description="clients train together; or one client has all examples; or each trains alone and "
            "sends nothing. The last two ignore cohort, aggregator, client.algorithm and postprocessors",
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
            description="backend to run on, unless --backend names another",
            json_schema_extra={"patternErrorMessage": "a backend, as local, flower or flower:inprocess"},
        ),
    ] = "local"
    dataset: Annotated[OneOf[Dataset], Field(description="the examples", examples=[{"kind": "digits"}])]
    partition: Annotated[
        OneOf[Partitioner],
        Field(
            description="split of the training examples over clients",
            examples=[{"kind": "dirichlet", "clients": 10, "alpha": 0.5}],
        ),
    ]
    model: Annotated[OneOf[Model], Field(description="model to train", examples=[{"kind": "mlp", "hidden": [64]}])]
    client: Annotated[
        ClientWork,
        Field(
            description="a client's work in a round",
            examples=[{"epochs": 1, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}],
        ),
    ]
    cohort: Annotated[OneOf[Sampler], Field(description="the clients of a round")] = All()
    aggregator: Annotated[OneOf[Aggregator], Field(description="combination of their updates on the server")] = FedAvg()
    privacy: Annotated[
        OneOf[Privacy] | None, Field(description="differential privacy, and what it is accounted for; absent: none")
    ] = None
    postprocessors: Annotated[
        tuple[OneOf[Postprocessor], ...],
        Field(max_length=16, description="operations on each client's update and on the combined update, in order"),
    ] = ()
    evaluation: Annotated[Evaluation, Field(description="metrics, and when they are measured")] = Evaluation()

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


def _bounded_influence(privacy: Privacy | None, aggregator: Aggregator, client: ClientWork) -> Iterator[Contradiction]:
    """What would let a client change a private mean by more than its clipped update, or tell of it before the noise."""
    if privacy is None or privacy.in_training:
        return
    if not aggregator.is_plain_mean:
        message = (
            "is not the plain mean of updates, so that what one client changes has no bound; privacy needs a mean, "
            "such as fedavg or fedadam"
        )
        yield Contradiction(("aggregator",), ("privacy",), message)
    elif aggregator.weighting != "uniform":
        message = (
            "weighs by examples, so one client could be most of the mean; privacy needs aggregator.weighting: uniform"
        )
        yield Contradiction(("aggregator",), ("privacy",), message)
    if client.algorithm is not None and not _works_with_clients_alone(client.algorithm):
        message = (
            "sends records, or has the server work on the mean before noise is on it, which privacy does not cover; "
            "remove client.algorithm or privacy"
        )
        yield Contradiction(("client", "algorithm"), ("privacy",), message)


def _works_with_clients_alone(algorithm: ClientAlgorithm) -> bool:
    """Whether the server sees of it what plain training would have sent, and does with that what it otherwise does."""
    has_own_combine = type(algorithm).combine is not ClientAlgorithm.combine
    return not (algorithm.sends or algorithm.server_slots or has_own_combine)


def _private_together(privacy: Privacy | None, mode: str) -> Iterator[Contradiction]:
    if privacy is not None and not privacy.in_training and mode != "federated":
        message = f"{mode} has no cohorts to hide a client in and would run without privacy; remove mode or privacy"
        yield Contradiction(("mode",), ("privacy",), message)


def _private_alone(privacy: Privacy | None, postprocessors: tuple[Postprocessor, ...]) -> Iterator[Contradiction]:
    if privacy is not None and not privacy.in_training and postprocessors:
        message = (
            "work on updates beside privacy, which bounds and noises them by itself; remove postprocessors or privacy"
        )
        yield Contradiction(("postprocessors",), ("privacy",), message)


def _steps_of_single_examples(privacy: Privacy | None, client: ClientWork) -> Iterator[Contradiction]:
    """What would let an example change a private step by more than its clipped gradient, or the accounting be wrong."""
    if privacy is None or not privacy.in_training:
        return
    wrong = {
        "clip": client.clip is not None and "bounds a whole batch, privacy each example; remove client.clip",
        "batch_across_epochs": client.batch_across_epochs
        and "deals examples out; with privacy of examples each is in a batch by a coin of its own; remove it",
        "shuffle": not client.shuffle
        and "keeps an order; with privacy of examples each is in a batch by a coin of its own; remove it",
        "max_examples": client.max_examples is not None
        and "chooses examples in a way that privacy does not account for; remove it",
        "objective": not isinstance(client.objective, Supervised)
        and "may mix the examples of a batch, so no gradient is of one alone; privacy of examples needs supervised",
    }
    for field, message in wrong.items():
        if message:
            yield Contradiction(("client", field), ("privacy",), message)
    if (schedule := client.optimizer.schedule) and not schedule.is_planned:
        message = "follows what is measured on a client's examples without noise; with privacy use a schedule by rounds"
        yield Contradiction(("client", "optimizer", "schedule"), ("privacy",), message)


# Each is called with the sections that its parameters name, if these are valid on their own.
_RULES: tuple[Callable[..., Iterable[Contradiction]], ...] = (
    _epochs_or_steps,
    _measured_schedule,
    _weights_of_labels,
    _best_is_measured,
    _cohort_of_clients,
    _bounded_influence,
    _private_alone,
    _steps_of_single_examples,
    _private_together,
)
