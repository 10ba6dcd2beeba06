"""The store of examples: folders of `.npy` files, named by content, which every process maps into memory.

A data set is on disk once, however many runs use it, and no process has to load it completely.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.cache import cache_folder, partial_folder
from flspec.core.components import parse_component
from flspec.data.examples import Data, Split
from flspec.errors import InputError
from flspec.protocol.settings import DataSettings
from flspec.transforms import Transform

__all__ = ["filling", "open_data", "planned_split", "store_data", "stored"]

_MANIFEST = "manifest.json"  # size and time of each file, to notice a change of large ones
_HASHED_BYTES = 2**30  # data up to this size are read completely to notice a change


def store_data(data: Data) -> Path:
    """Write `data` into the store, completely or not at all, where it is found by digest. Returns its folder."""
    folder = stored(data.digest)
    if folder.is_dir():
        if data.known_digest:  # data with a known digest have just been opened from the store
            return folder
        with suppress(InputError):
            open_data(data.describe(), verify=True)
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # damaged, so it is replaced
    with filling(folder) as partial:
        for name, array in data.arrays().items():
            np.save(partial / f"{name}.npy", array)
    return folder


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill with arrays. It is renamed to `folder`, with its manifest, if all goes well."""
    with partial_folder(folder) as partial:
        yield partial
        (partial / _MANIFEST).write_text(json.dumps(_manifest(partial)), encoding="utf-8")


def open_data(settings: DataSettings, verify: bool = False) -> Data:
    """Return the stored data that a plan describes, mapped into memory. Raises InputError if they are missing.

    With `verify`, also raises InputError if they have changed since they were stored. That is checked by reading
    everything, or for more than 1 GiB by the size and time of each file.
    """
    digest = str(settings.digest)
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise InputError(f"the plan's data digest {digest[:80]!r} is not a SHA-256")
    folder = stored(digest)
    try:
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        splits = {
            name: _split(name, arrays, settings)
            for name in ("train", "test", "validation")
            if f"{name}_features" in arrays
        }
        data = Data(
            train=splits["train"],
            test=splits["test"],
            num_classes=settings.num_classes,
            validation=splits.get("validation"),
            label_names=settings.label_names,
            client_column=settings.client_column,
            encodings=settings.encodings,
            feature_names=tuple(name for one in settings.encodings for name in one["outputs"]),
        )
    except (KeyError, OSError, ValueError, EOFError):  # a ValidationError is a ValueError
        raise InputError(
            f"the data of this plan are not in {folder}; compile the spec here again (flspec plan SPEC)"
        ) from None
    if verify and _has_changed(folder, data, digest):
        raise InputError(f"the data in {folder} have changed since they were stored; compile the spec here again")
    return data


def stored(digest: str) -> Path:
    """Return the folder of the data with a digest, whether or not they are stored."""
    return cache_folder() / "data" / digest


def planned_split(
    settings: DataSettings,
    name: str,
    features: NDArray[Any],
    labels: NDArray[Any],
    columns: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> Split:
    """Return examples that become model inputs as those of the split `name` of a plan do."""
    return Split(
        features=features,
        labels=labels,
        divisor=settings.divisor,
        mean=settings.mean,
        std=settings.std,
        columns=columns,
        transforms=tuple(parse_component(Transform, transform) for transform in settings.transforms.get(name, ())),
    )


def _split(name: str, arrays: Mapping[str, NDArray[Any]], settings: DataSettings) -> Split:
    columns = {
        column: arrays[f"{name}_column_{number}"] for number, column in enumerate(settings.columns.get(name, ()))
    }
    return planned_split(settings, name, arrays[f"{name}_features"], arrays[f"{name}_labels"], columns)


def _has_changed(folder: Path, data: Data, digest: str) -> bool:
    if sum(array.nbytes for array in data.arrays().values()) <= _HASHED_BYTES:
        return data.digest != digest
    try:
        return bool(json.loads((folder / _MANIFEST).read_text(encoding="utf-8")) != _manifest(folder))
    except (OSError, ValueError):
        return True


def _manifest(folder: Path) -> dict[str, list[int]]:
    """Return size and time of every stored file."""
    found = {path.name: path.stat() for path in sorted(folder.glob("*.npy"))}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in found.items()}
