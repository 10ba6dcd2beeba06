"""The store of examples: folders of `.npy` files named by their content, which every process maps into memory.

So a data set lies on disk once, however many runs use it, and no process has to hold it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.cache import cache_folder, partial_folder
from flspec.core.components import parse_component
from flspec.data.examples import Data, Split
from flspec.errors import InputError
from flspec.protocol.settings import DataSettings
from flspec.transforms import Transform

__all__ = ["filling", "open_data", "store_data", "stored"]

_MANIFEST = "manifest.json"  # size and time of each file, by which a change of large ones is noticed
_HASHED_BYTES = 2**30  # up to here all is read to see whether it has changed


def store_data(data: Data) -> Path:
    """Put `data` where every process finds it by digest, whole or not at all; returns its folder."""
    folder = stored(data.digest)
    if folder.is_dir():
        if data.known_digest:  # whoever knows it has just opened them from there
            return folder
        with suppress(InputError):
            open_data(data.describe(), verify=True)
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # damaged: what was just read is put in its place
    with filling(folder) as partial:
        for name, array in data.arrays().items():
            np.save(partial / f"{name}.npy", array)
    return folder


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A folder for the arrays of some data, which becomes `folder`, with its manifest, if all goes well."""
    with partial_folder(folder) as partial:
        yield partial
        (partial / _MANIFEST).write_text(json.dumps(_manifest(partial)), encoding="utf-8")


def open_data(settings: DataSettings, verify: bool = False) -> Data:
    """The stored data that a plan describes, mapped into memory; raises InputError if they are not there.

    With `verify`, raises InputError if anything has changed since they were stored: all is read, or, of very large
    data, the size and time of each file is looked at.
    """
    digest = str(settings.digest)
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise InputError(f"the plan's data digest {digest[:80]!r} is none")
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
        )
    except (KeyError, OSError, ValueError, EOFError):  # a ValidationError is a ValueError
        raise InputError(
            f"the data of this plan are not in {folder}; compile the spec here again (flspec plan SPEC)"
        ) from None
    if verify and _has_changed(folder, data, digest):
        raise InputError(f"the data in {folder} have changed since they were stored; compile the spec here again")
    return data


def stored(digest: str) -> Path:
    """Where the data of a digest are, once they are stored."""
    return cache_folder() / "data" / digest


def _split(name: str, arrays: Mapping[str, NDArray[Any]], settings: DataSettings) -> Split:
    transforms = settings.transforms.get(name, ())
    return Split(
        features=arrays[f"{name}_features"],
        labels=arrays[f"{name}_labels"],
        divisor=settings.divisor,
        mean=settings.mean,
        std=settings.std,
        columns={
            column: arrays[f"{name}_column_{number}"] for number, column in enumerate(settings.columns.get(name, ()))
        },
        transforms=tuple(parse_component(Transform, transform) for transform in transforms),
    )


def _has_changed(folder: Path, data: Data, digest: str) -> bool:
    if sum(array.nbytes for array in data.arrays().values()) <= _HASHED_BYTES:
        return data.digest != digest
    try:
        return bool(json.loads((folder / _MANIFEST).read_text(encoding="utf-8")) != _manifest(folder))
    except (OSError, ValueError):
        return True


def _manifest(folder: Path) -> dict[str, list[int]]:
    """Size and time of every stored file."""
    found = {path.name: path.stat() for path in sorted(folder.glob("*.npy"))}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in found.items()}
