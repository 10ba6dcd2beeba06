"""The examples of an experiment.

Features are stored as published (uint8 pixels stay uint8), with the divisor that turns them into a model's float32
input, so every engine divides in the same way. Other facts about each example, such as who took a picture, are in
columns. Partitions, groups and checks use these columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import broken_promise
from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.errors import InputError, RunError, choose, shorten

if TYPE_CHECKING:
    from flspec.protocol.plan import ClientTask
    from flspec.protocol.settings import DataSettings
    from flspec.transforms import Transform

__all__ = [
    "MISSING_INTEGER",
    "NORMALISATIONS",
    "Data",
    "Examples",
    "Split",
    "as_numbers",
    "digest_of",
    "is_missing",
    "step_stream",
]

MISSING_INTEGER = 2**63 - 1  # of an int64 column: numpy has no missing integer, and so it is the last one in order
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and deviation of each channel
    "none": ((), ()),
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in file order."""

    features: NDArray[np.uint8] | NDArray[np.float32]  # [num_examples, *stored shape], as published
    # int64 [num_examples], from 0; or uint8 [num_examples, num_classes], 1 where an example has that label
    labels: NDArray[np.int64] | NDArray[np.uint8]
    divisor: float = 1.0  # a model's input is features / divisor, in float32,
    mean: tuple[float, ...] = ()  # minus this, one value for each channel,
    std: tuple[float, ...] = ()  # divided by this, one value for each channel
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # [num_examples] each: text, int64 or float64
    transforms: tuple[Transform, ...] = ()  # of the stored images, before the division

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one model input. Raises ValueError if a transform does not fit the examples."""
        shape: tuple[int, ...] = self.features.shape[1:]
        for transform in self.transforms:
            shape = transform.output_shape(shape)
        return shape

    def part(self, rows: Indices | slice) -> Split:
        """Return some of the examples, with the same transforms and scaling but without columns."""
        return replace(self, features=self.features[rows], labels=self.labels[rows], columns={})

    def inputs(self, indices: Indices | slice, stream: Stream | None = None) -> NDArray[np.float32]:
        """Return model inputs of these examples, float32 [num, *input_shape]. Random transforms draw from `stream`."""
        return self.scaled(self.transformed(indices, stream))

    def transformed(self, indices: Indices | slice, stream: Stream | None = None) -> NDArray[Any]:
        """Return these examples after the transforms, in the type in which they are stored."""
        images: NDArray[Any] = np.asarray(self.features)[indices]  # faster than a mapped array's own
        for number, transform in enumerate(self.transforms):
            given = transform.apply(images, (stream or Stream(0)).child("transform", number))
            images = _as_promised(transform, images, given)
        return images

    def scaled(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Scale features to a model's input: divide by the divisor, then normalise with mean and std."""
        values: NDArray[np.float32] = features.astype(np.float32)
        values /= np.float32(self.divisor)
        if not self.mean:
            return values
        shape = (-1, *(1,) * (values.ndim - 2))
        mean, std = (np.array(constants, np.float32).reshape(shape) for constants in (self.mean, self.std))
        values -= mean
        values /= std
        return values

    @property
    def look(self) -> tuple[Any, ...]:
        """Input shape, type and divisor, which must be equal in all splits so that one model fits them."""
        return self.input_shape, self.features.dtype.name, self.divisor


def _as_promised(transform: Transform, before: NDArray[Any], given: Any) -> NDArray[Any]:
    """Return what a transform gave. Raises RunError if it is of another shape than it promises."""
    promised = (len(before), *transform.output_shape(before.shape[1:]))
    if isinstance(given, np.ndarray) and given.shape == promised and given.dtype == before.dtype:
        return given
    got = f"{given.dtype} of shape {list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__
    raise RunError(broken_promise(transform, "apply", f"gave {got}, not {before.dtype} of {list(promised)}"))


