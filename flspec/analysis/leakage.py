"""Leakage between the sides of an experiment: a patient with two clients, an image in train and test.

Leakage between clients makes them more alike than the partition says. Leakage from train to test makes a model look
better than it is. It is reported, not refused, because many published experiments have it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from flspec.compiler.client_data import owners_of
from flspec.core.components import Document, parse_component
from flspec.data.examples import Data, is_missing
from flspec.errors import InputError
from flspec.partitioners import Partitioner
from flspec.protocol.part_scope import using_its_parts
from flspec.protocol.plan import Plan

__all__ = ["Leakage", "Overlap", "find_leakage", "same_content"]

_MOST_BYTES = 2**32  # limit of each pass: over all images in the first, over similar images in the second
_PROBE = 4096  # bytes that the first pass reads of an image: its middle, since borders are often alike
_CHUNK = 2**24
_IDENTIFIER = re.compile(r"(^|_)id$", re.IGNORECASE)
_MIX = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)))  # constants of splitmix64

Integers = NDArray[np.int64]


class Overlap(Document):
    """The number of values, or contents, on both sides; examples that no client has are on neither side."""

    between_clients: int  # with more than one client, to train on or in the holdout
    train_and_holdout: int
    train_and_test: int
    train_and_validation: int


class Leakage(Document):
    """Overlaps by each column of origins, and of images that are identical to the last byte."""

    groups: dict[str, Overlap]
    duplicates: Overlap | None  # None if nobody looked for them
    not_checked: str = ""  # why duplicates of images were not searched


@using_its_parts
def find_leakage(plan: Plan, data: Data) -> Leakage:
    """Return the overlaps between the sides of a plan; `data` are the plan's own."""
    sides = _sides(plan, data)
    groups = {name: _overlap(sides, _known_values(data, name)) for name in _columns(plan, data)}
    if data.train.features.ndim < 3:
        return Leakage(groups=groups, duplicates=None)
    contents = same_content([split.features for split in data.splits.values()])
    if isinstance(contents, str):
        return Leakage(groups=groups, duplicates=None, not_checked=contents)
    return Leakage(groups=groups, duplicates=_overlap(sides, dict(zip(data.splits, contents, strict=True))))


# ---------------------------------------------------------------------------------------------------------- who has it


def _sides(plan: Plan, data: Data) -> Mapping[str, Integers]:
    """Return the client of each example, for training examples and for the holdout; -1 for other examples."""
    return {
        "train": owners_of(plan.clients, len(data.train)),
        "holdout": owners_of(plan.holdout, len(data.train)),
    }


def _columns(plan: Plan, data: Data) -> Sequence[str]:
    """Return the columns of origins: the clients' column, the columns kept whole, and every column named as an id."""
    names: set[str | None] = {data.client_column}
    with suppress(InputError, ValidationError):  # the kind is not installed here
        partitioner = parse_component(Partitioner, dict(plan.spec["partition"]))
        names |= {partitioner.holdout_by, partitioner.whole(data.examples)}
    return [name for name in sorted(data.train.columns) if name in names or _IDENTIFIER.search(name)]


def _known_values(data: Data, column: str) -> dict[str, Integers]:
    """Return the value of each example as a number, by split; -1 where it is missing."""
    columns = {name: split.columns[column] for name, split in data.splits.items() if column in split.columns}
    _, codes = np.unique(np.concatenate(list(columns.values())), return_inverse=True)
    ends = np.cumsum([len(values) for values in columns.values()])
    parts = dict(zip(columns, np.split(codes.astype(np.int64), ends[:-1]), strict=True))
    return {name: np.where(is_missing(columns[name]), -1, part) for name, part in parts.items()}


def _overlap(sides: Mapping[str, Integers], values: Mapping[str, Integers]) -> Overlap:
    """Return how many values are on both of two sides; values below 0 are on neither."""
    own = {side: (values["train"] >= 0) & (owners >= 0) for side, owners in sides.items()}
    on = {side: np.unique(values["train"][mask]) for side, mask in own.items()}
    value_of = np.concatenate([values["train"][mask] for mask in own.values()])
    clients = np.concatenate([sides[side][mask] for side, mask in own.items()])
    pairs = np.unique(np.stack([value_of, clients]), axis=1)
    return Overlap(
        between_clients=int((np.unique(pairs[0], return_counts=True)[1] > 1).sum()),
        train_and_holdout=len(np.intersect1d(on["train"], on["holdout"], assume_unique=True)),
        train_and_test=len(np.intersect1d(on["train"], values.get("test", ()))),
        train_and_validation=len(np.intersect1d(on["train"], values.get("validation", ()))),
    )


# ------------------------------------------------------------------------------------------------------- same content


def same_content(splits: Sequence[NDArray[Any]], most_bytes: int = _MOST_BYTES) -> list[Integers] | str:
    """Return, for each example of each split, a number that equal contents share; -1 for unique contents.

    Equal means equal in every byte. There are two passes: a hash of a part of each example finds candidates, and a
    digest of each whole candidate decides. If a pass would read more than `most_bytes`, a reason in words is returned
    instead.
    """
    size = splits[0][:1].nbytes
    total = sum(map(len, splits))
    if (first := total * min(size, _PROBE)) > most_bytes:
        return f"{total:,} images are not searched for duplicates, which would read {_gib(first)} or more"
    hashes = np.concatenate([part for features in splits for part in _hashes(features)])
    _, codes, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[codes] > 1)
    if (second := len(alike) * size) > most_bytes:
        return (
            f"{len(alike):,} of {total:,} images look alike at first sight; to compare them would read {_gib(second)}"
        )
    ends = np.cumsum([len(features) for features in splits])
    numbers: dict[bytes, int] = {}
    found = np.full(total, -1, np.int64)
    for place in alike:
        split = int(np.searchsorted(ends, place, side="right"))
        row = splits[split][int(place - ends[split])]  # a negative index, from the end of its split
        digest = hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=20).digest()
        found[place] = numbers.setdefault(digest, len(numbers))
    is_shared = np.bincount(found[alike], minlength=1) > 1
    found[alike] = np.where(is_shared[found[alike]], found[alike], -1)
    return np.split(found, ends[:-1])


def _hashes(features: NDArray[Any]) -> Iterator[NDArray[np.uint64]]:
    """Yield 64 bits of the middle of each example, in parts; equal examples have equal bits."""
    size = features[:1].nbytes
    start = max(0, size - _PROBE) // 2
    num_words = -(-min(size, _PROBE) // 8)
    keys = np.arange(1, num_words + 1, dtype=np.uint64) * _MIX[0]
    rows = max(1, _CHUNK // (8 * num_words))
    flat = features.reshape(len(features), -1).view(np.uint8)
    for first in range(0, len(features), rows):
        probe = flat[first : first + rows, start : start + _PROBE]
        words = np.zeros((len(probe), num_words * 8), np.uint8)
        words[:, : probe.shape[1]] = probe
        mixed = (words.view(np.uint64) ^ keys) * _MIX[1]
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX[2]
        mixed ^= mixed >> np.uint64(32)
        yield mixed.sum(axis=1, dtype=np.uint64)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:,.1f} GiB"
