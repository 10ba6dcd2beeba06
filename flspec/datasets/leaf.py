"""Federated data in LEAF's JSON format, of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.core.randomness import Stream
from flspec.data.examples import Data
from flspec.data.leaf_files import UserExamples
from flspec.data.readings import FileFacts, array_facts
from flspec.data.synthetic.twins import TwinSize, class_points, held_labels
from flspec.data.tables import Rows, as_float32, combine
from flspec.datasets.leaf_layout import LeafLayout, joined, leaf_labels, write_split
from flspec.datasets.table import NamedClasses
from flspec.errors import InputError

_TWIN_CLASSES, _TWIN_FEATURES = 5, 10


class Leaf(LeafLayout, NamedClasses):
    """Clients with their own examples, in the files of LEAF's scripts: `*.json` in `train/` and in `test/`.

    Caldas et al. LEAF: A Benchmark for Federated Settings. 2018. https://arxiv.org/abs/1812.01097. Each file is
    `{"users": [...], "num_samples": [...], "user_data": {USER: {"x": [...], "y": [...]}}}`; x is a list of numbers an
    example, y a whole number or a name. The column `client` has the users.
    """

    kind: Literal["leaf"] = "leaf"
    shape: Annotated[
        tuple[PositiveInt, ...] | None,
        Field(min_length=1, max_length=8, description="shape to give the numbers of an example, e.g. [1, 28, 28]"),
    ] = None

    def read(self, root: Path, stream: Stream) -> Data:
        return combine(self.read_parts(root), client_column="client", classes=self.known_classes)

    def file_facts(self, path: Path) -> FileFacts:
        rows = self.read_rows(path)
        shape = " × ".join(map(str, rows.features.shape[1:]))
        columns = (
            array_facts("x", "feature", rows.features).model_copy(update={"holds": f"{shape} numbers"}),
            array_facts("y", "label", np.asarray(rows.labels)),
            array_facts("client", "client", rows.columns["client"], "the users"),
        )
        return self.facts_of(path, len(rows), columns, rows.labels)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write users with very different numbers and labels of examples. A fifth of each is for evaluation."""
        holders, labels = held_labels(size.clients, size.examples, _TWIN_CLASSES, stream)
        points = class_points(labels, _TWIN_CLASSES, _TWIN_FEATURES, stream)
        names = [f"user_{client:05d}" for client in range(size.clients)]
        write_split(folder, names, holders, points.tolist(), labels.tolist())

    def to_features(self, rows: list[Any]) -> NDArray[np.float32]:
        for number, row in enumerate(rows, start=1):
            if isinstance(row, str) or (isinstance(row, list) and any(isinstance(value, str) for value in row)):
                raise ValueError(
                    f"example {number} is text; only lists of numbers are read; LEAF's texts are the kinds shakespeare "
                    "and sent140"
                )
        try:
            values = np.array(rows, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            raise ValueError("its examples are not lists of equally many numbers") from None
        if rows and (values.ndim != 2 or not values.size):
            raise ValueError(f"its examples have shape {list(values.shape[1:])}; each should be a list of numbers")
        return as_float32(values, (), "x")

    def rows_of(self, path: Path, user_data: Mapping[str, UserExamples]) -> Rows:
        sizes = {examples.features.shape[1] for examples in user_data.values()}
        if len(sizes) > 1:
            raise InputError(f"{path}: examples have from {min(sizes)} to {max(sizes)} numbers; all need as many")
        features, labels, columns = joined(user_data)
        if self.shape is not None:
            if int(np.prod(self.shape)) != features.shape[1]:
                raise InputError(
                    f"dataset.shape: {list(self.shape)} is {int(np.prod(self.shape)):,} numbers, but an example of "
                    f"{path} has {features.shape[1]:,}"
                )
            features = features.reshape(len(features), *self.shape)
        return Rows(str(path), features, leaf_labels(labels, path), columns)
