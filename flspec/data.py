"""The examples of an experiment, and the store that lets every process read them without loading them twice.

Features are kept as published (uint8 pixels stay uint8) with the divisor that turns them into the float32 values
a model sees, so every engine divides in the same way. The store is a folder of `.npy` files named by the content's
SHA-256; readers map them into memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.errors import InputError

__all__ = ["Data", "Split", "cache_folder", "open_data", "store_data"]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in file order."""

    features: NDArray[np.uint8] | NDArray[np.float32]  # [num_examples, *input_shape], as published
    labels: NDArray[np.int64]  # [num_examples], from 0
    divisor: float = 1.0  # what a model sees is features / divisor, in float32

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, indices: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
        """What a model sees of these examples: float32 [num, *input_shape]."""
        return self.features[indices].astype(np.float32) / np.float32(self.divisor)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: what is trained on, and what the aggregated model is evaluated on."""

    train: Split
    test: Split
    num_classes: int

    def __post_init__(self) -> None:
        for name, split in (("train", self.train), ("test", self.test)):
            if problem := self._problem(split):
                raise InputError(f"dataset: the {name} examples {problem}")

    def _problem(self, split: Split) -> str | None:
        """What makes one of the splits unusable; both must look alike to a model."""
        if not len(split.labels) or len(split.labels) != len(split.features):
            return f"are {len(split.features)} with {len(split.labels)} labels; both must be the same number, not 0"
        if split.labels.min() < 0 or split.labels.max() >= self.num_classes:
            return f"have labels from {split.labels.min()} to {split.labels.max()}, outside 0..{self.num_classes - 1}"
        if split.features.dtype not in (np.uint8, np.float32) or split.labels.dtype != np.int64:
            return f"are {split.features.dtype} with {split.labels.dtype} labels; uint8 or float32 with int64 is due"
        ours, theirs = ((s.features.shape[1:], s.features.dtype.name, s.divisor) for s in (self.train, split))
        return None if ours == theirs else f"are {theirs} (shape, type, divisor), the train examples {ours}"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.train.features.shape[1:]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content; equal digests mean equal examples in equal order."""
        sha = hashlib.sha256(f"{self.num_classes} {self.train.divisor!r}\n".encode())
        for name, array in self._arrays().items():
            sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "train_features": self.train.features,
            "train_labels": self.train.labels,
            "test_features": self.test.features,
            "test_labels": self.test.labels,
        }

    def describe(self) -> dict[str, Any]:
        """What a plan says of its data: enough to find and check them, and their shapes."""
        return {
            "digest": self.digest,
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "feature_type": self.train.features.dtype.name,  # as stored: uint8 or float32
            "divisor": self.train.divisor,
            "num_train": len(self.train),
            "num_test": len(self.test),
        }


def cache_folder() -> Path:
    """Where flspec keeps what it can make again: `$FLSPEC_CACHE`, else `flspec` in the user's cache folder."""
    if chosen := os.environ.get("FLSPEC_CACHE"):
        return Path(chosen).absolute()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home folder
        home = Path(tempfile.gettempdir())
    return home.absolute() / "flspec"


def store_data(data: Data) -> Path:
    """Put `data` where every process finds it by digest, whole or not at all; returns its folder."""
    folder = _stored(data.digest)
    if folder.is_dir():
        with suppress(InputError):
            open_data(data.describe(), verify=True)
            return folder
        shutil.rmtree(folder)  # damaged: what was just read is put in its place
    try:
        _put(data, folder)
    except OSError as error:
        raise InputError(
            f"data cannot be stored in {folder.parent}: {error.strerror or error}; set FLSPEC_CACHE to a folder that "
            "can be written to"
        ) from None
    return folder


def _put(data: Data, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        for name, array in data._arrays().items():
            np.save(partial / f"{name}.npy", array)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # someone else put the same data there first
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_data(description: dict[str, Any], verify: bool = False) -> Data:
    """The stored data that a plan describes, mapped into memory; raises InputError if they are not there.

    With `verify`, reads them all, and raises InputError if any bit has changed since they were stored.
    """
    if not re.fullmatch("[0-9a-f]{64}", str(description["digest"])):
        raise InputError(f"the plan's data digest {str(description['digest'])[:80]!r} is none")
    folder = _stored(description["digest"])
    try:
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        data = Data(
            train=Split(arrays["train_features"], arrays["train_labels"], description["divisor"]),
            test=Split(arrays["test_features"], arrays["test_labels"], description["divisor"]),
            num_classes=description["num_classes"],
        )
    except (KeyError, OSError, ValueError, EOFError):
        raise InputError(
            f"the data of this plan are not in {folder}; compile the spec here again (flspec plan SPEC)"
        ) from None
    if verify and data.digest != description["digest"]:
        raise InputError(f"the data in {folder} have changed since they were stored; compile the spec here again")
    return data


def _stored(digest: str) -> Path:
    return cache_folder() / "data" / digest
