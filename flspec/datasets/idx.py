"""Data sets published like MNIST: four files in the IDX format."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from flspec.core.locations import Location
from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.data.idx import read_idx, write_idx
from flspec.data.synthetic.twins import TwinSize, class_images, count_differences, even_labels, shares_of
from flspec.datasets.base import ImageDataset, Twinned
from flspec.errors import InputError

__all__ = ["IdxImages"]

_SPLITS = {"train": "train", "test": "t10k"}  # prefix of each split's files
_CLASSES = 10


class IdxImages(Twinned, ImageDataset, ABC):
    """Images of ten classes in `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each with or without `.gz`."""

    title: ClassVar[str]  # name in messages
    label_names: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[Mapping[str, Sequence[int]]]  # by split: number of examples of each label

    folder: Annotated[
        Location | None,
        Field(
            description="where the four files are, below the data root, beside the spec, or absolute; "
            "if absent, in a folder of the "
            "kind's name or in the root; ${env:NAME} is replaced when they are read"
        ),
    ] = None

    def read(self, root: Path, stream: Stream) -> Data:
        train, test = (self._split(root, name) for name in _SPLITS)
        if (ours := train.features.shape[1:]) != (theirs := test.features.shape[1:]):
            raise InputError(
                f"dataset: train-images-idx3-ubyte holds images of shape {list(ours)}, t10k-images-idx3-ubyte of shape "
                f"{list(theirs)}; are the four files of one data set?"
            )
        self._check_title(train)
        return Data(train, test, num_classes=_CLASSES, label_names=self.label_names)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write the four files, compressed, with a pattern for each class. A seventh is for evaluation."""
        counts = shares_of(size.examples, (6, 1), least=_CLASSES)
        for (name, prefix), count in zip(_SPLITS.items(), counts, strict=True):
            labels = even_labels(count, _CLASSES, stream.child(name))
            images = class_images(labels, _CLASSES, (28, 28), stream, name)
            write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
            write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels.astype(np.uint8))

    def findings(self, root: Path) -> Sequence[str]:
        return list(self._findings(root))

    def complete(self, root: Path) -> str:
        return f"complete: {' + '.join(f'{sum(counts):,}' for counts in self.published.values())} pictures"

    def _findings(self, root: Path) -> Iterator[str]:
        for name in _SPLITS:
            try:
                split = self._split(root, name)
            except InputError as error:
                yield str(error)
                continue
            if split.features.shape[1:] != (1, 28, 28):
                yield f"{name}: images of shape {list(split.features.shape[1:])}, published are [1, 28, 28]"
            yield from count_differences(name, split.labels, self.published[name])

    def _split(self, root: Path, name: str) -> Split:
        folders = self.places(root, self.folder)
        images = read_idx(self._find(folders, f"{_SPLITS[name]}-images-idx3-ubyte"), dimensions=3)
        label_file = self._find(folders, f"{_SPLITS[name]}-labels-idx1-ubyte")
        labels = read_idx(label_file, dimensions=1)
        if len(images) != len(labels):
            raise InputError(f"{label_file}: {len(labels)} labels for {len(images)} images; download both again")
        if labels.size and labels.max() >= _CLASSES:
            raise InputError(f"{label_file}: label {labels.max()} is outside 0..9; is this {self.title}?")
        return Split(images[:, np.newaxis], labels.astype(np.int64), divisor=255.0)

    def _check_title(self, train: Split) -> None:
        """Raise InputError if the files are another data set's of this format, whose files have the same names."""
        found = tuple(np.bincount(train.labels, minlength=_CLASSES).tolist())
        for other in IdxImages.__subclasses__():
            if other.title != self.title and found == other.published["train"]:
                raise InputError(
                    f"dataset: train-labels-idx1-ubyte is {other.title}'s, not {self.title}'s; name the folder of "
                    f"{self.title}'s files with dataset.folder"
                )

    def _find(self, folders: Sequence[Path], name: str) -> Path:
        for folder in folders:
            for candidate in (folder / name, folder / f"{name}.gz"):
                if candidate.is_file():
                    return candidate
        raise InputError(
            f"dataset: {name} or {name}.gz is not in {' or '.join(map(str, folders))}; put {self.title}'s four files "
            "there, or name their folder with dataset.folder, --data-root or FLSPEC_DATA"
        )
