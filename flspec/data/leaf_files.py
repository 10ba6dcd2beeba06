"""Reading of LEAF's JSON files: users, each with a list x of examples and a list y of labels.

Caldas et al. LEAF: A Benchmark for Federated Settings. 2018. https://arxiv.org/abs/1812.01097. A file is
`{"users": [...], "num_samples": [...], "user_data": {USER: {"x": [...], "y": [...]}}}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from flspec.core.reading import JSON_VALUE, read_json
from flspec.data.tables import check_text
from flspec.errors import InputError, shorten

__all__ = ["ToFeatures", "UserExamples", "read_users", "write_users"]

_MOST_MEMORY = 2**33  # bytes, of the lists in one file, if none became an array before the file ends
ToFeatures = Callable[[list[Any]], NDArray[Any]]  # what x lists, to features [num, ...]; raises ValueError


class UserExamples:
    """One user's examples: features [num, ...], and a label for each."""

    def __init__(self, x: Any, y: Any, to_features: ToFeatures) -> None:
        self.labels: list[Any] = _list(y, "y")
        rows = _list(x, "x")
        if len(rows) != len(self.labels):
            raise ValueError(f"{len(rows)} examples in x, but {len(self.labels)} labels in y")
        self.features = to_features(rows)


def read_users(path: Path, to_features: ToFeatures) -> dict[str, UserExamples]:
    """Read the users of a file that have examples, in file order. Raises InputError, which names the file."""

    def mapping(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any] | _Broken:
        return _mapping(pairs, to_features)

    try:
        # Each user's lists become arrays as soon as they are read, because lists take ten times the memory.
        document = json.loads(
            read_json(path, JSON_VALUE, _MOST_MEMORY), object_pairs_hook=mapping, parse_constant=_no_number
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


def write_users(file: Path, user_data: Mapping[str, Mapping[str, list[Any]]]) -> None:
    """Write users with their x and y as a file of LEAF's, in a new folder."""
    counts = [len(examples["y"]) for examples in user_data.values()]
    whole = {"users": list(user_data), "num_samples": counts, "user_data": user_data}
    file.parent.mkdir()
    file.write_text(json.dumps(whole), encoding="utf-8")


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is not a list")
    return value


def _mapping(pairs: Iterable[tuple[str, Any]], to_features: ToFeatures) -> dict[str, Any] | _Broken:
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
        return {"examples": UserExamples(**found, to_features=to_features)}
    except (ValueError, InputError) as error:
        return _Broken(str(error))


class _Broken:
    """A user's examples that cannot be used, with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a finite number")


def _users(document: Any) -> dict[str, UserExamples]:
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
        if not isinstance(examples, UserExamples):
            raise ValueError(f"{place}: it should have x and y, and nothing else")
        if len(examples.labels) != count:
            raise ValueError(f"{place}: num_samples says {count}, but there are {len(examples.labels)}")
        if examples.labels:
            users[check_text(str(name), place)] = examples
    if not users:
        raise ValueError("no user has any example")
    return users
