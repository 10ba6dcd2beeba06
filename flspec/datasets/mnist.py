"""MNIST from the four files it is published in."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.data import Data, Split
from flspec.datasets.base import ImageDataset
from flspec.errors import InputError
from flspec.locations import Location, locate
from flspec.randomness import Stream

_MAGIC = {1: 0x00000801, 3: 0x00000803}  # unsigned bytes in that many dimensions
_MOST_BYTES = 2**28  # larger than any file of this format that is MNIST's


class Mnist(ImageDataset):
    """Handwritten digits, 28 by 28 pixels: 60,000 to train on and 10,000 to evaluate on, in file order.

    Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each with or without `.gz`.
    """

    kind: Literal["mnist"] = "mnist"
    folder: Annotated[
        Location | None,
        Field(
            description="where the four files are, below the data root or absolute; if absent, in mnist/ or the root; "
            "${env:NAME} is replaced when they are read"
        ),
    ] = None

    def read(self, root: Path, stream: Stream) -> Data:
        folders = [locate(self.folder, root, "dataset.folder")] if self.folder else [root / "mnist", root]
        train, test = _read_split(folders, "train"), _read_split(folders, "t10k")
        if (ours := train.features.shape[1:]) != (theirs := test.features.shape[1:]):
            raise InputError(
                f"dataset: train-images-idx3-ubyte holds images of shape {list(ours)}, t10k-images-idx3-ubyte of shape "
                f"{list(theirs)}; are the four files of one data set?"
            )
        return Data(train, test, num_classes=10)


def _read_split(folders: Sequence[Path], prefix: str) -> Split:
    images = _read_idx(_find(folders, f"{prefix}-images-idx3-ubyte"), dimensions=3)
    label_file = _find(folders, f"{prefix}-labels-idx1-ubyte")
    labels = _read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise InputError(f"{label_file}: {len(labels)} labels for {len(images)} images; download both again")
    if labels.size and labels.max() > 9:
        raise InputError(f"{label_file}: label {labels.max()} is outside 0..9; is this MNIST?")
    return Split(images[:, np.newaxis], labels.astype(np.int64), divisor=255.0)


def _find(folders: Sequence[Path], name: str) -> Path:
    for folder in folders:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise InputError(
        f"dataset: {name} or {name}.gz is not in {' or '.join(map(str, folders))}; "
        "put MNIST's four files there, or name their folder with dataset.folder, --data-root or FLSPEC_DATA"
    )


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An array in the IDX format: a magic number, the shape as big-endian 32-bit integers, the bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); download it again") from None
    header_size = 4 * (dimensions + 1)
    if len(content) < header_size or int.from_bytes(content[:4], "big") != _MAGIC[dimensions]:
        raise InputError(f"{path}: not an IDX file of bytes in {dimensions} dimensions; download it again")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header_size], ">u4"))
    body = np.frombuffer(content, np.uint8, offset=header_size)
    if body.size != math.prod(shape):
        raise InputError(f"{path}: its header promises shape {list(shape)}, but {body.size} bytes follow")
    return body.reshape(shape)