@dataclass(frozen=True, eq=False)
class Examples:
    """Labels and columns of the training examples, without their features. Partitioners split by them."""

    labels: NDArray[np.int64] | NDArray[np.uint8]  # as in Split
    num_classes: int
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    client_column: str | None = None  # the column that names the natural client of each example
    test_columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # columns of the test examples
    root: Path = Path("data")  # folder of the files that a partition names

    def __len__(self) -> int:
        return len(self.labels)

    def column(self, name: str, field: str) -> NDArray[Any]:
        """Return a column by name. Raises InputError, which names `field`, if there is none."""
        if not self.columns:
            raise InputError(
                f"{field}: {shorten(name)} is no column of this dataset, which has none; of a table, "
                "dataset.columns keeps some"
            )
        if name not in self.columns:
            raise InputError(
                f"{field}: {choose(name, sorted(self.columns))}; these are the dataset's columns, and of a "
                "table, dataset.columns keeps more"
            )
        return self.columns[name]

    def classes(self, field: str, column: str | None = None) -> tuple[NDArray[np.int64], int]:
        """Return the class of each example, int64 [num_examples], and the number of classes.

        A class is the label, or the value in `column` if one is named; missing values are the last class. Raises
        InputError, which names `field`, if an example may have several labels and no column is named.
        """
        if column is not None:
            values, codes = np.unique(self.column(column, field), return_inverse=True)
            if len(values) > 1 and is_missing(values[:1])[0]:  # an empty text is the first in order
                codes = (codes - 1) % len(values)
            return codes.astype(np.int64), len(values)
        if self.labels.ndim == 2:
            raise InputError(
                f"{field}: an example of this dataset may have several of {self.num_classes} labels, and one is needed "
                "to split by; name a column instead"
            )
        return self.labels.astype(np.int64, copy=False), self.num_classes


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: the training examples, and those that the aggregated model is evaluated on."""

    train: Split
    test: Split
    num_classes: int  # or the number of labels, of which an example may have several
    validation: Split | None = None
    label_names: tuple[str, ...] = ()
    client_column: str | None = None  # the column that names the natural client of each example
    known_digest: str | None = None  # digest of data that were hashed when they were stored
    encodings: tuple[Any, ...] = ()  # as in `DataSettings`: how features were made of a table's columns
    feature_names: tuple[str, ...] = ()  # of a table; empty where they have none, or are not known
    tokens: Tokens | None = None  # of texts: what their features are
    num_changed: int = 0  # of the training examples: the last of them are copies, as faults changed them

    def __post_init__(self) -> None:
        for name, split in self.splits.items():
            if problem := self._problem(split):
                raise InputError(f"dataset: the {name} examples {problem}")

    @property
    def splits(self) -> dict[str, Split]:
        """Every split by name."""
        return {"train": self.train, "test": self.test} | ({"validation": self.validation} if self.validation else {})

    @property
    def train_as_tested(self) -> Split:
        """The training examples with the transforms of the test set, so without random ones, for evaluation."""
        return replace(self.train, transforms=self.test.transforms)

    @property
    def is_multi_label(self) -> bool:
        """Whether an example may have several labels."""
        return self.train.labels.ndim == 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.train.input_shape

    @property
    def examples(self) -> Examples:
        """Labels and columns for a partitioner."""
        return Examples(self.train.labels, self.num_classes, self.train.columns, self.client_column, self.test.columns)

    def _problem(self, split: Split) -> str | None:
        """Return why a split cannot be used, or None. All splits must give a model the same kind of input."""
        if not len(split.labels) or len(split.labels) != len(split.features):
            return f"are {len(split.features)} with {len(split.labels)} labels; both must be the same number, not 0"
        if self.is_multi_label:
            if split.labels.shape != (len(split.features), self.num_classes) or split.labels.dtype != np.uint8:
                return (
                    f"have labels of shape {split.labels.shape} {split.labels.dtype}, not {self.num_classes} uint8 each"
                )
        elif split.labels.min() < 0 or split.labels.max() >= self.num_classes:
            return f"have labels from {split.labels.min()} to {split.labels.max()}, outside 0..{self.num_classes - 1}"
        if split.features.dtype not in (np.uint8, np.float32) or split.labels.dtype not in (np.int64, np.uint8):
            return f"are {split.features.dtype} with {split.labels.dtype} labels; uint8 or float32 with int64 is due"
        if wrong := [name for name, column in split.columns.items() if len(column) != len(split)]:
            return f"are {len(split)}, but column {wrong[0]} has {len(split.columns[wrong[0]])}"
        try:
            ours, theirs = self.train.look, split.look
        except ValueError as error:
            return f"do not suit the transforms: {error}"
        return None if ours == theirs else f"are {theirs} (shape, type, divisor), the train examples {ours}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the stored arrays. Equal digests mean equal examples in equal order."""
        return self.known_digest or digest_of(self.num_classes, self.train.divisor, self.arrays())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays to store, by the name of their file."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, split in self.splits.items():
            arrays |= {f"{name}_features": split.features, f"{name}_labels": split.labels}
            for number, column in enumerate(sorted(split.columns)):
                arrays[f"{name}_column_{number}"] = split.columns[column]
        return arrays

    def describe(self) -> DataSettings:
        """Return a plan's settings about its data: their shapes, and what is needed to find and check them."""
        from flspec.protocol.settings import DataSettings

        return DataSettings(
            digest=self.digest,
            input_shape=self.input_shape,
            num_classes=self.num_classes,
            feature_type=self.train.features.dtype.name,
            divisor=self.train.divisor,
            num_train=len(self.train),
            num_test=len(self.test),
            num_validation=len(self.validation) if self.validation else 0,
            multi_label=self.is_multi_label,
            label_names=self.label_names,
            columns={name: sorted(split.columns) for name, split in self.splits.items() if split.columns},
            client_column=self.client_column,
            mean=self.train.mean,
            std=self.train.std,
            transforms={
                name: [transform.model_dump(mode="json") for transform in split.transforms]
                for name, split in self.splits.items()
                if split.transforms
            },
            num_changed=self.num_changed,
            encodings=self.encodings,
        )


def is_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a column's value is missing, bool [num_examples]: empty text, NaN or `MISSING_INTEGER`."""
    match values.dtype.kind:
        case "f":
            return np.asarray(np.isnan(values))
        case "U":
            return np.asarray(values == "")
    return np.asarray(values == MISSING_INTEGER)


def as_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where it is missing. Raises ValueError if a text is no number."""
    missing = is_missing(values)
    if values.dtype.kind == "U" and not all(text.isascii() and "_" not in text for text in np.unique(values).tolist()):
        raise ValueError("a text is no number")
    return np.where(missing, "nan" if values.dtype.kind == "U" else np.nan, values).astype(np.float64)


def step_stream(task: ClientTask, number: int) -> Stream:
    """Return the stream of the random transforms in step `number` of a task, from 0."""
    return Stream(task.seed, "step", number)


def digest_of(num_classes: int, divisor: float, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of stored arrays and their names."""
    sha = hashlib.sha256(f"{num_classes} {divisor!r}\n".encode())
    for name, array in arrays.items():
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for part in _parts(array):
            sha.update(np.ascontiguousarray(part).data)
    return sha.hexdigest()


def _parts(array: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """Cut an array into parts of some megabytes, because a mapped array may be larger than memory."""
    if array.nbytes < 2**26 or array.ndim == 0:
        return [array]
    rows = max(1, len(array) * 2**26 // array.nbytes)
    return [array[start : start + rows] for start in range(0, len(array), rows)]
