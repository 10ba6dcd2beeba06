"""Data sets in the files of LEAF's scripts: `*.json` in `train/` and in `test/`, of users with their own examples."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.locations import Location
from flspec.data.leaf_files import UserExamples, read_users, write_users
from flspec.data.tables import Rows, check_text
from flspec.datasets.base import Twinned
from flspec.errors import InputError, shorten

__all__ = ["LeafLayout", "joined", "leaf_labels", "write_split"]

_PARTS = {"train": ("train", "data/train"), "test": ("test", "data/test")}


class LeafLayout(Twinned):
    """Users with their own examples. The column `client` has the users."""

    copies_while_read: ClassVar[float] = 9.0  # the text of a file, and the lists of a user
    folder: Annotated[
        Location | None,
        Field(
            description="where train/ and test/ are, or data/ with both, below the data root, beside the spec, or "
            "absolute; if absent, in the folder with the kind's name or in the root; ${env:NAME} is replaced when they "
            "are read"
        ),
    ] = None

    @abstractmethod
    def to_features(self, rows: list[Any]) -> NDArray[Any]:
        """Convert what a user's x lists to features [num_rows, ...]. Raises ValueError with the example's number."""

    @abstractmethod
    def rows_of(self, path: Path, user_data: Mapping[str, UserExamples]) -> Rows:
        """Return the rows of one file."""

    def read_rows(self, path: Path) -> Rows:
        """Read one file."""
        return self.rows_of(path, read_users(path, self.to_features))

    def read_parts(self, root: Path) -> dict[str, list[Rows]]:
        """Read the files of both splits. Raises InputError if there are none, or if two have the same user."""
        return {name: self._part(root, name) for name in _PARTS}

    def _part(self, root: Path, name: str) -> list[Rows]:
        places = [place / part for place in self.places(root, self.folder) for part in _PARTS[name]]
        files = next((found for place in places if (found := sorted(place.glob("*.json")))), [])
        if not files:
            raise InputError(
                f"dataset: no .json is in {' or '.join(map(str, places))}; name the folder of train/ and test/ with "
                "dataset.folder, --data-root or FLSPEC_DATA"
            )
        users: dict[str, Path] = {}
        parts = []
        for path in files:
            user_data = read_users(path, self.to_features)
            for user in user_data:
                if user in users:
                    raise InputError(
                        f"{path}: user {shorten(repr(user), 60)} is in {users[user].name} as well; each may be in one"
                    )
                users[user] = path
            parts.append(self.rows_of(path, user_data))
        return parts


def joined(user_data: Mapping[str, UserExamples]) -> tuple[NDArray[Any], list[Any], dict[str, NDArray[Any]]]:
    """Return the features and the labels of all users, and the column of the users."""
    features = np.concatenate([examples.features for examples in user_data.values()])
    labels = [label for examples in user_data.values() for label in examples.labels]
    clients = np.repeat(list(user_data), [len(examples.labels) for examples in user_data.values()])
    return features, labels, {"client": clients}


def write_split(
    folder: Path, names: Sequence[str], holders: NDArray[np.int64], x: Sequence[Any], y: Sequence[Any]
) -> None:
    """Write users' examples, a fifth of each, but one at least, for evaluation."""
    document: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for client, name in enumerate(names):
        own = np.flatnonzero(holders == client).tolist()
        num_test = max(1, len(own) // 5)
        for part, chosen in (("train", own[num_test:]), ("test", own[:num_test])):
            document[part][name] = {"x": [x[row] for row in chosen], "y": [y[row] for row in chosen]}
    for part, user_data in document.items():
        write_users(folder / part / f"all_data_{part}.json", user_data)


def leaf_labels(labels: Sequence[Any], path: Path) -> NDArray[Any]:
    """Return the labels of a file's examples as they are written: whole numbers, or text."""
    if all(type(label) is int for label in labels):
        try:
            return np.array(labels, np.int64)
        except OverflowError:
            raise InputError(f"{path}: a label is larger than a 64-bit integer; number the classes from 0") from None
    if all(type(label) in (int, float) for label in labels):
        return np.array(labels, np.float64)
    if all(isinstance(label, str) for label in labels):
        for label in set(labels):
            check_text(label, f"{path}: a label")
        return np.array(labels, np.str_)
    wrong = next(label for label in labels if type(label) is not int)
    raise InputError(f"{path}: label {shorten(json.dumps(wrong), 60)} is not an integer; use integers from 0, or text")
