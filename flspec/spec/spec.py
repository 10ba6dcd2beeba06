"""The spec: one experiment as its author writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, PrivateAttr, field_validator

from flspec.aggregators import Aggregator
from flspec.aggregators.fedavg import FedAvg
from flspec.client_algorithms import ClientAlgorithm
from flspec.client_optimizers import ClientOptimizer
from flspec.compressors import Compressor
from flspec.core.components import Document, OneOf
from flspec.core.part_files import PartFiles
from flspec.datasets import Dataset
from flspec.faults import Fault
from flspec.losses import LossOrName
from flspec.losses.cross_entropy import CrossEntropy
from flspec.models import Model
from flspec.objectives import Objective
from flspec.objectives.supervised import Supervised
from flspec.partitioners import Partitioner
from flspec.postprocessors import Postprocessor
from flspec.privacy import Privacy
from flspec.samplers import Sampler
from flspec.samplers.all import All
from flspec.secure_aggregation import SecureAggregation
from flspec.spec.evaluation import BestRound, Evaluation
from flspec.spec.stopping import Stop
from flspec.trackers.names import TrackerName

if TYPE_CHECKING:
    from flspec.spec.study import Study

__all__ = ["BestRound", "ClientWork", "Clipping", "Evaluation", "Spec"]


# Defaults come from `model_construct`, for to validate what is known to be valid would build a validator for each.


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
    ] = CrossEntropy.model_construct()
    label_weights: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1e6)], ...] | None,
        Field(
            max_length=100_000,
            description="weights: with cross_entropy one for each class's examples, with binary_cross_entropy one for "
            "the presence of each label",
            examples=[[1.0, 3.0]],
        ),
    ] = None
    objective: Annotated[OneOf[Objective], Field(description="loss of a step that a client minimises")] = (
        Supervised.model_construct()
    )
    clip: Annotated[Clipping | None, Field(description="bound of each step's gradient; absent: no bound")] = None
    algorithm: Annotated[
        OneOf[ClientAlgorithm] | None,
        Field(description="correction of a client's gradients before they are clipped; absent: none"),
    ] = None
    optimizer: Annotated[
        OneOf[ClientOptimizer],
        Field(description="optimizer of a client's steps", examples=[{"kind": "sgd", "learning_rate": 0.1}]),
    ]
    optimizers: Annotated[
        Mapping[str, OneOf[ClientOptimizer]],
        Field(
            max_length=100,
            description="with an objective of several networks: optimizers of those that do not have "
            "client.optimizer, by the network's name",
        ),
    ] = {}


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
            "sends nothing. The last two ignore cohort, aggregator, client.algorithm, postprocessors and compression",
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
    track: Annotated[
        tuple[TrackerName, ...],
        Field(
            max_length=16,
            description="trackers that follow each run, beside those of --tracker; they change no result",
            examples=[["tensorboard"]],
        ),
    ] = ()
    client_rows: Annotated[
        bool | None,
        Field(
            description="clients.csv beside the result, with what each client measured in each round; absent: unless "
            "privacy is set, as no epsilon covers it"
        ),
    ] = None
    parts: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...],
        Field(
            max_length=100,
            description="Python files in the spec's folder or below, whose classes and metrics this spec can name; "
            "flspec new --part KIND writes one",
            examples=[["my_parts.py"]],
        ),
    ] = ()
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
    cohort: Annotated[OneOf[Sampler], Field(description="the clients of a round")] = All.model_construct()
    aggregator: Annotated[OneOf[Aggregator], Field(description="combination of their updates on the server")] = (
        FedAvg.model_construct()
    )
    privacy: Annotated[
        OneOf[Privacy] | None, Field(description="differential privacy, and what it is accounted for; absent: none")
    ] = None
    postprocessors: Annotated[
        tuple[OneOf[Postprocessor], ...],
        Field(max_length=16, description="operations on each client's update and on the combined update, in order"),
    ] = ()
    compression: Annotated[
        OneOf[Compressor] | None, Field(description="what a client sends in place of its update; absent: all of it")
    ] = None
    secure_aggregation: Annotated[
        OneOf[SecureAggregation] | None,
        Field(
            description="simulated arithmetic of a sum of which the server sees no single update; nothing is secret in "
            "it; absent: a mean in floating point",
            examples=[{"kind": "simulated_numerics"}],
        ),
    ] = None
    faults: Annotated[
        tuple[OneOf[Fault], ...],
        Field(
            max_length=16,
            description="what goes wrong with some clients: attacks, wrong labels, dropouts, lateness",
            examples=[[{"kind": "dropout", "rate": 0.1}]],
        ),
    ] = ()
    min_clients: Annotated[
        PositiveInt, Field(description="a round in which fewer updates count leaves the server's state as it was")
    ] = 1
    evaluation: Annotated[Evaluation, Field(description="metrics, and when they are measured")] = (
        Evaluation.model_construct()
    )
    stop: Annotated[
        Stop | None,
        Field(description="what ends a run before its last round; absent: nothing", examples=[{"bytes": 100_000_000}]),
    ] = None
    _folders: tuple[Path, ...] = PrivateAttr(())
    _part_files: PartFiles | None = PrivateAttr(None)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folder of its file, and of those that it extends, in which its files may lie; empty for a text."""
        return self._folders

    @property
    def part_files(self) -> PartFiles | None:
        """The files of `parts`, as they were when the spec was read."""
        return self._part_files

    def read_in(self, folders: tuple[Path, ...], part_files: PartFiles | None = None) -> Self:
        """Return this spec as read from files in `folders`. Where it lay is no part of what it says."""
        spec = self.model_copy()
        spec._folders, spec._part_files = folders, part_files
        return spec

    def with_(self, **settings: Any) -> Spec:
        """Return this spec with settings laid over it, by path: `spec.with_(**{"client.epochs": 3, "seed": 1})`.

        As with `--set`: mappings merge key by key, lists and scalars replace, and a section whose `kind` changes starts
        afresh. Values are what a file could say, or components. Raises SpecError with every problem found.
        """
        from flspec.spec.from_python import definitions_of, draft_of_spec, settings_of
        from flspec.spec.given_parts import with_given_parts
        from flspec.spec.loading import validate_draft
        from flspec.spec.overlays import apply_overrides

        given = settings_of(settings)
        draft = apply_overrides(draft_of_spec(self, self.folders, texts=self._given_texts), given)
        objects = (definitions_of(value, tuple(name.split(".")), f"with_({name})") for name, value in settings.items())
        return validate_draft(with_given_parts(draft, (one for found in objects for one in found)))

    def with_matrix(
        self,
        axes: Mapping[str, Sequence[Any]] | None = None,
        seeds: Sequence[int] = (),
        exclude: Sequence[Mapping[str, Any]] = (),
        include: Sequence[Mapping[str, Any]] = (),
    ) -> Study:
        """Return every combination of values by path, each with every seed, as a spec's section `matrix` does:
        `spec.with_matrix({"client.epochs": [1, 3]}, seeds=[0, 1, 2])`. Raises SpecError with every problem found.
        """
        from flspec.spec.from_python import draft_of_spec
        from flspec.spec.study import study_of_draft

        asked = {"axes": axes or {}, "seeds": seeds, "exclude": exclude, "include": include}
        written = {name: value for name, value in asked.items() if len(value)}
        return study_of_draft(draft_of_spec(self, self.folders, {"matrix": written}, self._given_texts))

    @property
    def _given_texts(self) -> Mapping[str, str]:
        """The texts of parts that were given as Python's objects."""
        return self._part_files.given if self._part_files else {}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # mappings among its values have no hash

    @field_validator("flspec")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(f"format {version} is unknown to this flspec, which reads format 1; upgrade flspec")
        return version
