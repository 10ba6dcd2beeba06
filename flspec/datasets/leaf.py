"""Federated data in LEAF's JSON format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.core.locations import Location
from flspec.core.randomness import Stream
from flspec.core.reading import JSON_VALUE, read_json
from flspec.data.examples import Data
from flspec.data.readings import FileFacts, array_facts
from flspec.data.synthetic.twins import TwinSize, class_points, held_labels
from flspec.data.tables import Rows, as_float32, check_text, combine
from flspec.datasets.base import Twinned
from flspec.datasets.table import NamedClasses
from flspec.errors import InputError, shorten

_MOST_MEMORY = 2**33  # bytes, of the lists in one file, if none became an array before the file ends
_TWIN_CLASSES, _TWIN_FEATURES = 5, 10
_PARTS = {"train": ("train", "data/train"), "test": ("test", "data/test")}


class Leaf(Twinned, NamedClasses):
    """Clients with their own examples, in the files of LEAF's scripts: `*.json` in `train/` and in `test/`.

    Caldas et al. LEAF: A Benchmark for Federated Settings. 2018. https://arxiv.org/abs/1812.01097. Each file is
    `{"users": [...], "num_samples": [...], "user_data": {USER: {"x": [...], "y": [...]}}}`; x is a list of numbers an
    example, y a whole number or a name. The column `client` has the users.
    """

    copies_while_read: ClassVar[float] = 9.0  # the text of a file, and the lists of a user
    kind: Literal["leaf"] = "leaf"
    folder: Annotated[
        Location | None,
        Field(
            description="where train/ and test/ are, or data/ with both, below the data root, beside the spec, or "
            "absolute; if absent, in leaf/ or in the root; ${env:NAME} is replaced when they are read"
        ),
    ] = None
    shape: Annotated[
        tuple[PositiveInt, ...] | None,
        Field(min_length=1, max_length=8, description="shape to give the numbers of an example, e.g. [1, 28, 28]"),
    ] = None

    def read(self, root: Path, stream: Stream) -> Data:
        parts = {name: self._part(root, name) for name in _PARTS}
        return combine(parts, client_column="client", classes=self.known_classes)

    def file_facts(self, path: Path) -> FileFacts:
        rows = self._rows(path, _read(path))
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
        document: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        for client, name in enumerate(names):
            own = np.flatnonzero(holders == client)
            num_test = max(1, len(own) // 5)
            for part, chosen in (("train", own[num_test:]), ("test", own[:num_test])):
                document[part][name] = {"x": points[chosen].tolist(), "y": labels[chosen].tolist()}
        for part, user_data in document.items():
            counts = [len(examples["y"]) for examples in user_data.values()]
            whole = {"users": names, "num_samples": counts, "user_data": user_data}
            (folder / part).mkdir()
            (folder / part / f"all_data_{part}.json").write_text(json.dumps(whole), encoding="utf-8")

    def _part(self, root: Path, name: str) -> list[Rows]:
        """Read the files of train or test."""
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
            user_data = _read(path)
            for user in user_data:
                if user in users:
                    raise InputError(
                        f"{path}: user {shorten(repr(user), 60)} is in {users[user].name} as well; each may be in one"
                    )
                users[user] = path
            parts.append(self._rows(path, user_data))
        return parts

    def _rows(self, path: Path, user_data: Mapping[str, _Examples]) -> Rows:
        sizes = {examples.features.shape[1] for examples in user_data.values()}
        if len(sizes) > 1:
            raise InputError(f"{path}: examples have from {min(sizes)} to {max(sizes)} numbers; all need as many")
        features = np.concatenate([examples.features for examples in user_data.values()])
        if self.shape is not None:
            if int(np.prod(self.shape)) != features.shape[1]:
                raise InputError(
                    f"dataset.shape: {list(self.shape)} is {int(np.prod(self.shape)):,} numbers, but an example of "
                    f"{path} has {features.shape[1]:,}"
                )
            features = features.reshape(len(features), *self.shape)
        clients = np.repeat(list(user_data), [len(examples.labels) for examples in user_data.values()])
        labels = [label for examples in user_data.values() for label in examples.labels]
        return Rows(str(path), features, _labels(labels, path), {"client": clients})


# ------------------------------------------------------------------------------------------------------------- reading


class _Examples:
    """One user's examples: features, float32 [num, num_features], and a label for each."""

    def __init__(self, x: Any, y: Any) -> None:
        self.labels: list[Any] = _list(y, "y")
        rows = _list(x, "x")
        if len(rows) != len(self.labels):
            raise ValueError(f"{len(rows)} examples in x, but {len(self.labels)} labels in y")
        for number, row in enumerate(rows, start=1):
            if isinstance(row, str) or (isinstance(row, list) and any(isinstance(value, str) for value in row)):
                raise ValueError(f"example {number} is text; only lists of numbers are read")
        try:
            values = np.array(rows, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            raise ValueError("its examples are not lists of equally many numbers") from None
        if rows and (values.ndim != 2 or not values.size):
            raise ValueError(f"its examples have shape {list(values.shape[1:])}; each should be a list of numbers")
        self.features: NDArray[np.float32] = as_float32(values, (), "x")


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is not a list")
    return value


def _read(path: Path) -> dict[str, _Examples]:
    """Read the users of a file that have examples, in file order."""
    try:
        # Each user's lists become arrays as soon as they are read, because lists take ten times the memory.
        document = json.loads(
            read_json(path, JSON_VALUE, _MOST_MEMORY), object_pairs_hook=_mapping, parse_constant=_no_number
        )
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be LEAF's") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: {shorten(str(error).removeprefix(f'{path}: '), 300)}") from None
    try:
        return _users(document)
    except (ValueError, InputError) as error:
        raise InputError(f"{path}: {error}") from None


def _mapping(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any] | _Broken:
    """Convert a JSON object. One with x and y is a user's examples. Errors in it are raised later, with the user."""
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{shorten(repr(twice), 60)} appears twice")
    if found.keys() != {"x", "y"}:
        return found
    try:
        return {"examples": _Examples(**found)}
    except (ValueError, InputError) as error:
        return _Broken(str(error))


class _Broken:
    """A user's examples that cannot be used, with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a finite number")


def _users(document: Any) -> dict[str, _Examples]:
    if not isinstance(document, dict) or not {"users", "num_samples", "user_data"} <= document.keys():
        raise ValueError("not LEAF's format: it should be a mapping with users, num_samples and user_data")
    names, counts, user_data = (document[key] for key in ("users", "num_samples", "user_data"))
    if not isinstance(names, list) or not isinstance(counts, list) or not isinstance(user_data, dict):
        raise ValueError("users and num_samples must be lists, user_data a mapping")
    if len(names) != len(counts) or sorted(map(str, names)) != sorted(user_data):
        raise ValueError(
            f"users ({len(names)}), num_samples ({len(counts)}), user_data ({len(user_data)}) are not of the same users"
        )
    users = {}
    for name, count in zip(names, counts, strict=True):
        given = user_data[str(name)]
        place = f"user {shorten(repr(name), 60)}"
        if isinstance(given, _Broken):
            raise ValueError(f"{place}: {given.reason}")
        examples = given.get("examples") if isinstance(given, dict) else None
        if not isinstance(examples, _Examples):
            raise ValueError(f"{place}: it should have x and y, and nothing else")
        if len(examples.labels) != count:
            raise ValueError(f"{place}: num_samples says {count}, but there are {len(examples.labels)}")
        if examples.labels:
            users[check_text(str(name), place)] = examples
    if not users:
        raise ValueError("no user has any example")
    return users


def _labels(labels: Sequence[Any], path: Path) -> NDArray[Any]:
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
