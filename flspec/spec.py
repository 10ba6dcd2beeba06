"""The spec: one experiment as its author writes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from flspec.aggregators import Aggregator
from flspec.aggregators.fedavg import FedAvg
from flspec.client_optimizers import ClientOptimizer
from flspec.components import Document, OneOf
from flspec.datasets import Dataset
from flspec.models import Model
from flspec.partitioners import Partitioner
from flspec.samplers import Sampler
from flspec.samplers.all import All

__all__ = ["ClientWork", "Evaluation", "Spec"]


class ClientWork(Document):
    """What a client is asked to do in a round: passes over its own examples, or a number of steps."""

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
    batch_size: Annotated[PositiveInt, Field(description="examples a batch; the last of each pass may hold fewer")]
    shuffle: Annotated[bool, Field(description="a new order for each pass, or the order of the partition")] = True
    loss: Annotated[
        Literal["cross_entropy"], Field(description="mean over the batch, of the softmax of the logits")
    ] = "cross_entropy"
    optimizer: Annotated[OneOf[ClientOptimizer], Field(description="how the client descends")]


class Evaluation(Document):
    """When the aggregated model is evaluated, and by what."""

    every: Annotated[PositiveInt, Field(description="rounds between evaluations; the last round always is")] = 1
    metrics: Annotated[
        tuple[Literal["loss", "accuracy"], ...],
        Field(min_length=1, description="measured on the dataset's test examples"),
    ] = ("loss", "accuracy")

    @field_validator("metrics")
    @classmethod
    def _once_each(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(metrics)) < len(metrics):
            raise ValueError(f"a metric is named twice in [{', '.join(metrics)}]; remove one")
        return metrics


class Spec(Document):
    """A federated-learning experiment. Every value that can change a result is here or has its default here."""

    flspec: Annotated[int, Field(description="format of this document: 1")]
    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="names run folders and reports"),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="all that is drawn follows from it")] = 0
    rounds: Annotated[int, Field(ge=1, le=1_000_000, description="rounds of training")]
    backend: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)?$",
            description="where to run it, unless told otherwise",
        ),
    ] = "local"
    dataset: OneOf[Dataset]
    partition: OneOf[Partitioner]
    model: OneOf[Model]
    client: ClientWork
    cohort: OneOf[Sampler] = All()
    aggregator: OneOf[Aggregator] = FedAvg()
    evaluation: Evaluation = Evaluation()

    @field_validator("flspec")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(f"format {version} is not known to this flspec, which reads format 1; upgrade flspec")
        return version

    def contradictions(self) -> list[tuple[tuple[str, ...], str]]:
        """What is wrong between fields: where to point, and a message that names both."""
        found: list[tuple[tuple[str, ...], str]] = []
        if self.client.epochs is None and self.client.steps is None:
            found.append((("client",), "needs epochs or steps; add one, e.g. epochs: 1"))
        if self.client.epochs is not None and self.client.steps is not None:
            found.append((("client", "steps"), "client.epochs is given too; remove one"))
        if problem := self.cohort.problem(self.partition.clients):
            found.append((("cohort",), problem))
        return found
